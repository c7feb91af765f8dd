"""Files into raw records, each with the line where it stands. What a file is, is found out here.

A file is taken for what it holds, not for what its name says: JSON lines in a `.json`, a spreadsheet named `.csv` and a
table of text named `.xls` are all read. Every kind is read as it comes, in memory that does not grow with the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from appliance.data import books, chats, documents, encodings, limited, markdown, pictures, tables
from appliance.data.blocks import Block, Text, in_order, open_bytes, readable
from appliance.data.images import Images
from appliance.data.notes import Note
from appliance.data.parse import Cells, Lines, Parsed, Parser, loads, rows_of
from appliance.data.tables import Record
from appliance.errors import ApplianceError, UsageError
from appliance.locale import _

KINDS = ("json", "jsonl", "csv", "tsv", "xlsx", "xls", "parquet", "txt", "md", "zip")
_TABLES = {".csv", ".tsv", ".tab", ".xls", ".xlsx", ".xlsm", ".xlsb", ".ods"}
_TEXTS = {".txt", ".md", ".markdown", ".text"}
_PAGES = ("<html", "<!doctype", "<table", "<meta", "<head", "<body", "<?xml")
_HEAD_BYTES = 256 * 1024
_PIECE = 2000  # characters of plain text in a row: about a thousand tokens, so that rows are neither lines nor books


@dataclass
class Source:
    """An open file's kind, its encoding (None where it is no text) and its records, which can be read more than once.

    Text of which blocks can be read by themselves has a `text` and a `parser`; `records` reads them all.
    """

    kind: str  # json | jsonl | table | parquet | text | captions
    encoding: str | None
    records: Callable[[], Iterator[Record]]
    columns: list[str] = field(default_factory=list)  # of a table
    notes: list[Note] = field(default_factory=list)
    sheet: str | None = None
    sheets: list[str] = field(default_factory=list)  # those with rows
    likely: list[str] = field(default_factory=list)  # those of them that could be meant
    headers: bool = True  # whether a table has them
    text: Text | None = None
    parser: Parser | None = None
    images: Images | None = None  # where the images are that rows name; None: beside the file
    speakers: Sequence[str] = ()  # in a saved chat
    answering: str = ""  # who of them answers, where that is known
    inside: pictures.Inside | None = None  # the folder or zip that it came in


def open_source(
    file: Path, sheet: str | None = None, mapping: Mapping[str, str] | None = None, quick: bool = False
) -> Source:
    """Find out what a file is and how to read it. `mapping` helps to find the row with the headers.

    `quick`: a file that begins as UTF-8 is taken for it; whoever reads it gets a UnicodeError where that was wrong.

    Raises ApplianceError when it is missing, empty, or nothing that we read.
    """
    if file.is_dir() or pictures.is_archive(file):
        return _inside(pictures.look_inside(file), sheet, mapping, quick)
    head = _head(file)
    suffix = Path(file.name.lower().removesuffix(".gz")).suffix
    if head.startswith(b"PAR1"):
        return Source("parquet", None, lambda: (Record(*value) for _line, value in limited.rows(file)))
    if head.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        table = books.spreadsheet(file, sheet, mapping or {})
        return Source(
            "table",
            None,
            table.records,
            table.columns,
            table.notes,
            table.sheet,
            table.sheets,
            table.likely,
            table.known,
        )
    if sheet is not None:
        raise UsageError(
            _("{name} has no sheets.").format(name=file.name),
            _("Only spreadsheets (xlsx, xls) have them."),
            _("Leave out --sheet."),
        )
    encoding, notes = encodings.detect(file, head, lambda: open_bytes(file), quick)
    text = Text(file, encoding, bool(notes))
    with readable(file), text.opened() as opened:
        start = opened.read(_HEAD_BYTES)
    if not start.strip("\ufeff \t\r\n"):
        raise _empty(file)
    if "\r" in start and "\n" not in start:
        text = Text(file, encoding, bool(notes), old_ends=True)
        start = start.replace("\r", "\n")
    start = start.lstrip("\ufeff")
    if suffix in (*_TABLES, ".html", ".htm") and start.lstrip()[:9].lower().startswith(_PAGES):
        raise ApplianceError(
            _("{name} is no table but a page as web browsers show it.").format(name=file.name),
            _("Some programs save such pages under the name of a spreadsheet."),
            _("Open it in Excel or WPS and save it as .xlsx."),
        )
    kind = _kind(start, suffix)
    if kind == "jsonl":
        return _parsed(kind, text, Lines(), notes)
    if kind == "table":
        mark = tables.delimiter(start) or ("\t" if suffix in (".tsv", ".tab") else ",")
        top = tables.head(rows_of(start, mark, 1)[0], mapping or {})
        parser = Cells(mark, tuple(top.columns), top.skipped)
        return _parsed(kind, text, parser, notes + top.notes, top)
    if kind == "json":
        return Source(kind, encoding, lambda: documents.records(text), notes=notes)
    if kind == "text":
        return _written(text, start, (mapping or {}).get("assistant"), notes)
    raise ApplianceError(
        _("{name} is not a data file that can be read.").format(name=file.name),
        _("Neither its name nor its beginning shows what it is."),
        _("Save it as one of: {kinds}.").format(kinds=", ".join(KINDS)),
    )


def _inside(inside: pictures.Inside, sheet: str | None, mapping: Mapping[str, str] | None, quick: bool) -> Source:
    """A folder or a zip: the file with the rows, which knows where its images are."""
    if inside.data is None:
        return Source("captions", None, lambda: pictures.caption_rows(inside), images=inside.images)
    source = open_source(inside.data, sheet, mapping, quick)
    return replace(source, images=inside.images, inside=inside)


def _written(text: Text, start: str, assistant: str | None, notes: list[Note]) -> Source:
    """Plain text; or a chat that somebody saved, or questions with their answers below them."""
    saved = chats.saved(start)
    if saved is None and (markdown.is_table(start) or markdown.asks(start)):
        rows = markdown.rows if markdown.is_table(start) else markdown.answers
        return Source("jsonl", text.encoding, lambda: rows(_text_lines(text)), notes=notes)
    if saved is None:
        return Source("text", text.encoding, lambda: _pieces(text), notes=notes)
    if not saved.names:
        return Source("jsonl", text.encoding, lambda: chats.pairs(_text_lines(text)), notes=notes)
    answering = saved.answering(assistant)
    if not answering:
        return Source("text", text.encoding, lambda: _pieces(text), notes=notes, speakers=saved.names)
    sentence = _("A saved chat: {names} answers; after {n} minutes of silence a new conversation begins.")
    note = Note("saved_chat", sentence.format(names=", ".join(answering), n=chats.SILENCE))
    return Source(
        "jsonl",
        text.encoding,
        lambda: chats.conversations(_text_lines(text), saved, answering),
        notes=[*notes, note],
        speakers=saved.names,
        answering=", ".join(answering),
    )


def _parsed(kind: str, text: Text, parser: Parser, notes: list[Note], head: tables.Head | None = None) -> Source:
    def parse(block: Block) -> Parsed | None:
        return parser(text.read(block), block)

    def records() -> Iterator[Record]:
        for lines, values in in_order(text, text.blocks(parser.quoted), parse, None):
            yield from map(Record, lines, values)

    columns = head.columns if head else []
    return Source(
        kind, text.encoding, records, columns, notes, text=text, parser=parser, headers=head is None or head.known
    )


def _empty(file: Path) -> ApplianceError:
    return ApplianceError(
        _("{name} is empty.").format(name=file.name),
        _("There is nothing in it to train on."),
        _("Choose a file with questions and answers, or save the spreadsheet again."),
    )


def _head(file: Path) -> bytes:
    if not file.exists():
        raise ApplianceError(
            _("{name} is not there.").format(name=str(file)),
            _("No file of this name was found."),
            _("Check the spelling and that the disk or volume is mounted."),
        )
    with readable(file), open_bytes(file) as opened:
        head = opened.read(_HEAD_BYTES)
    if not head:
        raise _empty(file)
    return head


def _kind(start: str, suffix: str) -> str:
    """json | jsonl | table | text, or "" when nobody can tell."""
    stripped = start.lstrip()
    first, _newline, rest = stripped.partition("\n")
    alone = _parses(first)
    if stripped[:1] in ("{", "[") and suffix not in (".csv", ".tsv"):
        if alone and rest.strip()[:1] in ("{", "["):
            return "jsonl"
        if suffix in (".jsonl", ".ndjson"):
            return "json" if stripped[0] == "[" or first.strip() == "{" else "jsonl"
        if suffix not in _TEXTS or _json_like(stripped):
            return "json"
    if suffix in (".jsonl", ".ndjson"):
        return "jsonl"
    if suffix == ".json":
        return "json"
    if suffix in _TEXTS:
        return "table" if suffix == ".txt" and (tables.tabbed(start) or tables.headed(start)) else "text"
    if suffix in _TABLES or tables.delimiter(start):
        return "table"
    return ""


def _json_like(start: str) -> bool:
    return start[1:].lstrip()[:1] == ('"' if start[0] == "{" else "{")


def _parses(line: str) -> bool:
    try:
        loads(line.encode(errors="replace"))
    except (ValueError, RecursionError):
        return False
    return True


def _pieces(text: Text) -> Iterator[Record]:
    """Plain text in rows of about `_PIECE` characters, cut at a blank line, a line's end or a sentence's."""
    gathered: list[str] = []
    length = begin = 0
    for number, line in _text_lines(text):
        blank = not line.strip()
        if gathered and (length >= 2 * _PIECE or (blank and length >= _PIECE)):
            yield Record(begin, {"text": "".join(gathered).strip()})
            gathered, length = [], 0
        while len(line) > 2 * _PIECE:
            cut = max(line.rfind(mark, _PIECE, 2 * _PIECE) for mark in "。！？.!?；; ") + 1 or 2 * _PIECE
            yield Record(number, {"text": ("".join(gathered) + line[:cut]).strip()})
            gathered, length, line = [], 0, line[cut:]
        if gathered or not blank:
            begin = begin if gathered else number
            gathered.append(line)
            length += len(line)
    if rest := "".join(gathered).strip():
        yield Record(begin, {"text": rest})


def _text_lines(text: Text) -> Iterator[tuple[int, str]]:
    """(number, line with one line end) of a text; what is longer than a few rows comes in parts."""
    number, begun = 1, False
    with readable(text.file), text.opened() as opened:
        while line := opened.readline(50 * _PIECE):
            ended = line.endswith(("\n", "\r"))
            yield number, (line.rstrip("\r\n") + "\n" if ended else line).lstrip("" if begun else "\ufeff")
            number, begun = number + ended, True
