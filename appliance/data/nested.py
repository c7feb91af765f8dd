"""Reading comprehension as SQuAD nests it (documents, paragraphs, questions): a row for each question."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from appliance.data.tables import Record

_PARAGRAPH = ("context", "context_text", "passage", "document")
_ASKED = ("question", "query_text", "query")


def unfolded(record: Record) -> Iterator[Record]:
    """A row for each question in a document or a paragraph; any other row as it is."""
    value = record.value
    if isinstance(value, dict) and _are_objects(value.get("paragraphs")):
        paragraphs = value["paragraphs"]
        if any(_are_objects(one.get("qas")) for one in paragraphs):
            title = {"title": value["title"]} if "title" in value else {}
            for paragraph in paragraphs:
                yield from _questions(record.line, {**title, **paragraph})
            return
    if isinstance(value, dict) and _are_objects(value.get("qas")) and any(name in value for name in _PARAGRAPH):
        yield from _questions(record.line, value)
        return
    yield record


def folded(value: Any) -> bool:
    """Whether a raw row is a document or a paragraph with questions below it."""
    if not isinstance(value, dict):
        return False
    below = value["paragraphs"] if _are_objects(value.get("paragraphs")) else [value]
    return any(_are_objects(one.get("qas")) and any(name in one for name in _PARAGRAPH) for one in below)


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def _questions(line: int, paragraph: dict[str, Any]) -> Iterator[Record]:
    read = next((paragraph[name] for name in _PARAGRAPH if name in paragraph), "")
    beside = {"title": paragraph["title"]} if "title" in paragraph else {}
    for one in paragraph.get("qas") or ():
        if not isinstance(one, dict):
            yield Record(line, one)
            continue
        asked = next((one[name] for name in _ASKED if name in one), "")
        answers = one.get("answers", one.get("answer"))
        yield Record(line, {**beside, "context": read, "question": asked, "answers": answers})
