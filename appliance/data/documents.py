"""A JSON document as records: the elements of an array, of the one list of rows in an object, or values in a row.

The text is read through a window that moves on element by element, so that an array of any length takes the memory of
its longest element, and each element has its line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO, Any

from appliance.data import words
from appliance.data.blocks import Text, readable
from appliance.data.nested import unfolded
from appliance.data.parse import decoder
from appliance.data.tables import Record
from appliance.errors import ApplianceError
from appliance.locale import _

# Keys of a row; an object that has one is a row itself, not a wrapper around a list of rows.
_ROW_WORDS = {
    "messages", "conversations", "conversation", "history", "tools", "chosen", "rejected", "prompt", "completion",
    "images", "instruction", "question", "query",
}  # fmt: skip
_WINDOW = 1 << 20  # characters
_LONGEST = 64 << 20  # characters of one element
_CUT = 16  # characters: an error this near to the window's end is the window's, not the file's


def records(text: Text) -> Iterator[Record]:
    """The rows of a JSON document. Raises ApplianceError with line and column where it is not valid."""
    with readable(text.file), text.opened() as opened:
        walk = _Walk(text.file.name, opened)
        walk.skip("\ufeff \t\r\n")
        first = walk.next()
        if first in ("[", "{"):
            for record in walk.array() if first == "[" else _objects(walk):
                yield from unfolded(record)
        else:
            walk.value()  # raises with the place, unless it is a bare word or number
            raise walk.broken(_("it is neither a list nor an object"), 0)


def _objects(walk: _Walk) -> Iterator[Record]:
    """A wrapper {"data": [row …]}, one row, or rows one after the other."""
    line = walk.line
    members: dict[str, Any] = {}
    rows = False
    walk.take(1)
    walk.skip()
    while walk.next() != "}":
        key = walk.value()
        walk.skip()
        if not isinstance(key, str) or walk.next() != ":":
            raise walk.broken(_("a name in double quotes and a colon are expected"), 0)
        walk.take(1)
        walk.skip()
        if walk.next() == "[" and not _ROW_WORDS & {*members, key} and walk.holds_objects():
            yield from walk.array()
            rows = True  # what stands beside them says something about them
        else:
            members[key] = walk.value()
        walk.skip()
        if walk.next() == ",":
            walk.take(1)
            walk.skip()
        elif walk.next() != "}":
            raise walk.broken(_("a comma or }} is missing").format(), 0)
    walk.take(1)
    if not rows:
        yield from (Record(line, value) for value in _turned(members))
    walk.skip()
    while walk.next():
        if walk.next() == ",":
            walk.take(1)
            walk.skip()
            continue
        line = walk.line
        yield Record(line, walk.value())
        walk.skip()


def _turned(members: dict[str, Any]) -> Iterator[Any]:
    """The rows in an object: itself; or by number, {"0": row …}; or by column, as pandas writes a table; or those in
    a list further in, {"code": 0, "data": {"list": [row …]}}; or questions with their answers, {"Why?": "Because."}.
    """
    values = list(members.values())
    alike = all(isinstance(value, dict) and len(value) == len(values[0]) for value in values)
    if len(values) > 1 and alike and sum(words.is_known(key) for key in members) > 1:
        yield from (dict(zip(members, row, strict=True)) for row in zip(*(v.values() for v in values), strict=True))
    elif len(values) > 1 and all(isinstance(value, dict) and value.keys() & values[0].keys() for value in values):
        yield from values
    elif (rows := _split(members)) is not None or (rows := _further_in(members)) is not None:
        yield from rows
    elif _asking(members):
        yield from ({"question": key, "answer": value} for key, value in members.items())
    elif len(values) > 1 and all(isinstance(value, list) and len(value) == len(values[0]) for value in values):
        if not any(isinstance(one, (dict, list)) for value in values for one in value):
            yield from (dict(zip(members, row, strict=True)) for row in zip(*values, strict=True))
        else:
            yield members
    else:
        yield members


def _split(members: dict[str, Any]) -> list[Any] | None:
    """The rows of a table as pandas splits it: names of columns, and lists of cells."""
    names, rows = members.get("columns"), members.get("data")
    if not isinstance(names, list) or not isinstance(rows, list) or not all(isinstance(one, str) for one in names):
        return None
    whole = all(isinstance(row, list) and len(row) == len(names) for row in rows)
    return [dict(zip(names, row, strict=True)) for row in rows] if whole and rows else None


def _further_in(members: dict[str, Any], depth: int = 3) -> list[Any] | None:
    """The longest list of objects in an object that is no row itself, however few levels down."""
    talks: list[Any] | None = next((value for value in members.values() if _are_talks(value)), None)
    if talks is not None:
        return talks
    if _ROW_WORDS & members.keys() or any(words.plain(key) in words.FIELDS["turns"] for key in members):
        return None
    found: list[list[Any]] = []
    for value in members.values():
        if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            found.append(value)
        elif isinstance(value, dict) and depth and (rows := _further_in(value, depth - 1)):
            found.append(rows)
    return max(found, key=len, default=None)


def _are_talks(value: Any) -> bool:
    """Whether a list holds conversations, with turns in each."""
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) and _talks(one) for one in value)


def _talks(row: dict[str, Any]) -> bool:
    return any(words.plain(key) in words.FIELDS["turns"] and isinstance(part, list) for key, part in row.items())


def _asking(members: dict[str, Any]) -> bool:
    """Whether an object's keys are questions, and what stands under them are answers."""
    asking = sum(key.strip().endswith(("?", "？", "吗", "呢", "么")) for key in members)
    return asking * 2 > len(members) > 1 and all(isinstance(value, str) for value in members.values())


class _Walk:
    """Steps through JSON text value by value."""

    def __init__(self, name: str, opened: IO[str]):
        self._name, self._opened = name, opened
        self._text, self._at, self._ended = "", 0, False
        self.line, self._column = 1, 1
        self._more()

    def _more(self) -> None:
        """Move the window on; a value that does not fit gets a larger one."""
        kept = self._text[self._at :]
        if len(kept) > _LONGEST:
            raise ApplianceError(
                _("{name} is not a list of rows.").format(name=self._name),
                _("The value at line {line} is longer than {size} MB.").format(line=self.line, size=_LONGEST >> 20),
                _("Save it as JSON lines (.jsonl): one object a line."),
            )
        part = self._opened.read(max(_WINDOW, len(kept)))
        self._ended = not part
        self._text, self._at = kept + part, 0

    def take(self, length: int) -> None:
        """Go on by so many characters of the window."""
        end = self._at + length
        lines = self._text.count("\n", self._at, end)
        self.line += lines
        self._column = end - self._text.rfind("\n", self._at, end) if lines else self._column + length
        self._at = end

    def skip(self, blanks: str = " \t\r\n") -> None:
        """Go on to what is no white space."""
        while True:
            text, end = self._text, self._at
            while end < len(text) and text[end] in blanks:
                end += 1
            self.take(end - self._at)
            if self._at < len(self._text) or self._ended:
                return
            self._more()

    def next(self) -> str:
        """The character here; "" at the end."""
        if self._at >= len(self._text) and not self._ended:
            self._more()
        return self._text[self._at : self._at + 1]

    def broken(self, why: str, ahead: int) -> ApplianceError:
        """The error that names line and column of a place so many characters ahead."""
        end = self._at + ahead
        lines = self._text.count("\n", self._at, end)
        column = end - self._text.rfind("\n", self._at, end) if lines else self._column + ahead
        near = self._text[max(0, end - 20) : end + 20].replace("\n", " ").strip()
        return ApplianceError(
            _("{name} is not valid JSON.").format(name=self._name),
            _("Line {line}, column {column}: {why}, near: {near}").format(
                line=self.line + lines, column=column, why=why, near=near
            ),
            _(
                "Correct this place and check again. "
                "Often it is a missing or surplus comma, a single quote, or a cut-off end."
            ),
        )

    def value(self) -> Any:
        """The value that begins here; the place is behind it afterwards."""
        while True:
            try:
                value, end = decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated string") or error.pos >= len(self._text) - _CUT
                if self._ended or not cut:
                    raise self.broken(error.msg, error.pos - self._at) from error
            except StopIteration as error:
                if self._ended:
                    raise self.broken(_("a value is missing"), int(error.value or self._at) - self._at) from error
            except RecursionError as error:
                raise self.broken(_("it is nested too deeply"), 0) from error
            except ValueError as error:  # a number of thousands of digits
                raise self.broken(str(error), 0) from error
            else:
                if end < len(self._text) or self._ended:  # a number may go on behind the window
                    self.take(end - self._at)
                    return value
            self._more()

    def array(self) -> Iterator[Record]:
        """The elements of the array that begins here."""
        self.take(1)
        self.skip()
        if self.next() == "]":
            self.take(1)
            return
        while True:
            line = self.line
            yield Record(line, self.value())
            self.skip()
            mark = self.next()
            if mark == "]":
                self.take(1)
                return
            if mark != ",":
                raise self.broken(_("a comma or ] is missing"), 0)
            self.take(1)
            self.skip()

    def holds_objects(self) -> bool:
        """Whether the array that begins here has an object first."""
        if len(self._text) - self._at < _WINDOW // 2 and not self._ended:
            self._more()
        return self._text[self._at + 1 : self._at + 1000].lstrip(" \t\r\n")[:1] == "{"
