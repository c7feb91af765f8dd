"""Twenty steps on each of the chat sets beside the project, where they are: the task found, the loss lower."""

from __future__ import annotations

from pathlib import Path

import pytest
from workers import done

from appliance.jobs import control, prepare

SETS = {
    "alpaca_zh_demo": "sft", "identity": "sft", "glaive_toolcall_zh_demo": "sft", "dpo_zh_demo": "dpo",
    "kto_en_demo": "kto",
}  # fmt: skip
FOLDER = (Path(__file__).parents[2] / ".." / "shared" / "data").resolve()
HERE = [FOLDER / f"{name}.json" for name in SETS if (FOLDER / f"{name}.json").is_file()]


@pytest.mark.long
@pytest.mark.usefixtures("spawn")
@pytest.mark.parametrize("file", HERE, ids=lambda file: file.stem)
def test_twenty_steps(home: Path, shelf: Path, file: Path) -> None:
    wish = {"steps": 20, "batch": 2, "length": 512, "learning_rate": 2e-3}
    job = control.submit(prepare.finetune(str(shelf / "base-float32"), str(file), wish=wish, accept_drops=True))
    result = done(job)
    assert result["task"] == SETS[file.stem] and result["steps"] == 20
    assert result["loss_last"] < result["loss_first"], result
