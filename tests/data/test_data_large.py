"""Large files: the shorter ways through them find the same as the long ones, with any number of processes."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest

from appliance.data import check, convert, look, stream, tally, turns, workers
from appliance.data.rows import ordered

STRANGE = (
    "13812345678",
    "a@b.example",
    "{{name}}",
    "锛氫綘濂斤紝",
    "sk-" + "a" * 24,
    "[1]",
    "a\ufffdb",
    "",
    " ",
    "<tool_call>",
)


def text(chance: random.Random) -> str:
    words = " ".join("".join(chance.choices("abcdefghilmn茶水杯壶", k=5)) for _word in range(12))
    kind = chance.random()
    strange = chance.choice(STRANGE)
    return strange if kind < 0.02 else f"{words} {strange}" if kind < 0.04 else words


def chats(file: Path, count: int) -> None:
    chance = random.Random(1)
    with file.open("w", encoding="utf-8") as opened:
        for _row in range(count):
            some = [{"role": role, "content": text(chance)} for role in ("user", "assistant") * chance.randint(1, 2)]
            opened.write(json.dumps({"messages": some}, ensure_ascii=chance.random() < 0.5) + "\n")


def table(file: Path, count: int) -> None:
    chance = random.Random(2)
    with file.open("w", encoding="utf-8", newline="") as opened:
        rows = csv.writer(opened)
        rows.writerow(["question", "answer"])
        rows.writerows(
            [text(chance), f'"{text(chance)}"\nmore' * chance.randint(0, 1) or text(chance)] for _ in range(count)
        )


def reports(file: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """By one process and by two, and row by row."""
    found = [check(file).as_dict()]
    with monkeypatch.context() as patched:
        patched.setattr(workers, "LARGE", 0)
        patched.setattr(workers, "count", lambda: 2)
        found.append(check(file).as_dict())
        patched.setattr(workers, "count", lambda: 0)
        patched.setattr(convert.Layout, "pair", None)
        patched.setattr(convert.Layout, "talk", None)
        found.append(check(file).as_dict())
    return found


@pytest.mark.parametrize(("make", "name"), [(chats, "rows.jsonl"), (table, "rows.csv")])
def test_every_way_through_a_file_finds_the_same(make: Any, name: str, tmp_path: Path, monkeypatch: Any) -> None:
    make(tmp_path / name, 9000)
    one, two, slow = reports(tmp_path / name, monkeypatch)
    assert one == two == slow
    kinds = {warning["kind"] for warning in one["warnings"]}
    assert {"placeholders", "keys", "phone_numbers", "mail_addresses"} <= kinds and one["compared"] == one["kept"]


def test_rows_to_compare_come_from_all_over_a_large_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (look, tally):
        monkeypatch.setattr(module, "COMPARED", 1000)
    monkeypatch.setattr(stream, "_SMALL", 0)
    chance, file = random.Random(3), tmp_path / "rows.jsonl"
    with file.open("w") as opened:
        for row in range(12_000):
            if row % 2 == 0:
                words = " ".join("".join(chance.choices("abcdefghilmn", k=6)) for _word in range(30))
            question = words + "!" * (row % 2)
            opened.write(json.dumps({"question": question, "answer": f"{words} indeed"}) + "\n")
    report = check(file).as_dict()
    (near,) = [warning for warning in report["warnings"] if warning["kind"] == "near_duplicates"]
    assert 500 < report["compared"] <= 1000
    # Rows that begin alike are taken together: nearly all of the pairs are seen, though one row in twelve is.
    assert near["count"] > report["compared"] / 3 and near["examples"][-1]["line"] < 12_000


@pytest.mark.parametrize(
    ("plain", "raw"),
    [
        (True, [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]),
        (True, [{"role": "system", "content": "s"}, {"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]),
        (False, [{"role": "user", "content": "a"}, {"role": "assistant", "content": " a"}]),
        (False, [{"role": "user", "content": " "}, {"role": "assistant", "content": "b"}]),
        (False, [{"role": "user", "content": "a"}, {"role": "assistant", "content": "<tool_call>{}</tool_call>"}]),
        (False, [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]),
        (False, [{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]),
        (False, [{"role": [], "content": "a"}, {"role": None, "content": "b"}]),
        (False, ["a", "b"]), (False, [["a", "b"]]), (False, []), (False, "a"), (False, None),
    ],
)  # fmt: skip
def test_the_short_way_of_a_conversation_is_the_long_one_or_none(plain: bool, raw: Any) -> None:
    short = turns.plain_talk(raw)
    assert (short is None) == (not plain)
    if short is not None:
        assert short == ordered(turns.turns_of(raw, []))


def test_damage_behind_the_beginning_of_a_file_is_told(tmp_path: Path) -> None:
    rows = "".join(f"问题 {number},answer {number} {'x' * 500}\n" for number in range(1000)).encode()
    (tmp_path / "rows.csv").write_bytes(b"question,answer\n" + rows.replace(b"answer 900 ", b"answer \xff900 "))
    report = check(tmp_path / "rows.csv").as_dict()
    assert report["rows"] == 1000 and "damaged_text" in [one["kind"] for one in report["warnings"]]
