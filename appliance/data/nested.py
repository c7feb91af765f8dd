"""Rows with several questions in each, a row for each question: reading comprehension as SQuAD nests it (documents,
paragraphs, questions), and intents with ways to say them and answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from appliance.data.tables import Record

_PARAGRAPH = ("context", "context_text", "passage", "document")
_ASKED = ("question", "query_text", "query")
_BELOW = ("qas", "questions")


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
    if isinstance(value, dict) and _below(value):
        yield from _questions(record.line, value)
    elif _is_intent(value):
        answers = value["responses"]
        for number, asked in enumerate(value["patterns"]):
            yield Record(record.line, {"question": asked, "answer": answers[number % len(answers)]})
    else:
        yield record


def folded(value: Any) -> bool:
    """Whether a raw row is a document or a paragraph with questions below it."""
    if not isinstance(value, dict):
        return False
    below = value["paragraphs"] if _are_objects(value.get("paragraphs")) else []
    return any(map(_below, [value, *below])) or _is_intent(value)


def _below(value: dict[str, Any]) -> list[Any]:
    """The questions below a text, or below several pieces of it (TAT-QA)."""
    found: list[Any] = next((value[name] for name in _BELOW if _are_objects(value.get(name))), [])
    read = any(name in value for name in _PARAGRAPH) or _are_objects(value.get("paragraphs"))
    return found if read and any(name in found[0] for name in _ASKED if found) else []


def _is_intent(value: Any) -> bool:
    """{"tag": "greeting", "patterns": ["Hi"], "responses": ["Hello!"]}, as chat bots have them."""
    if not isinstance(value, dict) or not {"patterns", "responses"} <= value.keys():
        return False
    lists = (value["patterns"], value["responses"])
    return all(isinstance(one, list) and one and all(isinstance(text, str) for text in one) for one in lists)


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def _questions(line: int, paragraph: dict[str, Any]) -> Iterator[Record]:
    read = next((paragraph[name] for name in _PARAGRAPH if name in paragraph), None)
    if read is None:
        pieces = [one.get("text") for one in paragraph.get("paragraphs") or () if isinstance(one, dict)]
        read = "\n".join(one for one in pieces if isinstance(one, str))
    beside = {"title": paragraph["title"]} if "title" in paragraph else {}
    for one in _below(paragraph):
        if not isinstance(one, dict):
            yield Record(line, one)
            continue
        asked = next((one[name] for name in _ASKED if name in one), "")
        answers = one.get("answers", one.get("answer"))
        yield Record(line, {**beside, "context": read, "question": asked, "answers": answers})
