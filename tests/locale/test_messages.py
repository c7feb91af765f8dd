"""Every sentence that a person sees comes from the catalogues, and every one has its Chinese."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.pofile import read_po

import appliance

ROOT = Path(appliance.__file__).parent
CATALOGUE = ROOT / "locale" / "zh_CN" / "LC_MESSAGES" / "messages.po"

SHOWS = (
    *sorted((ROOT / "menu").glob("*.py")),
    *(
        ROOT / name
        for name in (
            "questions.py",
            "attend.py",
            "show.py",
            "show_data.py",
            "cli_data.py",
            "cli_words.py",
            "demo.py",
            "cli.py",
            "jobs/watch.py",
        )
    ),
)
# What says and asks: how many of its arguments a person reads (None: all of them).
_SPEAKERS: dict[str, dict[str, int | None]] = {
    "output": {"say": 1, "note": 1, "warn": 1, "good": 1, "pairs": None, "table": None, "waiting": 1},
    "questions": {"choose": 2, "yes": 1, "text": 2, "path": 1, "wait_for_enter": 1},
}
# Names, which are the same in every language.
_NAMES = {
    "LoRA", "QLoRA", "ModelScope", "Hugging Face", "vllm", "transformers", "auto",
    "语言 / Language: ", "语言 / Language",
}  # fmt: skip
_WORDS_TO_TYPE = re.compile(r"[\w-]+( \| [\w-]+)+")


def sentences() -> list[str]:
    keywords = {**DEFAULT_KEYWORDS, "marked": None}
    found = extract_from_dir(str(ROOT), method_map=[("**.py", "python")], keywords=keywords)
    return sorted({message for _file, _line, message, _comments, _context in found if isinstance(message, str)})


def fields(text: str) -> list[tuple[str, str | None, str | None]]:
    """The {fields} in a sentence with their formats."""
    return sorted((name, spec, kind) for _text, name, spec, kind in string.Formatter().parse(text) if name is not None)


def test_every_sentence_has_its_chinese() -> None:
    with CATALOGUE.open("rb") as file:
        catalogue = read_po(file, locale="zh_CN")
    wrong = {}
    for sentence in sentences():
        message = catalogue.get(sentence)
        if message is None or not message.string:
            wrong[sentence] = "no Chinese"
        elif message.fuzzy:
            wrong[sentence] = "fuzzy"
        elif fields(str(message.string)) != fields(sentence):
            wrong[sentence] = f"other fields: {message.string}"
    assert not wrong


def test_extraction_finds_what_the_code_says() -> None:
    """Before Python 3.12 it does not look into f-strings."""
    said = {
        str(node.args[0].value)
        for file in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("_", "marked")
        if node.args and isinstance(node.args[0], ast.Constant)
    }
    assert len(said) > 1000 and said <= set(sentences()), said - set(sentences())


def _literals(node: ast.AST, choices: bool = False) -> Iterator[str]:
    """The literal texts that a person would see in this expression. `choices`: of (text, value) only the text."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            yield node.value
    elif isinstance(node, ast.JoinedStr):
        for part in node.values:
            yield from _literals(part)
    elif isinstance(node, ast.FormattedValue):
        yield from _literals(node.value)
    elif isinstance(node, ast.Call):
        # "{a}: {b}".format() and ", ".join() show their own literal; other calls answer something of their own.
        if isinstance(node.func, ast.Attribute):
            if isinstance(node.func.value, ast.Constant | ast.Call):
                yield from _literals(node.func.value)
            if node.func.attr == "join":
                for argument in node.args:
                    yield from _literals(argument)
    elif isinstance(node, ast.Tuple) and choices:
        yield from _literals(node.elts[0])
    elif isinstance(node, ast.Tuple | ast.List):
        for element in node.elts:
            yield from _literals(element, choices)
    elif isinstance(node, ast.BoolOp | ast.BinOp | ast.IfExp | ast.Starred | ast.ListComp | ast.GeneratorExp):
        parts = {
            ast.BoolOp: ("values",),
            ast.BinOp: ("left", "right"),
            ast.IfExp: ("body", "orelse"),
            ast.Starred: ("value",),
            ast.ListComp: ("elt",),
            ast.GeneratorExp: ("elt",),
        }[type(node)]
        for name in parts:
            value = getattr(node, name)
            for part in value if isinstance(value, list) else [value]:
                yield from _literals(part, choices)


def _outside(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id == "_":
            if not isinstance(node.args[0], ast.Constant):
                yield node.lineno, "_() of something that is not a literal"
            continue
        for keyword in node.keywords:
            if keyword.arg == "help":
                texts = _literals(keyword.value)
                yield from ((node.lineno, text) for text in texts if not _WORDS_TO_TYPE.fullmatch(text))
        if not (isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name)):
            continue
        speaker = _SPEAKERS.get(node.func.value.id, {})
        if node.func.attr not in speaker:
            continue
        for argument in node.args[: speaker[node.func.attr]]:
            texts = _literals(argument, choices=node.func.value.id == "questions")
            yield from ((node.lineno, text) for text in texts if text not in _NAMES)


@pytest.mark.parametrize("path", SHOWS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_is_said_outside_the_catalogues(path: Path) -> None:
    found = [(line, text) for line, text in _outside(path) if re.search(r"[^\W\d_]{2}", text)]
    assert not found


def test_a_sentence_outside_would_be_found(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text(
        "output.say('Good morning')\n"
        "output.note(f'Good {name}')\n"
        "output.pairs([(_('a'), 'Good night')])\n"
        "questions.choose(_('b'), [('Good day', 'key'), (_('c'), 'key')])\n"
        "typer.Option(help='Good for nothing')\n"
        "output.warn(_('fine').format(a='key') + (' indeed' if x else '!'))\n"
        "output.good(_(name))\n"
    )
    assert [line for line, text in _outside(bad) if re.search(r"[^\W\d_]{2}", text)] == [1, 2, 3, 4, 5, 6, 7]
