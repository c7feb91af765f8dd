"""Real engines behind the guard, once per session: `transformers serve`, and vLLM on the CPU (`make test-engines`).

What asks for `server` runs against both; with the mark `engines` against vLLM, which our own serve job starts.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from workers import gone, until

from appliance import engines, files, locale, settings
from appliance.engines import keys, ports
from appliance.jobs import control, prepare
from appliance.jobs.folder import Job, serving

NAME, ADAPTER = "my-model", "my-adapter"


@dataclass
class Server:
    host: str
    port: int
    key: str
    model: Path
    pid: int
    routes: list[list[str]]
    phases: list[str]
    log: list[str] = field(default_factory=list)
    engine: str = "transformers"
    names: tuple[str, ...] = (NAME,)
    job: Job | None = None

    @property
    def address(self) -> str:
        return f"http://{self.host}:{self.port}"


@pytest.fixture(scope="session", params=["transformers", pytest.param("vllm", marks=pytest.mark.engines)])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = transformers_server if request.param == "transformers" else vllm_server
    yield from started(tmp_path_factory)


def transformers_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    python = settings.python_of("train")
    if not python.exists():
        pytest.skip("the training environment is not installed")
    folder = tmp_path_factory.mktemp("serving")
    model = folder / "a model@v1:α"  # "@" and ":" mean something to transformers; a path may hold them all the same
    variables = {**settings.child_environment(), "OMP_NUM_THREADS": "1"}
    script = Path(__file__).with_name("tiny_model.py")
    built = subprocess.run([python, script, model], env=variables, stdout=subprocess.PIPE, check=True)

    locale.set_language("en")
    engine = engines.by_name("transformers")
    key_file = folder / "key"
    key = keys.read_key(keys.ensure(key_file)[0])
    guard = folder / "guard.json"
    guard.write_text(json.dumps({"keys": str(key_file), "names": [NAME], "body_limit": 100_000, "body_seconds": 3}))
    port = free_port()
    variables |= {**engine.variables({}), "APPLIANCE_GUARD": str(guard)}
    command = engine.command(python, model, "127.0.0.1", port, {"name": NAME})
    assert key not in " ".join(command) and key not in str(variables)
    child = subprocess.Popen(
        command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert child.stdout
    running = Server("127.0.0.1", port, key, model, child.pid, json.loads(built.stdout), [])
    for line in child.stdout:
        running.log.append(line)
        phase = engine.phase(line)
        if phase:
            running.phases.append(phase)
        if "Uvicorn running" in line:
            break
    else:
        pytest.fail("the server ended: " + "".join(running.log))
    locale.set_language()
    drain = threading.Thread(target=running.log.extend, args=(child.stdout,))
    drain.start()
    yield running
    mine = [psutil.Process(child.pid), *psutil.Process(child.pid).children(recursive=True)]
    child.terminate()
    child.wait(10)
    drain.join()
    assert not [one for one in mine if one.is_running()]
    assert key not in "".join(running.log)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))


# The environment's python as the job finds it: one core's worth of cache, no minute of compiling; and where a client
# names no temperature, the likeliest answer, which is what the tests' model was taught.
PYTHON = """#!/bin/sh
export VLLM_CPU_KVCACHE_SPACE=1 OMP_NUM_THREADS=1
exec "{python}" "$@" --enforce-eager --override-generation-config '{{"temperature": 0}}'
"""


def vllm_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The real `vllm serve` of the CPU build, as our serve job starts it: a tiny model and an adapter beside it."""
    folder = tmp_path_factory.mktemp("vllm")
    model, adapter = folder / "a model@v1:α", folder / "an=adapter,α"
    train, built = settings.python_of("train"), settings.python_of("test-engines")
    variables = {**settings.child_environment(), "OMP_NUM_THREADS": "1"}
    script = Path(__file__).with_name("tiny_model.py")
    subprocess.run([train, script, model, adapter], env=variables, stdout=subprocess.DEVNULL, check=True)
    environments = folder / "envs"
    python = environments / "vllm" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON.format(python=built))
    python.chmod(0o755)
    for other in settings.environments_folder().iterdir():
        if other.is_dir() and other.name != "vllm":
            (environments / other.name).symlink_to(other)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("APPLIANCE_HOME", str(folder / "home"))
        patch.setenv("APPLIANCE_ENVS", str(environments))
        locale.set_language("en")
        draft = prepare.serve(str(model), name=NAME, port=free_port(), engine="transformers")
        # On this machine's processor the plan would choose another engine; the rest is what it says for one.
        adapters = [{"name": ADAPTER, "folder": str(adapter), "rank": 4}]
        draft.spec.update(engine="vllm", adapters=adapters, pause=0.2)
        draft.spec["guard"] = {"body_limit": 100_000, "body_seconds": 3}
        draft.spec["options"] |= {"dtype": "bfloat16", "length": 400, "parallel": 8, "memory_share": 0.5}
        job = control.submit(draft)
        try:
            server = vllm_ready(job, model)
            yield server
        finally:
            locale.set_language("en")
            group = job.written_state().pid
            state = control.stop(job).state
            gone(group)
        assert state == "stopped"
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((server.host, server.port))
        for path in job.folder.rglob("*"):
            assert not path.is_file() or server.key.encode() not in path.read_bytes()
        locale.set_language()


def vllm_ready(job: Job, model: Path) -> Server:
    events = until(job, lambda events: any(event["kind"] == "ready" for event in events))
    at = serving(job)
    host, port = at["address"].removeprefix("http://").removesuffix("/v1").split(":")
    log = job.log.read_text()
    return Server(
        host,
        int(port),
        key=keys.read_key(Path(at["key_file"])),
        model=model,
        pid=files.read_json(job.folder / "serving.json")["process"]["pid"],
        routes=[
            [method, path]
            for path, methods in re.findall(r"Route: (\S+), Methods: ([A-Z, ]+)", log)
            for method in methods.split(", ")
        ],
        phases=[event["text"] for event in events if event["kind"] == "phase"],
        log=log.splitlines(),
        engine="vllm",
        names=(NAME, ADAPTER),
        job=job,
    )


def free_port() -> int:
    """One that stays free until the server has it: below those that the kernel gives away, another one per process."""
    return ports.free_port("127.0.0.1", 20_000 + os.getpid() % 200 * 50)
