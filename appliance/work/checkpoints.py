"""Checkpoints that can't be torn: staged, fsynced, listed in a manifest, renamed; only whole ones are offered.

transformers' Trainer writes a checkpoint under its final name without fsync, so a kill in the middle leaves one that
looks whole and can't be resumed. Here a name `checkpoint-N` exists only when everything below it is on disk.
"""

from __future__ import annotations

import errno
import math
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from appliance import files

MANIFEST = "manifest.json"
_STAGING = ".staging"
# How safetensors ("os error 28", or 122 for a quota) and torch.save ("unexpected pos") say that the disk is full.
_FULL_DISK = re.compile(r"os error (28|122)\b|unexpected pos \d+ vs|PytorchStreamWriter failed writing")


@contextmanager
def full_disk_told(folder: Path) -> Iterator[None]:
    """Inside, what the libraries say of a full disk becomes the OSError that it is."""
    try:
        yield
    except Exception as error:
        if _FULL_DISK.search(str(error)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        raise


def write_manifest(folder: Path) -> None:
    """fsync every file of a folder and list its sha256 and size, the manifest last."""
    listed = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != MANIFEST:
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
            listed[str(path.relative_to(folder))] = {"size": path.stat().st_size, "sha256": files.sha256(path)}
    files.write_json(folder / MANIFEST, {"files": listed})


def is_whole(folder: Path) -> bool:
    """Whether every file in the manifest is there, byte for byte."""
    try:
        listed = files.read_json(folder / MANIFEST)["files"]
        return bool(listed) and all(
            (folder / name).stat().st_size == facts["size"] and files.sha256(folder / name) == facts["sha256"]
            for name, facts in listed.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def numbered(folder: Path) -> list[tuple[int, Path]]:
    """(step, folder) of every checkpoint by name, oldest first; whole or not."""
    found = []
    if folder.is_dir():
        for path in folder.iterdir():
            match = re.fullmatch(r"checkpoint-(\d+)", path.name)
            if match and path.is_dir():
                found.append((int(match[1]), path))
    return sorted(found)


def latest_whole(folder: Path) -> tuple[int, Path] | None:
    """The newest checkpoint that verifies; None when there is none."""
    return next((pair for pair in reversed(numbered(folder)) if is_whole(pair[1])), None)


def best_of(history: list[dict[str, Any]]) -> tuple[int, float] | None:
    """(step, loss) at which the held-out rows' loss was lowest, out of a trainer's log; None where none was measured.

    Before the first step there is no state to go back to.
    """
    measured = [
        (entry["step"], entry["eval_loss"])
        for entry in history
        if entry["step"] and math.isfinite(entry.get("eval_loss", math.nan))
    ]
    return min(measured, key=lambda pair: pair[1], default=None)


class StagedCheckpoints:
    """Mixed into a Trainer before it: saves into a staging folder and renames when whole.

    Set `checkpoint_root` (the folder that holds the checkpoints) and `checkpoint_limit` after construction. Of several
    processes each adds its own random state; the `first` one makes the folder and gives it its name, and all wait for
    each other in `together`.
    """

    checkpoint_root: Path
    checkpoint_limit: int = 2
    first: bool = True

    def together(self) -> None:
        """Go on when every process has come here."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        step = self.state.global_step  # type: ignore[attr-defined]
        final = self.checkpoint_root / f"checkpoint-{step}"
        if final.exists() and is_whole(final):
            return
        staging = self.checkpoint_root / _STAGING
        if self.first:
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(parents=True)
        self.together()
        try:
            with full_disk_told(final):
                super()._save_checkpoint(model, trial)  # type: ignore[misc]
            self.together()
            if self.first:
                staged = staging / final.name
                write_manifest(staged)
                shutil.rmtree(final, ignore_errors=True)  # a torn one of the same step
                os.rename(staged, final)
                files.sync_folder(self.checkpoint_root)
        finally:
            # Also after a full disk: what was staged gives its room back, the last good checkpoint stays.
            if self.first:
                shutil.rmtree(staging, ignore_errors=True)
        if self.first:
            for later, torn in numbered(self.checkpoint_root):
                if later > step:  # of an earlier try; it was not whole, or it would have been gone on from
                    shutil.rmtree(torn, ignore_errors=True)
            best = best_of(self.state.log_history)  # type: ignore[attr-defined]
            older = [pair for pair in numbered(self.checkpoint_root) if best is None or pair[0] != best[0]]
            for _step, old in older[: -(self.checkpoint_limit - (len(older) < len(numbered(self.checkpoint_root))))]:
                shutil.rmtree(old, ignore_errors=True)
        self.together()

    def _get_output_dir(self, trial: Any) -> str:
        return str(self.checkpoint_root / _STAGING)
