"""Rows through the templates of several families: what each reads, what it learns, and that nothing is lost."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import families
import pytest

from appliance import settings
from appliance.data import check, preview

CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Parisville"}}}
OTHER = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Romeburgh"}}}
TOOLS = [
    {"type": "function", "function": {"name": "weather", "description": "tells", "parameters": {"type": "object"}}}
]


def said(role: str, content: str = "", *calls: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **({"tool_calls": list(calls)} if calls else {})}


CHAT = {
    "messages": [
        said("system", "besystemkind"), said("user", "firstquestion"), said("assistant", "firstanswer"),
        said("user", "secondquestion"), said("assistant", "secondanswer"),
    ]
}  # fmt: skip
AGENT = {
    "tools": TOOLS,
    "messages": [
        said("user", "firstquestion"), said("assistant", "", CALL), said("tool", '{"resultone": 1}'),
        said("assistant", "firstanswer"), said("user", "secondquestion"), said("assistant", "", OTHER),
        said("tool", '{"resulttwo": 2}'), said("assistant", "secondanswer"),
    ],
}  # fmt: skip
TWO_CALLS = {
    "tools": TOOLS,
    "messages": [
        said("user", "firstquestion"), said("assistant", "", CALL, OTHER), said("tool", "resultone"),
        said("tool", "resulttwo"), said("assistant", "firstanswer"),
    ],
}  # fmt: skip
PAIR = {
    "prompt": CHAT["messages"][:4],
    "chosen": [said("assistant", "better")],
    "rejected": [said("assistant", "worse")],
}
LEARNED = ("firstanswer", "secondanswer", "Parisville", "Romeburgh")
READ = ("besystemkind", "firstquestion", "secondquestion", "resultone", "resulttwo")


@pytest.fixture(scope="session")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not settings.python_of("train").exists():
        pytest.skip("the training environment is not installed")
    folder = tmp_path_factory.mktemp("tokenizers")
    subprocess.run(
        [settings.python_of("train"), families.__file__, folder], env=settings.child_environment(), check=True
    )
    return folder


def shown(folder: Path, rows: list[dict[str, Any]], model: Path | None) -> Any:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return preview(file, model=model, rows=9)


def parts(row: dict[str, Any], learned: bool) -> str:
    return "|".join(piece["text"] for piece in row["pieces"] if piece["learned"] is learned)


@pytest.mark.parametrize("family", ["qwen", "llama", "chatml", "glm", "no_system", None])
def test_learned_are_answers_and_calls_and_nothing_else(tmp_path: Path, tokenizers: Path, family: str | None) -> None:
    found = shown(tmp_path, [CHAT, AGENT, TWO_CALLS], tokenizers / family if family else None)
    assert found.task == "sft" and [row["line"] for row in found.rows] == [1, 2, 3]
    for row, given in zip(found.rows, (CHAT, AGENT, TWO_CALLS), strict=True):
        whole, learned, read = json.dumps(given), parts(row, True), parts(row, False)
        for word in LEARNED:
            assert (word in learned) == (word in whole) and word not in read, (word, learned)
        for word in READ:
            assert (word in read) == (word in whole) and word not in learned, (word, learned)
        assert ("weather" in read) == ("tools" in given)
        assert 0 < row["learned_tokens"] < row["tokens"]
    ended = {"qwen": "<|im_end|>", "llama": "<|eot_id|>", "no_system": "<end_of_turn>", None: "<|im_end|>"}
    if family in ended:
        assert parts(found.rows[0], True) == f"firstanswer{ended[family]}|secondanswer{ended[family]}".replace(
            "|second", "|<think>\n\n</think>\n\nsecond" if family == "qwen" else "|second"
        )
        assert not found.warnings
    if family == "glm":  # a turn is ended by the sign of the next one; the last one has none
        assert "firstanswer<|user|>" in parts(found.rows[0], True)
        assert [warning["kind"] for warning in found.warnings] == ["end_not_learned"]


def test_calls_come_out_as_the_family_writes_them(tmp_path: Path, tokenizers: Path) -> None:
    learned = {name: parts(shown(tmp_path, [AGENT], tokenizers / name).rows[0], True) for name in ("qwen", "llama")}
    assert (
        '<tool_call>\n{"name": "weather", "arguments": {"city": "Parisville"}}\n</tool_call><|im_end|>'
        in learned["qwen"]
    )
    assert '{"name": "weather", "parameters": {"city": "Parisville"}}<|eot_id|>' in learned["llama"]
    spelled = parts(shown(tmp_path, [AGENT], tokenizers / "chatml").rows[0], True)
    assert '<tool_call>\n{"name": "weather", "arguments": {"city": "Parisville"}}\n</tool_call><|im_end|>' in spelled


def test_of_a_pair_only_the_answer_is_learned(tmp_path: Path, tokenizers: Path) -> None:
    better, worse = shown(tmp_path, [PAIR], tokenizers / "llama").rows
    assert (better["part"], worse["part"]) == ("chosen", "rejected")
    assert parts(better, True) == "better<|eot_id|>" and parts(worse, True) == "worse<|eot_id|>"
    assert "firstanswer" in parts(better, False)


def test_an_end_that_is_not_learned_is_told(tmp_path: Path, tokenizers: Path) -> None:
    found = shown(tmp_path, [CHAT], tokenizers / "no_end")
    (warning,) = found.as_dict()["warnings"]
    assert warning["kind"] == "end_not_learned" and "1" in warning["sentence"]


def test_lengths_are_counted_with_the_models_own_tokenizer(tmp_path: Path, tokenizers: Path) -> None:
    tokens = [row["tokens"] for row in shown(tmp_path, [CHAT, AGENT], tokenizers / "qwen").rows]
    report = check(tmp_path / "rows.jsonl", model=tokenizers / "qwen", length=min(tokens)).as_dict()
    assert report["lengths"]["rough"] is False and report["lengths"]["longest"] == max(tokens)
    (too_long,) = [warning for warning in report["warnings"] if warning["kind"] == "too_long"]
    assert too_long["count"] == 1 and str(max(tokens) - min(tokens)) in too_long["sentence"]


@pytest.mark.slow
def test_templates_of_real_models(tokenizers: Path) -> None:
    """Those that come with TRL: each takes every row, and learns what the assistant says."""
    script = f"""
import json, re, sys
from pathlib import Path
import trl
from transformers import AutoTokenizer
from appliance.work import rows
tokenizer = AutoTokenizer.from_pretrained({str(tokenizers / "chatml")!r})
found = {{}}
for file in sorted((Path(trl.__file__).parent / "chat_templates").glob("*.jinja")):
    template = file.read_text()
    signs = set(re.findall(r"<[|｜]?[\\w▁]+[|｜]?>|<[|]?/?[a-z_]+[|]?>", template)) - {{"<think>", "</think>"}}
    tokenizer.add_special_tokens({{"additional_special_tokens": sorted(signs)}})
    tokenizer.chat_template = template
    for name, row in json.loads(sys.argv[1]).items():
        ids, labels = rows.encode(tokenizer, row)
        learned = tokenizer.decode([label for label in labels if label != rows.READ_ONLY])
        read = tokenizer.decode([i for i, label in zip(ids, labels, strict=True) if label == rows.READ_ONLY])
        found[file.stem + " " + name] = [learned, read]
print(json.dumps(found))
"""
    given = {"chat": CHAT, "agent": AGENT, "two": TWO_CALLS}
    done = subprocess.run(
        [settings.python_of("train"), "-c", script, json.dumps(given)], env=settings.child_environment(),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) >= 60
    for name, (learned, read) in found.items():
        whole = json.dumps(given[name.split()[1]])
        assert all((word in learned) == (word in whole) for word in LEARNED), (name, learned)
        assert all(word not in learned and (word in read) == (word in whole) for word in READ), (name, learned)
