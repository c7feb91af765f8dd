"""Rewards said as data: read, and what they give."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance import rewards
from appliance.errors import ApplianceError, UsageError


def give(word: str, answer: str, expected: str = "") -> float:
    (reward,) = rewards.parse([word])
    return rewards.judge(reward)(answer, expected)


@pytest.mark.parametrize(
    ("word", "answer", "expected", "value"),
    [
        ("exact", "  Yes,  it IS\n", "yes, it is", 1.0),
        ("exact", "yes", "no", 0.0),
        ("number", "So 3 + 4 makes 7.", "#### 7", 1.0),
        ("number", "1,234.50", "1234.5", 1.0),
        ("number", "about 7", "8", 0.0),
        ("number", "no idea", "8", 0.0),
        ("0.5*number", "-2e3", "-2000", 0.5),
        ("length:2-4", " 好的 ", "", 1.0),
        ("length:2-4", "much too long", "", 0.0),
    ],
)
def test_what_a_reward_gives(word: str, answer: str, expected: str, value: float) -> None:
    assert give(word, answer, expected) == value


def test_a_pattern_and_a_schema(tmp_path: Path) -> None:
    assert give("2*regex:^\\d+$", "12") == 2.0 and give("regex:^\\d+$", "12 or 13") == 0.0
    assert give(r"regex:(a|a)*b", "a" * 40) == 0.0  # a pattern that never ends is given up


def test_a_pattern_in_a_schema_that_takes_for_ever_is_given_up() -> None:
    schema = {"type": "object", "patternProperties": {"^(a+)+$": {"type": "string", "pattern": "^(b+)+$"}}}
    reward = {"kind": "schema", "weight": 1.0, "value": schema}
    began = time.monotonic()
    judged = rewards.judge(reward)
    assert judged(json.dumps({"a": "b" * 40 + "!"}), "") == 0
    assert judged(json.dumps({"a" * 40 + "!": "b"}), "") == 0
    assert judged(json.dumps({"aa": "bb"}), "") == 1
    assert time.monotonic() - began < 60  # and not for ever


def test_every_problem_at_once(tmp_path: Path) -> None:
    """What only the libraries that judge can tell as well: a worker would say so after the model was loaded."""
    wrong = {
        "type": {"type": "nothing"},
        "pattern": {"pattern": "("},
        "network": {"$ref": "http://127.0.0.1:9/other.json"},
        "deep": {"$defs": {"a": {"items": {"$ref": "#/$defs/b"}}}},
    }
    for name, schema in wrong.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(schema))
    words = ["exactly", "length:9-1", "regex:(", "number:3", "schema:/nowhere.json"]
    with pytest.raises(UsageError) as caught:
        rewards.parse([*words, *(f"schema:{tmp_path / name}.json" for name in wrong)])
    told = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == len(words) + len(wrong) and "http://127.0.0.1:9" in told and "$defs/b" in told
    good = {"$ref": "#/$defs/a", "$defs": {"a": {"$anchor": "b", "items": {"$ref": "#b"}}}}
    (tmp_path / "good.json").write_text(json.dumps(good))
    assert len(rewards.parse([r"regex:\p{Han}", f"schema:{tmp_path / 'good.json'}"])) == 2
    with pytest.raises(UsageError):
        rewards.parse([])


@given(st.lists(st.text(max_size=20), max_size=4))
def test_any_words_are_read_or_refused(words: list[str]) -> None:
    try:
        found = rewards.parse(words)
    except UsageError:
        return
    assert all(reward["kind"] in rewards.KINDS and reward["weight"] > 0 for reward in found)


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_answer_is_judged(answer: str, expected: str) -> None:
    for word in ("exact", "number", "length:0-10"):
        assert give(word, answer, expected) in (0.0, 1.0)


def test_a_schema(tmp_path: Path) -> None:
    file = tmp_path / "answer.json"
    file.write_text(json.dumps({"type": "object", "required": ["name"]}))
    word = f"schema:{file}"
    assert give(word, '```json\n{"name": 1}\n```') == 1.0
    assert give(word, '{"other": 1}') == give(word, "{") == give(word, "[" * 9000) == 0.0
    with pytest.raises(ApplianceError, match="schema"):  # nothing is fetched
        rewards.judge({"kind": "schema", "weight": 1.0, "value": {"$ref": "http://127.0.0.1:9/other.json"}})
