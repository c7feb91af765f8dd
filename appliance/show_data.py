"""How a data file's report, its clean copy and its rows look to a person; used by the commands and the menu alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from appliance import output
from appliance.locale import _

if TYPE_CHECKING:
    from appliance.data import Report
    from appliance.data.catalogue import DataSet
    from appliance.data.clean import Cleaned
    from appliance.data.notes import Note
    from appliance.data.preview import Preview

_BAR = 30  # columns
_LINES = 5  # that are named
_PLAIN = ("alpaca", "sharegpt", "messages", "transcript", "prompt_completion", "query_response")
_NAMES = 10  # of columns


def report(found: Report) -> None:
    """`appliance data check`: the verdict, what it is, how long rows are, what is left out, what to look at."""
    from appliance.data import languages
    from appliance.data.private import KINDS

    output.say(found.verdict, "bold green" if not found.needs_consent else "bold yellow")
    rows = [
        (_("Format"), " · ".join(filter(None, [found.format_word, found.encoding, found.sheet]))),
        (_("Good for"), found.task_word),
        (_("Rows"), _("{rows}, of which {kept} are good").format(rows=found.rows, kept=found.kept)),
    ]
    if read := _read_as(found):
        rows.append((_("Read as"), read))
    if found.columns_unread:
        rows.append((_("Not read"), _some(found.columns_unread)))
    if found.languages:
        some = _("{languages} (of a sample)") if found.languages_sampled else "{languages}"
        rows.append((_("Languages"), some.format(languages=languages.sentence(found.languages))))
    lengths = found.as_dict()["lengths"]
    rows.append((_("Length"), _length(lengths)))
    output.pairs(rows)
    _plot(lengths["bars"])
    _notes(_("Left out"), found.dropped)
    _notes(_("Worth a look"), found.warnings)
    if any(note.key in KINDS for note in found.warnings):
        output.note(_("Mask what is private: appliance data clean FILE --mask (menu: Data, clean)"))


def _read_as(found: Report) -> str:
    """Which columns are what; nothing where the format says it."""
    if (found.format in _PLAIN or found.columns == {"text": "text"}) and not found.read_as:
        return ""
    words = {
        "question": _("question"), "answer": _("answer"), "input": _("material"), "system": _("system"),
        "history": _("earlier turns"), "thought": _("thoughts"), "turns": _("conversation"), "tools": _("tools"),
        "chosen": _("the better answer"), "rejected": _("the worse answer"), "label": _("good or bad"),
        "images": _("pictures"), "text": _("text"),
    }  # fmt: skip
    return found.read_as or " · ".join(f"{words[word]} = {column}" for word, column in found.columns.items())


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMES]) + ("…" if len(names) > _NAMES else "")


def _length(lengths: dict[str, Any]) -> str:
    sentence = _("half of the rows up to {median} tokens, 95 of 100 up to {p95}, the longest {longest}")
    sentence = sentence.format(median=lengths["median"], p95=lengths["p95"], longest=lengths["longest"])
    # Nobody should take a guess for a count.
    return _("{sentence}; a guess, rather too high").format(sentence=sentence) if lengths["rough"] else sentence


def _plot(bars: list[dict[str, int]]) -> None:
    from rich.cells import cell_len

    most = max((bar["rows"] for bar in bars), default=0)
    labels = [_("{least}–{most} tokens").format(least=bar["from"], most=bar["to"]) for bar in bars]
    width = max(map(cell_len, labels), default=0)
    for label, bar in zip(labels, bars, strict=True):
        size = max(1, round(_BAR * bar["rows"] / most)) if bar["rows"] else 0
        shown = "█" * size + " " * bool(size)
        # A Chinese character takes two cells, so the label is filled up by hand.
        output.say(f"  {' ' * (width - cell_len(label))}{label} {shown}{_rows(bar['rows'])}", "cyan")


def _rows(count: int) -> str:
    return _("{n} rows").format(n=count) if count != 1 else _("1 row")


def _notes(title: str, notes: Sequence[Note]) -> None:
    if not notes:
        return
    from rich.table import Table
    from rich.text import Text

    output.say(title, "bold")
    grid = Table.grid(padding=(0, 1))
    grid.add_column(style="yellow", no_wrap=True)
    grid.add_column(style="yellow", overflow="fold")
    for note in notes:
        more = "…" if note.count > _LINES and len(note.lines) > _LINES else ""
        lines = ", ".join(map(str, note.lines[:_LINES])) + more
        where = _(" (lines {lines})").format(lines=lines) if note.lines else ""
        count = f"{note.count} × " if note.as_reason else ""
        grid.add_row("!", Text(f"{count}{note.sentence}{where}"))
    output.say(grid)


def cleaned(made: Cleaned) -> None:
    """`appliance data clean`."""
    report = made.report
    output.good(_("{kept} of {rows} rows are in {name}.").format(kept=report.kept, rows=report.rows, name=made.to))
    rows = [(_("Changed"), str(made.changed)), (_("Left out"), str(report.rows - report.kept))]
    if made.filled:
        rows.append((_("Filled"), _counted({"{{" + name + "}}": count for name, count in made.filled.items()})))
    if made.masked:
        from appliance.data.private import MASKS

        rows.append((_("Masked"), _counted({MASKS[kind]: count for kind, count in made.masked.items()})))
    rows.append((_("Row by row"), str(made.changes)))
    output.pairs(rows)
    _notes(_("Worth a look"), report.warnings)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def preview(made: Preview) -> None:
    """`appliance data preview`: rows as the model reads them; what it learns stands out."""
    from rich.text import Text

    coloured = output.console().is_terminal
    if made.model is None:
        output.note(_("No model was named: this is a plain ChatML template, with bytes for tokens."))
    words = {
        "chosen": _("the better answer"), "rejected": _("the worse answer"),
        "good": _("marked as good"), "bad": _("marked as bad"),
    }  # fmt: skip
    for row in made.rows:
        title = _("Line {line}").format(line=row["line"]) + (f" · {words[row['part']]}" if row["part"] else "")
        if "error" in row:
            output.say(title, "bold")
            output.warn(f"{row['error']['what']} {row['error']['why']}")
            continue
        sizes = _("{tokens} tokens, {learned} of them learned")
        output.say(f"{title} · {sizes.format(tokens=row['tokens'], learned=row['learned_tokens'])}", "bold")
        text = Text()
        for piece in row["pieces"]:
            if coloured:
                text.append(piece["text"], "green" if piece["learned"] else "dim")
            else:
                text.append(f"⟦{piece['text']}⟧" if piece["learned"] else piece["text"])
        output.say(text)
        output.say()
    output.note(_("Green is learned, the rest is only read.") if coloured else _("What stands in ⟦ ⟧ is learned."))
    for warning in made.warnings:
        output.warn(warning["sentence"])


def datasets(found: Sequence[DataSet]) -> None:
    """`appliance datasets`."""
    headings = [_("Name"), _("For"), _("Language"), _("Rows"), _("Licence")]
    output.table(headings, [(one.name, one.task_word, one.languages_word, one.rows_word, one.licence) for one in found])
    output.note(_("{n} data sets").format(n=len(found)))


def dataset_pairs(one: DataSet) -> list[tuple[str, Any]]:
    """One data set, for the screen on which it is chosen."""
    return [
        (_("For"), one.task_word),
        (_("Language"), one.languages_word),
        (_("Rows"), one.rows_word),
        (_("Format"), one.format),
        (_("Licence"), one.licence or _("unknown: look at its page")),
        ("Hugging Face", one.huggingface or "-"),
        ("ModelScope", one.modelscope or "-"),
    ]
