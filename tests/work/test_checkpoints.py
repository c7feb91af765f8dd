"""Checkpoints torn by hand, each file in each way: never picked."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from appliance import files
from appliance.work import checkpoints
from appliance.work.checkpoints import StagedCheckpoints, is_whole, latest_whole, numbered, write_manifest

NAMES = ("adapter_model.safetensors", "optimizer.pt", "rng_state.pth", "scheduler.pt", "trainer_state.json", "deep/x")


def write(folder: Path, content: str = "content") -> Path:
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{content} of {name}")
    write_manifest(folder)
    return folder


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


TEARS: dict[str, Callable[[Path], Any]] = {
    "cut in half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "emptied": lambda path: path.write_bytes(b""),
    "removed": lambda path: path.unlink(),
    "a bit flipped": flip,
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("tear", TEARS)
@pytest.mark.parametrize("name", [*NAMES, "manifest.json"])
def test_a_torn_checkpoint_is_never_picked(tmp_path: Path, name: str, tear: str) -> None:
    older, newer = write(tmp_path / "checkpoint-20"), write(tmp_path / "checkpoint-100")
    assert latest_whole(tmp_path) == (100, newer)
    TEARS[tear](newer / name)
    assert latest_whole(tmp_path) == (20, older)
    TEARS[tear](older / name)
    assert latest_whole(tmp_path) is None


def test_only_checkpoints_count(tmp_path: Path) -> None:
    for name in (".staging", "checkpoint-x", "checkpoint-", "checkpoint-7.tmp", "other"):
        write(tmp_path / name)
    (tmp_path / "checkpoint-9").touch()
    assert numbered(tmp_path) == [] and latest_whole(tmp_path) is None
    assert latest_whole(tmp_path / "nothing") is None
    (tmp_path / "checkpoint-1").mkdir()
    files.write_json(tmp_path / "checkpoint-1" / "manifest.json", {"files": {}})
    assert latest_whole(tmp_path) is None
    write(tmp_path / "checkpoint-10")
    write(tmp_path / "checkpoint-9999")
    assert [step for step, _folder in numbered(tmp_path)] == [1, 10, 9999]


class Saver:
    """What a Trainer's _save_checkpoint does, at the moment that the test wants."""

    class state:
        global_step = 1
        log_history: ClassVar[list[dict[str, Any]]] = []

    during: Callable[[Path], Any] = staticmethod(lambda _folder: None)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}"  # type: ignore[attr-defined]
        write(folder, f"step {self.state.global_step}")
        (folder / "manifest.json").unlink()
        self.during(folder)


class Trainer(StagedCheckpoints, Saver):
    def save(self, step: int) -> None:
        self.state.global_step = step
        self._save_checkpoint(None, None)


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    made = Trainer()
    made.checkpoint_root = tmp_path / "checkpoints"
    return made


def test_a_name_only_when_whole_and_two_are_kept(trainer: Trainer) -> None:
    names: list[list[str]] = []
    trainer.during = lambda _folder: names.append(sorted(path.name for path in trainer.checkpoint_root.iterdir()))
    for step in (1, 2, 3):
        trainer.save(step)
    assert names == [[".staging"], [".staging", "checkpoint-1"], [".staging", "checkpoint-1", "checkpoint-2"]]
    assert [step for step, folder in numbered(trainer.checkpoint_root) if is_whole(folder)] == [2, 3]
    assert not (trainer.checkpoint_root / ".staging").exists()


def test_the_best_one_stays_beside_the_last(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Saver.state, "log_history", [{"step": 1, "eval_loss": 1.0}, {"step": 2, "eval_loss": 2.0}])
    for step in (1, 2, 3, 4):
        trainer.save(step)
    assert [step for step, _folder in numbered(trainer.checkpoint_root)] == [1, 4]


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        Exception("Error while serializing: I/O error: No space left on device (os error 28)"),  # safetensors
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),  # torch.save
    ],
)
def test_a_full_disk_keeps_the_last_good_one_and_gives_its_room_back(trainer: Trainer, error: Exception) -> None:
    trainer.save(1)

    def full(_folder: Path) -> None:
        raise error

    trainer.during = full
    with pytest.raises(OSError) as told:
        trainer.save(2)
    assert told.value.errno == 28
    assert [path.name for path in trainer.checkpoint_root.iterdir()] == ["checkpoint-1"]
    assert latest_whole(trainer.checkpoint_root) == (1, trainer.checkpoint_root / "checkpoint-1")


def test_a_torn_one_of_the_same_step_is_written_again(trainer: Trainer) -> None:
    trainer.save(5)
    torn = trainer.checkpoint_root / "checkpoint-5"
    shutil.rmtree(torn / "deep")
    assert checkpoints.latest_whole(trainer.checkpoint_root) is None
    trainer.save(5)
    assert checkpoints.latest_whole(trainer.checkpoint_root) == (5, torn)


def test_what_a_kill_left_in_staging_is_cleared(trainer: Trainer) -> None:
    write(trainer.checkpoint_root / ".staging" / "checkpoint-3")
    assert latest_whole(trainer.checkpoint_root) is None
    trainer.save(4)
    assert [path.name for path in trainer.checkpoint_root.iterdir()] == ["checkpoint-4"]
