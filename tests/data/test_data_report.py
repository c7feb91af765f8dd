"""The report's findings beyond single rows: near-duplicates, lengths, languages, tools, images, damage."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from typing import Any

import numpy as np

from appliance.data import check, duplicates, mojibake
from appliance.data.languages import language

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=")
TOOL = {"type": "function", "function": {"name": "weather", "description": "d", "parameters": {"type": "object"}}}


def jsonl(folder: Path, rows: list[Any]) -> Path:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return file


def pairs(count: int) -> list[dict[str, str]]:
    """Rows that have nothing to do with each other."""
    chance = random.Random(0)

    def words(number: int) -> str:
        return " ".join("".join(chance.choices("abcdefghilmnoprstuw", k=6)) for _word in range(number))

    return [{"question": f"What is the {words(6)}?", "answer": f"It is {words(12)}."} for _row in range(count)]


def warnings(file: Path, **options: Any) -> dict[str, dict[str, Any]]:
    return {warning["kind"]: warning for warning in check(file, **options).as_dict()["warnings"]}


def test_nearly_the_same_rows_are_told_with_the_row_that_they_are_like(tmp_path: Path) -> None:
    rows = pairs(40)
    longer = {"question": "How long does black tea steep, please?", "answer": "Three to five minutes in boiling water."}
    rows[5] = longer
    rows.append(
        {"question": "How long does black tea steep please", "answer": "three to five minutes in boiling water"}
    )
    found = warnings(jsonl(tmp_path, rows))["near_duplicates"]
    assert found["count"] == 1 and found["examples"] == [{"line": 41, "like": 6}]
    assert "near_duplicates" not in warnings(jsonl(tmp_path, pairs(40)))


def test_digests_are_remembered_over_many_batches() -> None:
    chance, seen = np.random.default_rng(0), duplicates.Seen()
    known: set[int] = set()
    for _batch in range(60):
        digests = chance.integers(0, 20_000, 500, dtype=np.uint64)
        expected = []
        for one in digests.tolist():
            expected.append(one in known)
            known.add(one)
        assert seen.again(digests).tolist() == expected


def test_short_texts_are_never_near() -> None:
    signed = duplicates.signatures(["", "好", "a", "??", "yes"])
    assert (signed[:4] == 0xFFFFFFFF).all() and duplicates.near(signed).tolist() == [0, 1, 2, 3, 4]
    assert duplicates.signatures([]).shape == (0, duplicates.PLACES)


def test_too_long_by_how_much_and_named_a_guess(tmp_path: Path) -> None:
    rows = [*pairs(30), {"question": "long", "answer": "word " * 1000}]
    report = check(jsonl(tmp_path, rows), length=1024).as_dict()
    (found,) = [warning for warning in report["warnings"] if warning["kind"] == "too_long"]
    over = report["lengths"]["longest"] - 1024
    assert found["count"] == 1 and found["examples"] == [{"line": 31}] and str(over) in found["sentence"]
    assert report["lengths"]["rough"] is True and report["length"] == 1024
    assert sum(bar["rows"] for bar in report["lengths"]["bars"]) == report["kept"] == 31
    assert "too_long" not in warnings(jsonl(tmp_path, rows), length=5000)


def test_languages(tmp_path: Path) -> None:
    chinese = [{"question": f"第{n}个问题是什么？", "answer": f"答案是{'茶水杯壶叶' * (n % 7)}{n}"} for n in range(30)]
    report = check(jsonl(tmp_path, [*chinese, *pairs(10)])).as_dict()
    assert [(item["language"], item["share"]) for item in report["languages"]] == [("zh", 0.75), ("en", 0.25)]
    told = {
        "Wie geht es dir, und was ist das?": "de", "これはペンです": "ja", "안녕하세요": "ko", "Как дела?": "ru",
        "Quelle est la capitale de la France ?": "fr", "¿Qué es la vida?": "es", "def f(x): return x": "en",
        "": "other",
    }  # fmt: skip
    assert {text: language(text) for text in told} == told


def test_tools_that_are_not_listed(tmp_path: Path) -> None:
    def row(n: int, name: str, tools: list[Any]) -> dict[str, Any]:
        call = {"type": "function", "function": {"name": name, "arguments": "{}"}}
        messages = [{"role": "user", "content": f"weather {n}?"}, {"role": "assistant", "tool_calls": [call]}]
        return {"messages": messages, **({"tools": tools} if tools else {})}

    found = warnings(jsonl(tmp_path, [row(1, "weather", [TOOL]), row(2, "wether", [TOOL]), row(3, "weather", [])]))
    assert found["tool_not_listed"]["examples"] == [{"line": 2}]
    assert found["no_tools_listed"]["examples"] == [{"line": 3}]


def test_images_that_are_missing_or_broken(tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(PNG)
    (tmp_path / "cut.png").write_bytes(PNG[:40])
    (tmp_path / "text.png").write_text("no image at all")
    names = ["good.png", "cut.png", "text.png", "gone.png", "https://example.com/a.png"]
    names.append("data:image/png;base64," + base64.b64encode(PNG).decode())
    rows = [
        {"messages": [{"role": "user", "content": f"<image>what is {n}?"}, {"role": "assistant", "content": f"a {n}"}],
         "images": [name]}
        for n, name in enumerate(names)
    ]  # fmt: skip
    report = check(jsonl(tmp_path, rows)).as_dict()
    places = {drop["reason"]: [one["line"] for one in drop["examples"]] for drop in report["dropped"]}
    assert places == {"image_unreadable": [2, 3], "image_missing": [4], "image_elsewhere": [5]}
    assert report["kept"] == 2


def test_text_read_in_the_wrong_encoding(tmp_path: Path) -> None:
    text = "你好，请问这个茶怎么泡？水要多热，泡多久？"
    garbled = text.encode().decode("gb18030", errors="replace")
    accents = "Voilà, déjà café"
    assert mojibake.mended(accents.encode().decode("latin-1")) == accents
    assert mojibake.share(text) == mojibake.share("IRMÃ e SÃO") == 0.0
    rows = [
        *pairs(30),
        {"question": "茶？", "answer": garbled},
        {"question": "one", "answer": "a\ufffdb " + "word " * 99},
    ]
    report = check(jsonl(tmp_path, rows)).as_dict()
    assert [(drop["reason"], drop["examples"]) for drop in report["dropped"]] == [("mojibake", [{"line": 31}])]
    damaged = [warning["examples"] for warning in report["warnings"] if warning["kind"] == "some_mojibake"]
    assert damaged == [[{"line": 32}]]


def test_duplicates_count_once_and_notes_only_what_is_kept(tmp_path: Path) -> None:
    row = {"question": "mail?", "answer": "write to someone@example.com"}
    report = check(jsonl(tmp_path, [row, *pairs(30), row, row])).as_dict()
    assert report["dropped"][0]["examples"] == [{"line": 32}, {"line": 33}]
    assert [w["count"] for w in report["warnings"] if w["kind"] == "mail_addresses"] == [1]
    assert report["rows"] == report["kept"] + sum(drop["count"] for drop in report["dropped"]) == 33
