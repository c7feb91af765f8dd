"""The plainest of large JSON lines, with a conversation in each row, by columns instead of by rows (see `pairs.py`).

Arrow's reader forgives and refuses other things than ours: its answer is taken only where each line is surely one
object (`_one_a_line`), all of its text is UTF-8 and no number is one that JSON does not have. A row that is more than
user and assistant taking turns is handed on as it stands in the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.data import words
from appliance.data.blocks import Block
from appliance.data.columns import Columns, Ends, is_text, joined, numbers, placed
from appliance.data.formats import Recogniser
from appliance.data.parse import Lines
from appliance.data.rows import Row, Unusable
from appliance.data.search import Octets, Places, any_of
from appliance.data.texts import ROLE, Texts, continued

_NAMES = {"messages": ("role", "content"), "sharegpt": ("from", "value")}  # of a turn's speaker and text
_USUAL = ("user", "human", "assistant", "gpt", "system")
_KINDS = ("user", "assistant", "system", "")
_KIND_OF = np.array([_KINDS.index(words.ROLES[name]) for name in _USUAL] + [3])
_SYSTEM, _UNKNOWN = 2, len(_USUAL)
_DEEPEST = 5000  # brackets in a line: arrow's reader goes down as many levels, and its stack ends (beyond 10,000)
_MARKS = (b"<tool_call>", b"<functioncall>", b"<function_call>", b"<img>")  # of what is more than text


@cache
def _arrow() -> tuple[Any, Any, Any, Any]:
    """Arrow's usual speakers, and what stands before and behind a turn in a flat text (`texts.flat`)."""
    import pyarrow

    return (
        pyarrow.array(_USUAL),
        pyarrow.array([f"{kind}\x1e" for kind in _KINDS]),
        pyarrow.array(["\x1e", "\x1e\x1d"]),
        pyarrow.scalar(""),
    )


@dataclass
class _Turns:
    """The turns of many rows, one behind the other. `starts`: of each row's first, and the last's end."""

    starts: Places
    kinds: Places  # of the speakers, in _KINDS
    contents: Any  # arrow strings

    @classmethod
    def of(cls, talks: Any, names: tuple[str, str]) -> _Turns | None:
        """Of an arrow array of lists; None where a row, a turn or a part of it is missing."""
        import pyarrow.compute as compute

        turns = talks.flatten()
        roles, contents = (turns.field(name) for name in names)
        if talks.null_count or turns.null_count or roles.null_count or contents.null_count or len(turns) < 2:
            return None
        starts = numbers(talks.offsets)
        found = compute.index_in(roles, value_set=_arrow()[0]).fill_null(_UNKNOWN)
        return cls(starts - starts[0], _KIND_OF[numbers(found)], contents)

    @property
    def led(self) -> NDArray[np.bool_]:
        """Rows that begin with a system message."""
        first = np.minimum(self.starts[:-1], len(self.kinds) - 1)
        led: NDArray[np.bool_] = (self.kinds[first] == _SYSTEM) & (np.diff(self.starts) > 0)
        return led

    def odd(self) -> NDArray[np.bool_]:
        """Rows of which `turns.plain_talk` would perhaps make nothing."""
        import pyarrow.compute as compute

        counts, led, ends = np.diff(self.starts), self.led, Ends.of_array(self.contents)
        owner = np.repeat(np.arange(len(counts)), counts)
        place = np.arange(len(owner)) - (self.starts[:-1] + led)[owner]
        wrong = ends.perhaps_blank | ((place >= 0) & (self.kinds != place & 1))
        data = self.contents.buffers()[2]
        if data is not None and len(any_of(np.frombuffer(data, dtype=np.uint8), _MARKS)):
            wrong |= _true(compute.match_substring_regex(self.contents, "<(tool_call|functioncall|function_call|img)>"))
        if led.any():
            wrong |= (place < 0) & _true(compute.match_substring(self.contents, "[{"))  # these may be tools
        odd: NDArray[np.bool_] = np.zeros(len(counts), dtype=bool)
        odd[owner[wrong]] = True
        said = counts - led
        odd |= (said < 2) | (said % 2 == 1)
        last = np.maximum(self.starts[1:] - 1, 1)
        return odd | ends.at(last).perhaps_same(ends.at(last - 1))

    def texts(self) -> Texts:
        """The rows' flat texts."""
        import pyarrow.compute as compute

        _usual, before, behind, nothing = _arrow()
        ending = np.zeros(len(self.kinds), dtype=np.int64)
        ending[self.starts[1:] - 1] = 1
        whole, spans = joined(before.take(placed(self.kinds)), self.contents, behind.take(placed(ending)), nothing)
        octets = np.concatenate([[0], np.cumsum(numbers(compute.binary_length(self.contents)))])
        starts, kinds = self.starts, self.kinds
        sizes = octets[starts[1:]] - octets[starts[:-1]]

        def written(number: int) -> str:
            said = [turn for turn in range(starts[number], starts[number + 1]) if kinds[turn] != _SYSTEM]
            return "\n".join(
                whole[spans[turn] + len(_KINDS[kinds[turn]]) + 1 : spans[turn + 1] - 1 - ending[turn]].decode()
                for turn in said
            )

        return Texts(
            whole,
            spans[starts],
            spans[starts[:-1] + self.led] + ROLE,
            sizes - continued(whole, spans[starts]),
            sizes,
            written,
        )

    def row(self, number: int) -> Row:
        """One row in the internal form."""
        turns = range(self.starts[number], self.starts[number + 1])
        return {
            "messages": [{"role": _KINDS[self.kinds[turn]], "content": self.contents[turn].as_py()} for turn in turns]
        }


def talks_of(data: bytes, block: Block, recogniser: Recogniser) -> Columns | None:
    """A block's rows; None where it has to be read row by row. Raises UnicodeError for damaged text."""
    main = recogniser.main
    names = _NAMES.get(main.format)
    if main.talk is None or names is None or main.guessed or recogniser.restates:
        return None
    octets = np.frombuffer(data, dtype=np.uint8)
    ends = np.flatnonzero(octets == 10)
    if not _one_a_line(octets, ends) or not is_text(data):
        return None
    table = _parsed(data, main.talk, names)
    if table is None or table.num_rows != len(ends) or not _alike(table, recogniser):
        return None
    talks = table.column(main.talk).combine_chunks()
    turns = _Turns.of(talks, names)
    if turns is None:
        return None
    odd = turns.odd()
    plain, strange = np.flatnonzero(~odd), np.flatnonzero(odd)
    if not len(plain):
        return None
    rest: tuple[list[int], list[Any]] = [], []
    begins = np.concatenate([[0], ends[:-1] + 1])
    for number in strange.tolist():
        lines, values = Lines()(data[begins[number] : ends[number]], Block(block.line + number, 0, 0, 0, None))
        rest[0].extend(lines)
        rest[1].extend(values)
    if len(strange):
        turns = _Turns.of(talks.take(plain), names)
        assert turns is not None
    return Columns(block.line + plain, turns.texts(), turns.row, main.format, rest)


def _one_a_line(octets: Octets, ends: Places) -> bool:
    """Whether each line holds one object or several, whole: nowhere inside of one does "}" stand right before "{"."""
    if not len(ends) or ends[-1] != len(octets) - 1 or ends[0] == 0 or octets[0] != ord("{"):
        return False
    last = ends - 1 - (octets[ends - 1] == 13)  # the byte before LF or CR LF
    if (octets[last] != ord("}")).any() or (octets[ends[:-1] + 1] != ord("{")).any():
        return False
    if np.diff(ends, prepend=-1).max() <= _DEEPEST:
        return True
    brackets = np.flatnonzero((octets | 0x20) == ord("{"))  # "[" too
    return bool(np.diff(np.searchsorted(brackets, ends), prepend=0).max() <= _DEEPEST)


def _parsed(data: bytes, talk: str, names: tuple[str, str]) -> Any:
    """The block as an arrow table; None where it can't be one, or turns say more than who speaks what."""
    import pyarrow
    import pyarrow.json

    turn = pyarrow.struct([(name, pyarrow.string()) for name in names])
    wanted = pyarrow.schema([(talk, pyarrow.list_(turn))])
    try:
        table = pyarrow.json.read_json(
            pyarrow.BufferReader(data),
            pyarrow.json.ReadOptions(use_threads=False, block_size=len(data)),
            pyarrow.json.ParseOptions(explicit_schema=wanted),
        )
    except (pyarrow.ArrowException, ValueError):
        return None
    return table if table.schema.field(talk).type == wanted.field(talk).type else None


def _alike(table: Any, recogniser: Recogniser) -> bool:
    """Whether all rows are read as the file's main layout says, whichever of the columns they have."""
    main = recogniser.main
    others = [name for name in table.column_names if name != main.talk]
    if words.match(others) or not all(_numbers_are_json(table.column(name).combine_chunks()) for name in others):
        return False
    turn = dict.fromkeys(_NAMES[main.format], "")
    try:
        own = recogniser.layout({str(main.talk): [turn], **dict.fromkeys(others)})
    except Unusable:
        return False
    return (own.format, own.task, own.talk) == (main.format, "sft", main.talk)


def _numbers_are_json(array: Any) -> bool:
    """Arrow reads `Inf` and `-NaN` too."""
    import pyarrow
    import pyarrow.compute as compute

    kind = array.type
    if pyarrow.types.is_floating(kind):
        return bool(compute.all(compute.is_finite(array)).as_py() is not False)
    if pyarrow.types.is_list(kind):
        return _numbers_are_json(array.flatten())
    if pyarrow.types.is_struct(kind):
        return all(map(_numbers_are_json, array.flatten()))
    return True


def _true(array: Any) -> NDArray[np.bool_]:
    """An arrow array of booleans without gaps."""
    bits = np.frombuffer(array.buffers()[1], dtype=np.uint8)
    return np.unpackbits(bits, count=array.offset + len(array), bitorder="little")[array.offset :].astype(bool)
