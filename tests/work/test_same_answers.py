"""What training answered is asked again when serving starts; adapters beside their base answer as merged."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import openai
import pytest
from workers import until

from appliance import settings
from appliance.errors import ApplianceError, UsageError
from appliance.jobs import control, prepare
from appliance.jobs.folder import Job, events, serving
from appliance.work import same_answers

KEEP = """
import sys
from pathlib import Path
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from appliance.work import same_answers
base, adapter, rows = map(Path, sys.argv[1:])
tokenizer = AutoTokenizer.from_pretrained(base)
model = AutoModelForCausalLM.from_pretrained(base, dtype="float32")
same_answers.keep(model, tokenizer, base, rows, "float32")
same_answers.keep(PeftModel.from_pretrained(model, adapter), tokenizer, adapter, rows, "float32")
"""


@pytest.fixture(scope="module")
def made(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base and an adapter, each with what it answered at the end of its training. Only to be read."""
    folder = tmp_path_factory.mktemp("trained")
    base, adapter, rows = folder / "base", folder / "made" / "adapter", folder / "rows.jsonl"
    shutil.copytree(shelf / "base-float32", base)
    shutil.copytree(shelf / "adapters" / "plain", adapter)
    lines = [
        {"messages": [{"role": "user", "content": f"{i} + {i}?"}, {"role": "assistant", "content": "x"}]}
        for i in range(9)
    ]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    variables = {**settings.child_environment(), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [settings.python_of("train"), "-c", KEEP, base, adapter, rows], env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def trained(home: Path, made: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The same, in a workspace and to be changed."""
    base, adapter = home / "models" / "base", tmp_path / "made" / "adapter"
    shutil.copytree(made / "base", base)
    shutil.copytree(made / "made" / "adapter", adapter)
    return base, adapter


def started(draft: control.Draft) -> tuple[Job, list[str]]:
    job = control.submit(draft)
    until(job, lambda found: any(event["kind"] == "ready" for event in found))
    return job, [event["text"] for event in events(job)[0] if event["kind"] in ("note", "warning")]


def ask(job: Job, name: str) -> float:
    """How likely the model thinks its first token: a model this small says much the same whatever it has learned."""
    at = serving(job)
    key = Path(at["key_file"]).read_text().strip()
    with openai.OpenAI(base_url=at["address"], api_key=key, max_retries=0, timeout=60) as client:
        messages = [{"role": "user", "content": "1 + 1?"}]
        answer = client.chat.completions.create(
            model=name,
            messages=messages,  # type: ignore[arg-type]
            max_tokens=1,
            logprobs=True,
        )
        assert answer.model == name
        assert name in [model.id for model in client.models.list()]
        told = answer.choices[0].logprobs
        assert told and told.content
        return told.content[0].logprob


def test_adapters_are_served_by_name_and_everything_answers_as_it_was_trained(
    trained: tuple[Path, Path], shelf: Path
) -> None:
    base, adapter = trained
    draft = prepare.serve(
        str(base), name="m", port=8400, adapters=[f"mine={adapter}", str(shelf / "adapters" / "dora")]
    )
    assert draft.spec["options"]["dtype"] == "float32"
    assert "--adapter" in draft.command
    job, said = started(draft)
    assert [sentence for sentence in said if "m " in sentence or "mine " in sentence] == [
        f"{name} answers as it did at the end of training." for name in ("m", "mine")
    ]
    answers = {name: ask(job, name) for name in ("m", "mine", "dora")}
    assert len(set(answers.values())) == 3
    assert [ask(job, name) for name in answers] == list(answers.values())  # in turn, each its own
    with pytest.raises(openai.NotFoundError):
        ask(job, "adapter")
    control.stop(job)
    kept = same_answers.kept(adapter)["answers"]
    assert len(kept) == 3 and all(one["answer"] for one in kept)


def test_a_difference_is_told_with_its_cause(trained: tuple[Path, Path]) -> None:
    base, _adapter = trained
    template = base / "chat_template.jinja"
    template.write_text(template.read_text().replace("assistant", "helper"))
    job, said = started(prepare.serve(str(base), name="m", port=8410))
    control.stop(job)
    (told,) = [sentence for sentence in said if "otherwise" in sentence]
    assert "chat template" in told and "dtype" not in told


@pytest.mark.parametrize(
    ("change", "told", "options", "cause"),
    [
        ({}, {"prompt_tokens": 4}, {}, "template writes the question in 4 tokens"),
        ({}, {}, {"dtype": "float16"}, "served in float16 and was trained in float32"),
        ({}, {"answer": "yes and on", "ended": False}, {}, "does not stop"),
        ({"template": "other"}, {}, {}, "not the one of the training"),
    ],
)
def test_causes(tmp_path: Path, change: object, told: object, options: object, cause: str) -> None:
    (tmp_path / "chat_template.jinja").write_text("t")
    trained = {"dtype": "float32", "template": same_answers._sha256("t"), "ends": [2], **change}  # type: ignore[dict-item]
    one = {"answer": "yes", "ended": True, "prompt_tokens": 5}
    asked = {"answer": "no", "ended": True, "prompt_tokens": 5, **told}  # type: ignore[dict-item]
    (found,) = same_answers._causes(trained, one, asked, tmp_path, options)  # type: ignore[arg-type]
    assert cause in found


def test_adapters_that_can_not_be_served_are_refused_in_words(home: Path, shelf: Path, tmp_path: Path) -> None:
    base = str(shelf / "base-float32")
    plain = shelf / "adapters" / "plain"
    with pytest.raises(UsageError):
        prepare.serve(base, name="m", adapters=[f"m={plain}"])
    with pytest.raises(UsageError):
        prepare.serve(base, adapters=[f"a={plain}", f"a={plain}"])
    with pytest.raises(UsageError):
        prepare.serve(base, adapters=[f"a b={plain}"])
    other = tmp_path / "other"
    shutil.copytree(plain, other)
    config = json.loads((other / "adapter_config.json").read_text())
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "config.json").write_text(json.dumps({"model_type": "qwen3", "hidden_size": 4096}))
    config["base_model_name_or_path"] = str(tmp_path / "big")
    (other / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ApplianceError, match="another model"):
        prepare.serve(base, adapters=[str(other)])
    config["peft_type"] = "IA3"
    (other / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ApplianceError, match="beside its base"):
        prepare.serve(base, adapters=[str(other)])
