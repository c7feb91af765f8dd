"""How long rows are: by characters, by the model's tokenizer, and what a shorter length takes from them."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from appliance import data
from appliance.data.lengths import rough_tokens
from appliance.planning.lengths import CHARACTERS, SAMPLE, Lengths, cut_sentence, how_known
from appliance.planning.tokens import lengths_of


def test_from_characters() -> None:
    def row(text: str) -> int:
        return rough_tokens({"text": text}) - rough_tokens({"text": ""})

    assert row("plain English words " * 100) == 1000
    assert row("一二三四五六七八九十" * 100) == 1000
    assert row("é" * 100) == pytest.approx(75)
    turns = [{"role": "user", "content": "ab"}, {"role": "assistant", "content": "好好"}]
    assert rough_tokens({"messages": turns}) - rough_tokens({"text": ""}) == 3


def test_what_a_length_cuts() -> None:
    lengths = Lengths.of([300, 100, 200, 400], "")
    assert lengths.longest == 400
    assert lengths.cut(400) == (0, 0.0)
    assert lengths.cut(200) == (2, pytest.approx(300 / 700))
    said = cut_sentence(lengths, 200)
    assert said.startswith("2 of 4 rows have more than 200 tokens (the longest 400) and are cut: they lose 43 percent")
    assert "estimated" not in said
    assert "estimated from characters" in cut_sentence(Lengths.of([300, 100]), 200)
    assert "from a sample" in cut_sentence(Lengths.of([300, 100], SAMPLE), 200)
    assert cut_sentence(lengths, 400) == ""
    assert how_known(lengths) == ""


@given(st.lists(st.integers(1, 10_000), min_size=1), st.integers(1, 10_000))
def test_the_shares(tokens: list[int], length: int) -> None:
    rows, share = Lengths.of(tokens).cut(length)
    assert rows == sum(count > length for count in tokens)
    assert 0 <= share < 1 and bool(rows) == bool(share)


def test_by_the_models_tokenizer(home: Path, shelf: Path, tmp_path: Path) -> None:
    """The tiny model's tokenizer takes bytes: one for a letter, three for a Chinese character."""
    file = tiny.write_rows(tmp_path / "rows.jsonl", 40)
    report = data.check(file)
    assert len(report.lengths) == report.kept == 40
    counted = lengths_of(report.lengths, data.load(file), shelf / "base-float32")
    assert counted.guessed == ""
    longest = max(
        len((row["messages"][0]["content"] + row["messages"][1]["content"]).encode()) for row in data.load(file)
    )
    assert counted.longest == longest + 48 + 2 * 8
    many = tiny.write_rows(tmp_path / "many.jsonl", 3000)
    report = data.check(many)
    sampled = lengths_of(report.lengths, data.load(many), shelf / "base-float32")
    assert sampled.guessed == SAMPLE and len(sampled.tokens) == 3000
    without = lengths_of(report.lengths, data.load(many), tmp_path)
    assert without.guessed == CHARACTERS and without.longest == max(report.lengths)
    (tmp_path / "tokenizer.json").write_text("none")
    assert lengths_of(report.lengths, data.load(many), tmp_path) == without
