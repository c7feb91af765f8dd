"""Markdown that holds rows: a table with its headers, or headings that ask and the text below them that answers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise

from appliance.data.tables import Record

_RULE = re.compile(r"\|?[ \t]*:?-{2,}:?[ \t]*(?:\|[ \t]*:?-{2,}:?[ \t]*)+\|?[ \t]*")
_HEADING = re.compile(r"(#{1,6})[ \t]+(.*)")
_ASKING = ("?", "？", "吗", "呢")
_LONGEST = 20_000  # characters of a line that may be a row

Lines = Iterable[tuple[int, str]]


def is_table(start: str) -> bool:
    """Whether most lines of a text belong to a table, with a rule below its headers."""
    lines = [line.strip() for line in start.split("\n") if line.strip()]
    ruled = any(_RULE.fullmatch(line[:_LONGEST]) and "|" in above for above, line in pairwise(lines))
    return ruled and sum("|" in line for line in lines) * 2 > len(lines)


def rows(lines: Lines) -> Iterator[Record]:
    """The rows of all tables of a text."""
    above: list[str] = []
    headers: list[str] = []
    for number, line in lines:
        bare = line.strip()
        cells = _cells(bare) if "|" in bare and len(bare) <= _LONGEST else []
        if cells and _RULE.fullmatch(bare):
            headers = above
        elif cells and headers:
            yield Record(number, dict(zip(headers, [*cells, *[""] * len(headers)], strict=False)))
        elif not cells:
            headers = []
        above = cells


def asks(start: str) -> bool:
    """Whether the headings of a text are questions, most of them and at least two."""
    found = [match[2].strip() for line in start.split("\n") if (match := _HEADING.match(line))]
    asking = len([one for one in found if one.endswith(_ASKING)])
    return asking > 1 and asking * 2 > len(found)


def answers(lines: Lines) -> Iterator[Record]:
    """A row for each heading with a text below it."""
    begin, question, answer = 0, "", ""
    fenced = False
    for number, line in lines:
        fenced = not fenced if line.startswith("```") else fenced
        match = _HEADING.match(line) if not fenced else None
        if match is None:
            answer += line if question else ""
            continue
        if question and answer.strip():
            yield Record(begin, {"question": question, "answer": answer.strip()})
        begin, question, answer = number, match[2].strip(), ""
    if question and answer.strip():
        yield Record(begin, {"question": question, "answer": answer.strip()})


def _cells(line: str) -> list[str]:
    inside = line.removeprefix("|").removesuffix("|")
    return [cell.replace("\\|", "|").replace("<br>", "\n").strip() for cell in re.split(r"(?<!\\)\|", inside)]
