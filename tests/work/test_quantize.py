"""Quantising by real workers on the processor: it answers, what lost too much waits, nothing is ever half there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from machines import MACHINES
from test_seeing import write_rows as pictures
from test_serve import ask as ask_server
from workers import done, ended, gone, kill, until

from appliance import files, settings
from appliance.errors import ApplianceError
from appliance.hub import manifest, workspace
from appliance.jobs import control, prepare, recipe
from appliance.jobs import models as stock
from appliance.jobs.folder import Job, events
from appliance.jobs.prepare.quantize import MEASURED
from appliance.merging import weights
from appliance.merging.journal import staging_folder

# Loads each folder as a person's program would, measures it on the job's rows and asks it something.
ASK = """
import json, sys
from pathlib import Path
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
from appliance.data.images import Images
from appliance.work import loading, perplexity, seeing
told = []
for model, job in zip(sys.argv[1::2], sys.argv[2::2]):
    tokenizer = loading.load_tokenizer(Path(model))
    sees = json.loads(Path(job, "job.json").read_text())["spec"]["sees"]
    seer = seeing.load(Path(model), tokenizer, Images(Path(job, "pictures"))) if sees else None
    kind = AutoModelForImageTextToText if sees else AutoModelForCausalLM
    loaded = kind.from_pretrained(model, dtype="auto", local_files_only=True, device_map="cpu").eval()
    held, _samples, _refused = perplexity.examples(tokenizer, Path(job), 512, 0, seer)
    if sees:
        made = loaded.generate(**perplexity.inputs(held[0], seer), max_new_tokens=8, min_new_tokens=8, do_sample=False)
        told.append([perplexity.measure(loaded, held, lambda _n: None, seer), made.shape[1] - len(held[0].ids)])
        told[-1].append(sum(bool(one.pictures) for one in held))
        continue
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "1 + 1?"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    made = loaded.generate(**asked, max_new_tokens=8, min_new_tokens=8, do_sample=False)
    told.append([perplexity.measure(loaded, held, lambda _n: None), made.shape[1] - asked["input_ids"].shape[1]])
print("TOLD " + json.dumps(told))
"""

MIXTURE = """
import sys, torch
from transformers import AutoConfig, Qwen3MoeConfig, Qwen3MoeForCausalLM
torch.manual_seed(0)
shape = AutoConfig.from_pretrained(sys.argv[1]).to_dict()
kept = {name: shape[name] for name in (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "max_position_embeddings", "eos_token_id", "pad_token_id")}
config = Qwen3MoeConfig(**kept, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=64, bos_token_id=None)
Qwen3MoeForCausalLM(config).to(torch.bfloat16).save_pretrained(sys.argv[2])
"""


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return tiny.write_rows(tmp_path / "rows.jsonl")


def draft(shelf: Path, rows: Path, scheme: str, **more: Any) -> control.Draft:
    return prepare.quantize(str(shelf / "base-bfloat16"), str(rows), scheme=scheme, samples=8, length=512, **more)


def ask(jobs: list[Job]) -> list[list[float]]:
    """(perplexity, tokens of an answer) of each job's model, as transformers loads it in the serving environment; of
    one that sees also how many of the rows it was measured on show pictures."""
    words = [word for job in jobs for word in (str((job.result or {})["model"]), str(job.folder))]
    variables = {**settings.child_environment(), "HF_HUB_OFFLINE": "1"}
    told = subprocess.run(
        [settings.python_of("train"), "-c", ASK, *words], env=variables, capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr[-3000:]
    found: list[list[float]] = json.loads(told.stdout.split("TOLD ")[1])
    return found


def check_whole(job: Job, original: Path) -> None:
    """What every quantised model must be."""
    result = done(job)
    folder = Path(result["model"])
    print(result["scheme"], result["sentence"])
    assert str(round(result["perplexity"]["before"], 3)) in result["sentence"]
    assert result["size"]["after"] < result["size"]["before"]
    written = manifest.read(folder)
    assert written and written["source"] == "quantize" and manifest.differences(folder, written) == []
    assert all(entry["sha256"] == files.sha256(folder / name) for name, entry in written["files"].items())
    assert files.read_json(folder / "config.json")["quantization_config"]["quant_method"]
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (folder / name).read_bytes() == (original / name).read_bytes()
    assert not list(folder.glob(".*")) and stock.find(folder.name).state == "whole"
    with pytest.raises(ApplianceError, match="quantised already"):
        prepare.quantize(str(folder), "rows.jsonl", scheme="fp8")


def phases(job: Job) -> list[str]:
    return [event["phase"] for event in events(job)[0] if event["kind"] == "progress"]


def test_fp8_and_gptq_answer_as_measured_and_a_killed_one_is_not_there(home: Path, shelf: Path, rows: Path) -> None:
    killed = control.submit(draft(shelf, rows, "gptq"))
    fp8 = control.submit(draft(shelf, rows, "fp8"))
    until(killed, lambda seen: any(e.get("phase") == "quantising" and e["done"] > 0 for e in seen))
    kill(killed)
    assert [model.name for model in workspace.list_models() if "gptq" in model.name] == []
    gptq = control.resume(killed)
    for job in (fp8, gptq):
        check_whole(job, shelf / "base-bfloat16")
    told = [event for event in events(gptq)[0] if event.get("phase") == "quantising"]
    assert told[-1]["done"] == told[-1]["total"] == 2 and any(0 < event["done"] < 2 for event in told)
    for job, (perplexity, answered) in zip((fp8, gptq), ask([fp8, gptq]), strict=True):
        assert perplexity == pytest.approx((job.result or {})["perplexity"]["after"], rel=0.02)
        assert answered == 8
    served = prepare.serve("base-bfloat16-gptq", port=18765)
    assert (
        any("compressed-tensors" in fact for _label, fact in served.facts) and served.spec["engine"] == "transformers"
    )


def test_what_has_lost_too_much_waits_for_a_yes(home: Path, shelf: Path, rows: Path) -> None:
    made = draft(shelf, rows, "bnb4")
    assert made.spec["most_lost"] == 0.05
    made.spec["most_lost"] = -0.5  # as if it had to become better by far
    job = control.submit(made)
    error = ended(job).error
    assert error and "lost too much" in error["what"] and "Perplexity" in error["why"], job.log.read_text()[-2000:]
    assert f"jobs resume {job.id} --accept-loss" in error["next"]
    waiting = staging_folder(home / "models" / "base-bfloat16-bnb4", job.id)
    assert (waiting / MEASURED).is_file() and workspace.list_models() == [] and prepare.lost_too_much(job)
    again = ended(control.resume(job))  # nobody has said yes
    assert again.state == "failed" and (waiting / MEASURED).is_file()
    before = len(phases(job))
    prepare.accept(job)
    result = done(control.resume(job))
    assert len(phases(job)) == before  # nothing was done twice
    assert result["perplexity"]["loss"] > -0.5 and result["accepted"] and not waiting.exists()
    assert stock.find("base-bfloat16-bnb4").state == "whole" and not prepare.lost_too_much(job)


def test_what_is_planned_for_another_machine_is_said(home: Path, shelf: Path, rows: Path) -> None:
    made = prepare.quantize(str(shelf / "base-bfloat16"), str(rows), hardware=MACHINES["H100"])
    told = dict(made.facts)
    assert "H100" in told["Why"] and told["Served by"] == "vllm" and "times smaller" in told["Size"]
    assert "--scheme gptq 7" in told["Instead"] and "kB" in told["Instead"]
    assert "--scheme fp8" in made.command  # this machine alone would choose none
    assert (
        made.plan and made.plan["engines"] == ("vllm",) and set(made.plan["others"]) == {"gptq", "awq", "int8", "bnb4"}
    )


def test_what_can_not_be_is_refused_before_it_starts(home: Path, shelf: Path, rows: Path, tmp_path: Path) -> None:
    few = tiny.write_rows(tmp_path / "few.jsonl", 5)
    base = str(shelf / "base-bfloat16")
    for words, told in (
        ({"data_file": str(few), "scheme": "fp8"}, "too few"),
        ({"data_file": None, "scheme": "fp8"}, "--data is missing"),
        ({"data_file": str(rows), "scheme": "auto"}, "gains nothing"),
        ({"data_file": str(rows), "scheme": "q4"}, "no scheme"),
        ({"data_file": str(rows), "scheme": "fp8", "to": base}, "is there already"),
    ):
        with pytest.raises(ApplianceError, match=told):
            prepare.quantize(base, **words)
    with pytest.raises(ApplianceError, match="lost nothing"):
        prepare.accept(control.submit(prepare.merge(str(shelf / "adapters" / "plain"), base=base)))


@pytest.mark.slow
def test_awq_int8_and_bitsandbytes_answer_as_measured(home: Path, shelf: Path, rows: Path) -> None:
    jobs = [control.submit(draft(shelf, rows, scheme, accept_loss=True)) for scheme in ("awq", "int8", "bnb4")]
    for job in jobs:
        check_whole(job, shelf / "base-bfloat16")
    for job, (perplexity, answered) in zip(jobs, ask(jobs), strict=True):
        assert perplexity == pytest.approx((job.result or {})["perplexity"]["after"], rel=0.02)
        assert answered == 8


@pytest.fixture(scope="session")
def mixture(tmp_path_factory: pytest.TempPathFactory, shelf: Path) -> Path:
    """A tiny Qwen3 with experts."""
    folder = tmp_path_factory.mktemp("mixture") / "mixture"
    variables = {**settings.child_environment(), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    words = [settings.python_of("train"), "-c", MIXTURE, shelf / "base-bfloat16", folder]
    subprocess.run(words, env=variables, check=True, capture_output=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(shelf / "base-bfloat16" / name, folder / name)
    return folder


@pytest.mark.slow
def test_a_recipe_quantises_a_model_with_experts(home: Path, mixture: Path, rows: Path, tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(
        f"jobs:\n- quantize: {{model: {mixture}, data: {rows}, scheme: fp8, length: 512, accept_loss: true}}\n"
    )
    (job,) = recipe.run(recipe.read(file), lambda job, _number, _last: ended(job))
    result = done(job)
    folder = Path(result["model"])
    found = [tensor for path in folder.glob("*.safetensors") for tensor in weights.read(path).tensors]
    kinds = {tensor.name: tensor.dtype for tensor in found}
    experts = [name for name in kinds if ".experts." in name and name.endswith("_proj.weight")]
    original = {tensor.name for path in mixture.glob("*.safetensors") for tensor in weights.read(path).tensors}
    assert len(experts) == 2 * 4 * 3 and {kinds[name] for name in experts} == {"F8_E4M3"} and set(experts) <= original
    assert {dtype for name, dtype in kinds.items() if name.endswith("mlp.gate.weight")} == {"BF16"}
    assert abs(result["perplexity"]["loss"]) < 0.02
    ((perplexity, answered),) = ask([job])
    assert perplexity == pytest.approx(result["perplexity"]["after"], rel=0.02) and answered == 8


@pytest.mark.slow
def test_a_stop_ends_it_and_leaves_nothing(home: Path, shelf: Path, rows: Path) -> None:
    job = control.submit(draft(shelf, rows, "gptq"))
    until(job, lambda seen: any(e.get("phase") == "quantising" for e in seen))
    pid = job.state().pid
    assert pid is not None
    os.kill(pid, signal.SIGTERM)
    assert ended(job).state == "stopped", job.log.read_text()[-2000:]
    gone(pid)
    assert list((home / "models").glob("*")) == [] and list((home / "models").glob(".*")) == []


def stored(folder: Path) -> dict[str, tuple[str, bytes]]:
    """Every tensor of a model by its name: (dtype, bytes)."""
    found = {}
    for path in folder.glob("*.safetensors"):
        raw = path.read_bytes()
        for tensor in weights.read(path).tensors:
            found[tensor.name] = (tensor.dtype, raw[tensor.start : tensor.end])
    return found


def check_seeing(jobs: list[Job], original: Path) -> None:
    """Its language part is packed under the original's names, what sees is not touched, and it looks and answers."""
    before = stored(original)
    for job in jobs:
        check_whole(job, original)
        after = stored(Path((job.result or {})["model"]))
        sees = [name for name in before if any(word in name for word in ("visual", "vision_tower", "projector"))]
        assert sees and all(after[name][0] == "BF16" for name in sees)
        for name in sees:  # 16 bits of what is stored in 32
            wide = np.frombuffer(before[name][1], np.uint32)
            assert np.array_equal((wide + 0x7FFF + (wide >> 16 & 1)) >> 16, np.frombuffer(after[name][1], np.uint16))
        packed = {
            name.split("_proj")[0] for name, (dtype, _raw) in after.items() if dtype in ("F8_E4M3", "I32", "I8", "U8")
        }
        linear = {name.split("_proj")[0] for name in before if name.endswith("_proj.weight") and name not in sees}
        assert packed == linear and len(linear) == 14
    for job, (perplexity, answered, shown) in zip(jobs, ask(jobs), strict=True):
        assert perplexity == pytest.approx((job.result or {})["perplexity"]["after"], rel=0.02)
        assert answered == 8 and shown > 3


def quantised(seers: Path, name: str, file: Path, *schemes: str) -> list[Job]:
    words = {"samples": 8, "length": 512, "accept_loss": True}
    return [
        control.submit(prepare.quantize(str(seers / name), str(file), scheme=scheme, **words)) for scheme in schemes
    ]


def test_a_model_that_sees_is_quantised_on_its_pictures(home: Path, shelf: Path, seers: Path, tmp_path: Path) -> None:
    file = pictures(tmp_path / "rows")
    check_seeing(quantised(seers, "qwen2.5-vl", file, "gptq"), seers / "qwen2.5-vl")
    with pytest.raises(ApplianceError, match="show 25 pictures, and this model can't see"):
        prepare.quantize(str(shelf / "base-bfloat16"), str(file), scheme="gptq")


@pytest.mark.slow
def test_each_scheme_leaves_a_tower_alone(home: Path, seers: Path, tmp_path: Path) -> None:
    file = pictures(tmp_path / "rows")
    for name, schemes in (("qwen3-vl", ("fp8", "awq")), ("gemma3", ("int8",)), ("qwen2.5-vl", ("bnb4",))):
        check_seeing(quantised(seers, name, file, *schemes), seers / name)
    told = control.submit(prepare.serve("qwen2.5-vl-bnb4", name="tiny", port=18767))
    until(told, lambda seen: any(event["kind"] == "ready" for event in seen))
    assert ask_server(told)["choices"]
    control.stop(told)
