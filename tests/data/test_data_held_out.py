"""Rows kept back: the same ones whatever the order, near-duplicates on one side, none of small files."""

from __future__ import annotations

import json
import random

from appliance.data import hold_out
from appliance.data.held_out import FEWEST_ROWS, held_out

_WORDS = ("tea", "leaf", "water", "cup", "price", "order", "ship", "name", "pot", "kettle", "steam", "shop", "open")


def row(number: int) -> dict[str, object]:
    """A row unlike all others."""
    chance = random.Random(number)
    question, answer = (" ".join(chance.choices(_WORDS, k=12)) + f" {number}" for _half in "qa")
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def spoken(rows: list[dict[str, object]], numbers: list[int]) -> set[str]:
    return {json.dumps(rows[number], sort_keys=True) for number in numbers}


def test_the_same_rows_in_any_order() -> None:
    rows = [row(number) for number in range(600)]
    chosen = spoken(rows, held_out(rows, 0.1))
    assert 55 <= len(chosen) <= 60
    shuffled = random.Random(1).sample(rows, len(rows))
    assert spoken(shuffled, held_out(shuffled, 0.1)) == chosen
    assert held_out(rows, 0.1) == held_out(iter(rows), 0.1)


def test_near_duplicates_stand_on_the_same_side() -> None:
    rows = [row(number) for number in range(300)]
    near = []
    for one in rows:
        question, answer = one["messages"]  # type: ignore[misc]
        near.append({"messages": [{**question, "content": question["content"].upper() + " ?"}, answer]})
    chosen = set(held_out([*rows, *near], 0.1))
    assert chosen
    assert {number + 300 for number in chosen if number < 300} == {number for number in chosen if number >= 300}


def test_a_file_of_one_kind_of_row_and_small_files_keep_all() -> None:
    alike = {"messages": [{"role": "user", "content": "always the very same long question"}]}
    assert held_out([{**alike, "tools": [number]} for number in range(300)], 0.1) == []
    assert held_out([row(number) for number in range(FEWEST_ROWS - 1)], 0.5) == []


def test_numbers_are_written_only_where_there_are_some(tmp_path) -> None:
    source, target = tmp_path / "rows.jsonl", tmp_path / "held_out.json"
    source.write_text("".join(json.dumps(row(number)) + "\n" for number in range(300)))
    assert hold_out(source, target, 0.1) == len(json.loads(target.read_text())) > 20
    source.write_text(json.dumps(row(1)) + "\n")
    assert hold_out(source, tmp_path / "none.json", 0.1) == 0 and not (tmp_path / "none.json").exists()
