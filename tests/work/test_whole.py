"""All weights learn: full and GaLore leave a model of their own that plain transformers loads; kills change nothing."""

from __future__ import annotations

import json
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tiny
from held import held
from workers import done, kill, saved, until

from appliance import files, settings
from appliance.errors import UsageError
from appliance.hub import model as models
from appliance.jobs import control, prepare
from appliance.jobs.folder import Job


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_rows(tmp_path_factory.mktemp("whole") / "rows.jsonl")


def start(base: Path, rows: Path, **wish: Any) -> Job:
    words = {"steps": 60, "batch": 4, "learning_rate": 2e-3, **wish}
    draft = prepare.finetune(str(base), str(rows), wish=words)
    draft.spec.update(save_steps=20)
    return control.submit(draft)


LOSS = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
found = {}
for folder in sys.argv[1:]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    turns = [{"role": "user", "content": "3 + 3?"}, {"role": "assistant", "content": "3 + 3 = 6 好好好"}]
    ids = tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False, return_tensors="pt")
    with torch.no_grad():
        found[folder] = [float(model(ids, labels=ids).loss), str(model.dtype)]
print(json.dumps(found))
"""


def loaded(*folders: str | Path) -> list[tuple[float, str]]:
    """The loss on a row that was learned, and the precision, of each as plain transformers loads it."""
    told = subprocess.run(
        [settings.python_of("train"), "-c", LOSS, *map(str, folders)],
        env=settings.child_environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout.splitlines()[-1])
    return [tuple(found[str(folder)]) for folder in folders]


def test_all_weights_learn(home: Path, shelf: Path, rows: Path) -> None:
    base = shelf / "base-bfloat16"
    made = []
    for method, more, optimizer in (
        ("full", {"neftune": 5.0}, "adamw_torch_fused"),
        ("galore", {}, "galore"),
        ("full", {"optimizer": "adamw_8bit", "checkpointing": True}, "adamw_8bit"),
    ):
        job = start(base, rows, method=method, **more)
        assert job.described["plan"]["optimizer"] == optimizer
        result = done(job)
        assert "adapter" not in result and result["loss_last"] < 0.8 * result["loss_first"]
        folder = Path(result["made"])
        assert folder.parent == settings.models_folder()
        models.inspect(folder, need_chat_template=True)
        assert "served" in result["verdict"] or not result["good"]
        made.append(folder)
    assert [path.name for path in made] == [f"base-bfloat16-tuned{more}" for more in ("", "-2", "-3")]
    (before, _kind), *after = loaded(base, *made)
    assert all(loss < 0.8 * before and kind == "torch.bfloat16" for loss, kind in after), after


@pytest.mark.slow
@pytest.mark.parametrize("wish", [{"method": "galore", "rank": 4}, {"method": "full", "optimizer": "adamw_8bit"}])
def test_killed_it_ends_with_the_same_model(home: Path, shelf: Path, rows: Path, wish: dict[str, Any]) -> None:
    """Their own states come back from a checkpoint as well: projections, and moments in 8 bits."""
    hashes = []
    for killed in (False, True):
        begin = partial(start, shelf / "base-float32", rows, **wish)
        job = held(22, begin) if killed else begin()
        if killed:
            until(job, saved(job, 20))
            kill(job)
            control.resume(job)
        hashes.append(files.sha256(Path(done(job)["made"]) / "model.safetensors"))
    assert hashes[0] == hashes[1]


def test_what_needs_the_model_as_it_was_is_refused_for_all_weights(home: Path, shelf: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    row = {"prompt": "a?", "chosen": "yes", "rejected": "no"}
    pairs.write_text("".join(json.dumps({**row, "prompt": f"{n}?"}) + "\n" for n in range(12)), encoding="utf-8")
    with pytest.raises(UsageError, match="All weights"):
        prepare.finetune(str(shelf / "base-float32"), str(pairs), wish={"method": "full"})
