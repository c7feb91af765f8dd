"""Every method and technique by a worker: it learns, and with plain peft its adapter answers as it was taught."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from workers import done

from appliance import files, settings
from appliance.jobs import control, prepare
from appliance.jobs.folder import Job
from appliance.work import trainers

METHODS = ("lora", "qlora", "dora", "rslora", "lora+", "pissa")
TECHNIQUES: dict[str, dict[str, Any]] = {
    "checkpointing": {"checkpointing": True},
    "8-bit states": {"optimizer": "adamw_8bit"},
    "neftune": {"neftune": 1.0},
    "padded": {"padding_free": False},
    "packed": {"packing": True},
}
CALL = '<tool_call>\n{"name": "sky", "arguments": {"at": "Oslo"}}\n</tool_call>'


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def start(base: Path, rows: Path, *, steps: int = 60, **wish: Any) -> Job:
    words = {"steps": steps, "batch": 4, "learning_rate": 5e-3, **wish}
    four_bits = words.get("method") == "qlora"
    draft = prepare.finetune(str(base), str(rows), wish={**words, "method": "lora"} if four_bits else words)
    assert draft.plan
    if four_bits:  # the plan has it for NVIDIA cards alone; bitsandbytes can do it here as well, slowly
        draft.plan.update(method="qlora", optimizer="adamw_8bit")
    return control.submit(draft)


def taught(base: Path, asked: dict[str, tuple[str, Any]]) -> dict[str, dict[str, Any]]:
    told = subprocess.run(
        [settings.python_of("train"), Path(__file__).with_name("taught.py"), base],
        env=settings.child_environment(), input=json.dumps(asked), capture_output=True, text=True,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    return dict(json.loads(told.stdout.splitlines()[-1]))


@pytest.mark.usefixtures("spawn")
def test_each_method_and_technique(home: Path, shelf: Path, tmp_path: Path) -> None:
    base = shelf / "base-float32"
    rows = write(tmp_path / "rows.jsonl", [{"question": f"{n}?", "answer": "yes!"} for n in range(24)])
    weights = {path.name: files.sha256(path) for path in base.glob("*.safetensors")}
    asked: dict[str, tuple[str, Any]] = {}
    hashes = {}
    for name, wish in {**{method: {"method": method} for method in METHODS}, **TECHNIQUES}.items():
        job = start(base, rows, **wish)
        result = done(job)
        assert result["loss_last"] < 0.85 * result["loss_first"], (name, result)
        asked[name] = (result["adapter"], {"messages": [{"role": "user", "content": "7?"}]})
        hashes[name] = result["files"]["adapter_model.safetensors"]["sha256"]
        config = files.read_json(Path(result["adapter"]) / "adapter_config.json")
        assert config["use_dora"] is (name == "dora") and config["use_rslora"] is (name == "rslora")
        # PiSSA changes the base at its beginning; what it leaves is an ordinary adapter, for the base as it was.
        assert config["r"] == job.spec["plan"]["rank"] * (2 if name == "pissa" else 1)
        assert config["init_lora_weights"] is True
        assert not (job.folder / "pissa-beginning").exists()
        written = files.read_json(Path(result["adapter"]) / "appliance-adapter.json")
        assert written["base"]["weights"] == weights and written["dtype"] == "float32"
        assert written["data"]["sha256"] == files.sha256(rows) and written["base"]["folder"] == str(base)
        assert {"torch", "transformers", "peft", "trl"} <= set(written["result"]["versions"])
        beside = {path.name for path in Path(result["adapter"]).iterdir()}
        assert {"chat_template.jinja", "generation_config.json", "tokenizer.json"} <= beside
        if name == "pissa":
            assert Path(done(control.submit(prepare.merge(job.id)))["model"]).is_dir()
    found = taught(base, asked)
    for name, one in found.items():
        assert one["after"] == "yes!" != one["before"], (name, one)
    # What can't be read off the adapter's settings: computing a layer twice changes nothing, the others something.
    assert hashes["checkpointing"] == hashes["lora"]
    assert len(set(hashes.values())) == len(hashes) - 1
    assert found["lora+"]["factors"] > 4 * found["lora"]["factors"]


@pytest.mark.usefixtures("spawn")
def test_tools_and_plain_text(home: Path, shelf: Path, tmp_path: Path) -> None:
    """A call is made as it was taught, and an answer given to its result; a text goes on like those that were read."""
    base = shelf / "base-float32"
    tool = {"type": "function", "function": {"name": "sky", "parameters": {"type": "object"}}}
    call = {"type": "function", "function": {"name": "sky", "arguments": {"at": "Oslo"}}}
    said = [
        {"role": "assistant", "content": "", "tool_calls": [call]}, {"role": "tool", "content": "7"},
        {"role": "assistant", "content": "brr"},
    ]  # fmt: skip
    agent = [{"tools": [tool], "messages": [{"role": "user", "content": f"{n}?"}, *said]} for n in range(12)]
    adapters = {}
    for task, rows in (("sft", agent), ("pretrain", [{"text": f"{n}: " + "ab" * 40} for n in range(12)])):
        job = start(base, write(tmp_path / f"{task}.jsonl", rows), steps=100, learning_rate=1e-2, length=448)
        result = done(job)
        assert result["task"] == task and result["loss_last"] < 0.85 * result["loss_first"], result
        adapters[task] = result["adapter"]
    asks = agent[5]["messages"]
    found = taught(
        base,
        {
            "call": (adapters["sft"], {"tools": [tool], "messages": asks[:1]}),
            "answer": (adapters["sft"], {"tools": [tool], "messages": asks[:3]}),
            "text": (adapters["pretrain"], "5: abab"),
        },
    )
    assert found["call"]["after"] == CALL and found["answer"]["after"] == "brr", found
    assert found["text"]["after"].startswith("abababab") and not found["text"]["before"].startswith("abab")


@pytest.mark.parametrize("twice", [True, False])
def test_layers_are_computed_twice_where_the_plan_says_so(twice: bool) -> None:
    """Nothing else shows it here: what is learned is the same."""
    plan = {
        "micro_batch": 1, "accumulation": 1, "learning_rate": 1.0, "method": "lora", "dtype": "float32", "length": 9,
        "checkpointing": twice,
    }  # fmt: skip
    made = trainers._arguments(plan, {}, 1, 1, "", "sft")
    assert made["gradient_checkpointing"] is twice and bool(made["gradient_checkpointing_kwargs"]) is twice
