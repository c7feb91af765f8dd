"""How long rows are: by characters, by the model's tokenizer, and what a shorter length takes from them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from appliance.jobs import prepare
from appliance.planning.lengths import Lengths, cut_sentence, how_known


def test_what_a_length_cuts() -> None:
    lengths = Lengths.of([300, 100, 200, 400], rough=False)
    assert lengths.longest == 400
    assert lengths.cut(400) == (0, 0.0)
    assert lengths.cut(200) == (2, pytest.approx(300 / 700))
    said = cut_sentence(lengths, 200)
    assert said.startswith("2 of 4 rows have more than 200 tokens (the longest 400) and are cut: they lose 43 percent")
    assert "estimated" not in said
    assert "estimated from characters" in cut_sentence(Lengths.of([300, 100]), 200)
    assert cut_sentence(lengths, 400) == ""
    assert how_known(lengths) == ""


@given(st.lists(st.integers(1, 10_000), min_size=1), st.integers(1, 10_000))
def test_the_shares(tokens: list[int], length: int) -> None:
    rows, share = Lengths.of(tokens).cut(length)
    assert rows == sum(count > length for count in tokens)
    assert 0 <= share < 1 and bool(rows) == bool(share)


def test_counted_where_it_matters(home: Path, shelf: Path, tmp_path: Path) -> None:
    """The tiny model's tokenizer takes bytes: one for a letter, three for a Chinese character."""
    file = tiny.write_rows(tmp_path / "rows.jsonl", 40)
    model = str(shelf / "base-float32")
    assert "estimated from characters" in prepare.make_plan(model, rows_from={"file": file}).reasons["length"]
    wish = {"length": 48}
    said = prepare.make_plan(model, rows_from={"file": file}, wish=wish).warnings[-1]
    longest = max(len(f"{row['question']}{row['answer']}".encode()) for row in map(json.loads, file.open()))
    found = re.search(r"(\d+) of 40 rows have more than 48 tokens \(the longest (\d+)\)", said)
    assert found and 0 < int(found[1]) < 40 and longest < int(found[2]) < longest + 64
    assert "estimated" not in said
    (tmp_path / "bare").mkdir()
    shutil.copy(shelf / "base-float32" / "config.json", tmp_path / "bare")
    said = prepare.make_plan(str(tmp_path / "bare"), rows_from={"file": file}, wish=wish).warnings[-1]
    assert "estimated from characters" in said
