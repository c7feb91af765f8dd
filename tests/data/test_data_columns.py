"""What is found in a block by columns is what is found in it row by row, whatever stands in the rows."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.data.blocks import Block, Text
from appliance.data.cells import cut
from appliance.data.convert import Layout
from appliance.data.duplicates import Seen
from appliance.data.formats import Recogniser
from appliance.data.images import Images
from appliance.data.look import Findings, Look
from appliance.data.parse import Cells, Lines, Parser, rows_of
from appliance.data.stream import _Block

SAID = st.sampled_from(
    ["How much?", "好的。", "多少钱，请问？", "3", " blank before", "behind ", "\u3000", "", " ", "\n", "[注]",
     "x\u2028", "{{name}} and {{ other }}", "call 13812345678", "a@b.example", "锛氫綘濂斤紝", "a\ufffdb",
     "sk-" + "a" * 24, "<tool_call>{\"name\": \"f\"}</tool_call>", "<functioncall>",
     "a < b", "\x1e\x1d\x1f", "nul\x00", "é" * 300]
)  # fmt: skip
TURN = st.tuples(st.sampled_from(["user", "assistant", "system", "human", "gpt", "tool", "nobody"]), SAID)
PLAIN = st.lists(st.tuples(SAID, SAID), min_size=1, max_size=3).map(
    lambda pairs: [turn for asked, said in pairs for turn in (("user", asked), ("assistant", said))]
)
TALKS = st.one_of(PLAIN, PLAIN, PLAIN.map(lambda turns: [("system", "[{"), *turns]), st.lists(TURN, max_size=4))
TALK = '"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]'
# Lines of which arrow's reader makes something else than ours, or nothing.
STRANGE = [
    '{"messages": null}', '{"messages": [null]}', '{"messages": [{"role": "user"}]}', "{", "[1]", "3",
    f'{{"n": Inf, {TALK}}}', f'{{"n": {{"a": [-Inf]}}, {TALK}}}', f'{{"n": NaN, {TALK}}}', f'{{{TALK}}}{{{TALK}}}',
    f'{{"n": 1}}{{{TALK}}}', '{"id": 1,', "", f'{{"messages": [], {TALK}}}', f'{{{TALK}}} ',
    f'{{"Messages": [], {TALK}}}', '{"messages": [{"role": "user", "content": "\\ud800"}]}',
    f'{{{TALK}, "label": true}}', f'{{"tools": "[]", {TALK}}}',
    '{"messages": [{"role": "user", "content": 1}, {"role": "assistant", "content": "2"}]}',
    '{"messages": [{"role": "user", "content": "1", "more": 2}, {"role": "assistant", "content": "2"}]}',
    '{"question": "1", "answer": "2"}', "\ufeff{}", f'{{"n": {"[" * 6000}{"]" * 6000}, {TALK}}}',
]  # fmt: skip


def found(data: bytes, parser: Parser, layout: Layout, line: int = 1, plain: bool = True) -> tuple[Findings, bool]:
    """What is found in a block, and whether it was by columns."""
    do = _Block(Text(Path("x"), "utf-8"), parser, Recogniser(layout, {}, False), Look(Images(Path())), 0, plain)
    findings = do(Block(line, 0, len(data), data.count(b"\n"), data))
    return findings, plain and not do.missed


def told(value: Any) -> Any:
    """Findings as plain values."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    return {one.name: told(getattr(value, one.name)) for one in fields(value)} if hasattr(value, "lines") else value


def compared(findings: Findings) -> list[Any]:
    some = findings.compared
    return [some.numbers.tolist(), some.ranks.tolist(), some.signatures.tolist()]


def same(data: bytes, parser: Parser, layout: Layout, line: int = 1) -> bool:
    """Whether columns were used; they must not make a difference."""
    try:
        by_rows, _no = found(data, parser, layout, line, plain=False)
    except UnicodeError:
        with pytest.raises(UnicodeError):
            found(data, parser, layout, line)
        return False
    by_columns, used = found(data, parser, layout, line)
    for one in fields(Findings):
        if one.name != "compared":
            assert told(getattr(by_columns, one.name)) == told(getattr(by_rows, one.name)), one.name
    assert compared(by_columns) == compared(by_rows)
    return used


def lines_of(talks: list[list[tuple[str, str]]], names: tuple[str, str], ascii_only: bool = False) -> list[str]:
    rows = [
        {"id": number, "messages": [dict(zip(names, turn, strict=True)) for turn in turns]}
        for number, turns in enumerate(talks)
    ]
    return [json.dumps(row, ensure_ascii=ascii_only) for row in rows]


def talking(form: str) -> Layout:
    return Layout(form, "sft", {"turns": "messages"})


@given(st.lists(TALKS, min_size=1, max_size=30), st.booleans(), st.sampled_from(["\n", "\r\n"]), st.booleans())
@settings(max_examples=60, derandomize=True, deadline=None)
def test_conversations(talks, ascii_only, end, sharegpt):
    names, form = (("from", "value"), "sharegpt") if sharegpt else (("role", "content"), "messages")
    lines = lines_of([[("user", "a"), ("assistant", "b")], *talks], names, ascii_only)
    assert same("".join(line + end for line in lines).encode(), Lines(), talking(form), 7)


@pytest.mark.parametrize("strange", STRANGE)
def test_lines_that_another_reader_reads_otherwise(strange):
    plain = lines_of([[("user", "a"), ("assistant", "b")]] * 3, ("role", "content"))
    for place in (0, 1, 3):
        lines = [*plain[:place], strange, *plain[place:]]
        assert not same("".join(f"{line}\n" for line in lines).encode(), Lines(), talking("messages"))


@pytest.mark.parametrize("bad", [b"\xff", b"\xed\xa0\x80", b"\xc0\xaf"])
def test_bytes_that_are_no_text(bad):
    lines = "".join(f"{line}\n" for line in lines_of([[("user", "aXb"), ("assistant", "b")]] * 3, ("role", "content")))
    assert not same(lines.encode().replace(b"X", bad), Lines(), talking("messages"))
    named = lines.replace('"id": ', '"id": "X').replace(', "mess', '", "mess').encode()
    assert same(named, Lines(), talking("messages"))
    assert not same(named.replace(b"X", bad), Lines(), talking("messages"))


@given(st.lists(st.tuples(SAID, SAID), min_size=1, max_size=60))
@settings(max_examples=40, derandomize=True, deadline=None)
def test_pairs(pairs):
    text = io.StringIO()
    table = csv.writer(text)
    table.writerows([number, *(part.replace("\0", "") for part in pair)] for number, pair in enumerate(pairs))
    table.writerow(["", "", " "])
    table.writerow(["编号", "问题", "答案"])  # the headers once more
    table.writerow([1, "a", "b"])
    layout = Layout("question_answer", "sft", {"question": "问题", "answer": "答案"})
    assert same(text.getvalue().encode(), Cells(",", ("编号", "问题", "答案"), frozenset({1})), layout, 2)


@given(st.text(alphabet='ab",\n\r é', max_size=60), st.sampled_from([",", "\t", "a"]))
@settings(max_examples=400, derandomize=True, deadline=None)
def test_cells_are_cut_as_a_reader_of_rows_reads_them(text, delimiter):
    data = f"{text}\n".encode()
    found = cut(np.frombuffer(data, dtype=np.uint8), ord(delimiter))
    if found is None:
        return
    cells = [
        b"".join(data[found.begins[one] : found.ends[one]] for one in range(piece, piece + count)).decode()
        for piece, count in zip(found.piece, found.counts, strict=True)
    ]
    assert found.sizes.tolist() == [len(cell.encode()) for cell in cells]
    rows, clean = rows_of(data.decode(), delimiter, 7)
    ours = [
        (7 + line, cells[first : first + width])
        for line, first, width in zip(found.lines, found.first, found.widths, strict=True)
    ]
    # A line without anything is a row without cells, or with one that is empty.
    assert clean and ours == [(line, row or [""]) for line, row in rows]
    assert b"".join(data[a:b] for a, b in zip(found.rows, found.rows[1:], strict=False)) == data


@pytest.mark.parametrize("text", ["a,b\n", '"a","b"\n', 'a 5" screen,b\n"x, ""y""",""\r\n', '"a\nb",\n', "a\n\n,\n"])
def test_plain_cells_are_cut_and_marks_within_texts_are_no_reason_not_to(text):
    assert cut(np.frombuffer(text.encode(), dtype=np.uint8), ord(",")) is not None


def test_one_turn_in_a_block_is_left_to_the_reader_of_rows():
    line = json.dumps({"messages": [{"role": "user", "content": "a"}]})
    assert not same(f"{line}\n".encode(), Lines(), talking("messages"))


def test_what_was_seen_before_is_known_exactly():
    chance, seen, known = np.random.default_rng(1), Seen(), set()
    for number in range(300):
        some = chance.integers(0, 3000 if number % 2 else 2**64, chance.integers(0, 40), dtype=np.uint64)
        some <<= np.uint64(52 * (number % 2))
        expected = []
        for one in some.tolist():
            expected.append(one in known)
            known.add(one)
        assert seen.again(some).tolist() == expected
