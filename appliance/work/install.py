"""Install an engine or a tool that did not come with the appliance: from its lock with hashes, into the workspace.

The environment is made beside its place and renamed when whole, so it is there entirely or not at all. What had come
before a stop or a kill is kept and not fetched again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from appliance import files, settings
from appliance.engines.installable import Installable
from appliance.errors import ApplianceError
from appliance.locale import _
from appliance.work.context import Context

_LOOK_SECONDS = 1.0
MANIFEST = "installed.json"


def run(context: Context) -> dict[str, Any]:
    """spec: {engine, installable}. Returns {engine, environment (its folder), lock (sha256), bytes}."""
    described = context.spec["installable"]
    engine = Installable(**{**described, "locks": tuple(described["locks"])})
    root = settings.engines_folder()
    root.mkdir(parents=True, exist_ok=True)
    with _alone(context, root / f".{engine.environment}.lock"):
        locks = [lock_of(engine.environment, name) for name in engine.locks]
        staging, cache = root / f".{engine.environment}.partial", root / f".{engine.environment}.cache"
        _check_space(engine, root, _size(staging, cache))
        uv = _uv()
        if not (staging / "bin" / "python").exists():
            shutil.rmtree(staging, ignore_errors=True)
            base = Path(getattr(sys, "_base_executable", sys.executable))
            _uv_does(context, engine, [uv, "venv", "-q", "--relocatable", "--python", base, staging], staging, cache)
        words = [uv, "pip", "sync", "--compile-bytecode", "--require-hashes", "--python", staging / "bin" / "python"]
        # A machine without a card never gets CUDA's libraries: from a folder of wheels, else from PyTorch's own index.
        only_cpu = engine.cpu and not settings.variable("UV_FIND_LINKS")
        _uv_does(context, engine, [*words, *["--torch-backend=cpu"] * only_cpu, *locks], staging, cache)
        _check_whole(engine, staging)
        # uv does not wait for the disk; after a loss of power the rename must not have come before the files.
        os.sync()
        made = {"engine": engine.name, "lock": files.sha256(locks[0]), "bytes": _size(staging)}
        files.write_json(staging / MANIFEST, made)
        _take_place(staging, root / engine.environment)
        shutil.rmtree(cache, ignore_errors=True)
    context.progress("installing", 1, 1)
    return {**made, "environment": str(root / engine.environment)}


def lock_of(environment: str, name: str) -> Path:
    """A lock that an environment is made from. Raises ApplianceError where this copy of the code has none."""
    lock = settings.CODE_ROOT / "requirements" / name
    if not lock.is_file():
        raise ApplianceError(
            _("{name} can't be installed: its lock is missing.").format(name=environment),
            _("{path} is not there.").format(path=lock),
            _("Get the whole of the appliance again."),
        )
    return lock


def _uv() -> Path:
    uv = settings.environments_folder() / "uv" / "bin" / "uv"
    if not uv.exists():
        raise ApplianceError(
            _("The installer (uv) is not there."),
            _("{path} is not there.").format(path=uv),
            _("Install it: make {target}").format(target="setup"),
        )
    return uv


@contextlib.contextmanager
def _alone(context: Context, path: Path) -> Iterator[None]:
    """One job at a time installs an engine; the second finds it done."""
    with path.open("w") as held:
        told = False
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    context.note(_("Another job installs it already; waiting for that."))
                told = True
            context.check_stopped()
            context.stopping.wait(_LOOK_SECONDS)
        yield


def _check_space(engine: Installable, root: Path, here: int) -> None:
    free = shutil.disk_usage(root).free
    needed = engine.disk_gib * 2**30 - here
    if free < needed:
        raise ApplianceError(
            _("There is not enough space to install {name}.").format(name=engine.name),
            _("It needs {need:.1f} GiB in {folder}; {free:.1f} GiB are free.").format(
                need=needed / 2**30, folder=root, free=free / 2**30
            ),
            _("Make room (appliance models, appliance jobs)."),
        )


def _uv_does(context: Context, engine: Installable, words: list[Any], staging: Path, cache: Path) -> None:
    """Run uv, telling how far it is by what has come to the disk. Raises Stopped, and ApplianceError in uv's words."""
    # The cache stands beside the environment: uv links files instead of copying them.
    variables = {
        "UV_SYSTEM_CERTS": "1",
        "UV_HTTP_TIMEOUT": "120",
        **settings.child_environment(*settings.PACKAGE_VARIABLES),
        "UV_CACHE_DIR": str(cache),
        "UV_NO_CONFIG": "1",
        "UV_NO_PROGRESS": "1",
        "APPLIANCE_PARENT": str(os.getpid()),
    }
    if "UV_DEFAULT_INDEX" not in variables and variables.get("PIP_INDEX_URL"):
        variables["UV_DEFAULT_INDEX"] = variables["PIP_INDEX_URL"]
    printed = context.folder / "uv.txt"
    expected = engine.disk_gib * 2**30
    with printed.open("wb") as out:
        # Tied to us: one that outlived a killed job would write into what the resumed one takes for its own.
        tether = [sys.executable, "-P", "-m", "appliance.engines.tether"]
        child = subprocess.Popen(
            [*tether, *(str(word) for word in words)], env=variables, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
        try:
            while child.poll() is None:
                context.check_stopped()
                context.progress("installing", min(_size(staging, cache), 0.99 * expected), expected, "B")
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(_LOOK_SECONDS)
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait()
    told = printed.read_text(encoding="utf-8", errors="replace")
    print(told, flush=True)
    if child.returncode != 0:
        said = [line.strip(" ×├─▶╰") for line in told.splitlines() if line.strip()]
        why = said[next((n for n, line in enumerate(said) if line.startswith("error")), 0) :]
        raise ApplianceError(
            _("{name} could not be installed.").format(name=engine.name),
            " ".join(why[:3])[:500],
            _("Look at the network and the disk, then go on where it stopped: appliance jobs resume {id}").format(
                id=context.id
            ),
        )


def _check_whole(engine: Installable, staging: Path) -> None:
    """The engine's own package is there: a lock without it would make an empty environment."""
    code = f"import importlib.metadata as m; m.version({engine.package!r})"
    done = subprocess.run([staging / "bin" / "python", "-I", "-c", code], capture_output=True, text=True)
    if done.returncode != 0:
        shutil.rmtree(staging, ignore_errors=True)
        raise ApplianceError(
            _("{name} could not be installed.").format(name=engine.name),
            done.stderr.strip().splitlines()[-1][:300] if done.stderr.strip() else "",
            _("Try again: appliance install {name}").format(name=engine.name),
        )


def _take_place(staging: Path, place: Path) -> None:
    """What stood there goes first; a kill between the two leaves no engine, and a whole one to take the place."""
    if place.exists():
        old = place.with_name(f".{place.name}.old-{time.time_ns()}")
        os.rename(place, old)
        shutil.rmtree(old, ignore_errors=True)
    os.rename(staging, place)
    files.sync_folder(place.parent)


def _size(*folders: Path) -> int:
    """Bytes on the disk; a file that both hold (a hard link) counts once."""
    seen: dict[int, int] = {}
    for folder in folders:
        for parent, _folders, names in os.walk(folder):
            for name in names:
                with contextlib.suppress(OSError):
                    facts = os.lstat(os.path.join(parent, name))
                    seen[facts.st_ino] = facts.st_size
    return sum(seen.values())
