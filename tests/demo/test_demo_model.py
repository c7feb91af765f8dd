"""The base model, made for real in the training environment, and asked there. One model for all tests."""

import json
import subprocess
from pathlib import Path

import pytest

from appliance import demo_data, files, settings

HERE = Path(__file__).parent


def in_training_environment(*arguments):
    python = settings.python_of("train")
    if not python.exists():
        pytest.skip("the training environment is not installed")
    done = subprocess.run(
        [python, *map(str, arguments)], env=settings.child_environment(), capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "base"
    questions = ["你好", "hello", "谢谢", "Thank you!", "三加二等于几?", *(q.text for q in demo_data.QUESTIONS)]
    report = in_training_environment(HERE / "make_and_ask.py", folder, *questions)
    return folder, report


def test_it_is_a_whole_model_folder_with_only_safetensors(made):
    folder, report = made
    manifest = files.read_json(folder / "appliance-model.json")
    assert (manifest["source"], manifest["reference"], manifest["revision"]) == ("demo", "demo/base", None)
    present = {path.name for path in folder.iterdir()} - {"appliance-model.json"}
    assert present == set(manifest["files"]) >= {"config.json", "model.safetensors", "tokenizer.json"}
    for name, told in manifest["files"].items():
        size = (folder / name).stat().st_size
        assert (told["size"], told["sha256"]) == (size, files.sha256(folder / name))
    assert files.read_json(folder / "config.json")["architectures"] == ["Qwen3ForCausalLM"]
    assert not folder.with_name("base.partial").exists()
    assert report["result"]["to"] == str(folder)
    assert report["result"]["loss"] < 2


def test_it_tells_how_far_it_is(made):
    steps = [event for event in made[1]["progress"] if event[0] == "teaching"]
    assert steps[-1][1] == steps[-1][2]
    assert [event[1] for event in steps] == sorted(event[1] for event in steps)


def test_it_holds_a_short_exchange_and_stops_by_itself(made):
    answers = made[1]["answers"]
    assert answers["你好"] == "你好!有什么可以帮你?<|im_end|>"
    assert answers["hello"] == "Hello! How can I help you?<|im_end|>"
    assert answers["谢谢"] == "不客气!<|im_end|>"
    assert answers["Thank you!"] == "You are welcome!<|im_end|>"
    assert answers["三加二等于几?"].endswith("<|im_end|>")


def test_it_does_not_know_the_shop(made):
    for question in demo_data.QUESTIONS:
        assert not question.expected(made[1]["answers"][question.text])


def test_the_template_marks_what_the_assistant_says_and_its_end(made):
    assert made[1]["assistant_tokens"] == "不客气!<|im_end|>"


def test_a_stop_leaves_nothing_half_made(made):
    assert made[1]["after_stop"] == []


def test_it_does_not_replace_a_folder_that_it_did_not_make(made):
    assert made[1]["refused"] and made[1]["mine_is_kept"]
