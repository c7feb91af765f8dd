"""The words that several commands share: their options, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from appliance import output
from appliance.errors import ApplianceError, UsageError
from appliance.locale import _, set_language
from appliance.planning.wish import read_wish


def _use_json(value: bool) -> bool:
    if value:
        output.use_json()
    return value


def _use_language(value: str | None) -> str | None:
    if value is not None:
        if value not in ("zh", "en"):
            raise typer.BadParameter(_("zh or en"))
        set_language(value)
    return value


Json = Annotated[
    bool, typer.Option("--json", callback=_use_json, is_eager=True, help=_("Answer with one JSON object."))
]
Lang = Annotated[
    str | None, typer.Option("--lang", callback=_use_language, is_eager=True, help=_("Language: zh or en."))
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help=_("Don't ask; go on."))]
Map = Annotated[list[str] | None, typer.Option("--map", help=_("Which column is what: question=COLUMN"))]
Sheet = Annotated[str | None, typer.Option(help=_("The sheet of a workbook."))]
ModelName = Annotated[str, typer.Option("--model", "-m", help=_("A folder, a model in the workspace, or owner/name."))]
Rank = Annotated[int | None, typer.Option(help=_("Of the adapter: more learns more, and takes more memory."))]
Revision = Annotated[str | None, typer.Option(help=_("Branch, tag or commit at the hub; else the newest."))]
# Not looked at by the parser: whoever reads it says better what is wrong with it.
DataFile = Annotated[Path, typer.Argument(metavar="FILE", help=_("The data file."), readable=False)]
DataTask = Annotated[str, typer.Option("--task", help="auto | sft | dpo | kto | pretrain")]


def mapping_of(words: list[str] | None) -> dict[str, str] | None:
    """What `--map` says. Raises UsageError."""
    return _named(words, _("--map wants NAME=COLUMN."), "--map question=问题 --map answer=答案")


def fillings_of(words: list[str] | None) -> dict[str, str] | None:
    """What `--fill` says. Raises UsageError."""
    return _named(words, _("--fill wants NAME=VALUE."), "--fill name=小云 --fill author=云厂")


def wish_of(**values: Any) -> dict[str, Any]:
    """What a person asked of the plan: only what they named. Raises UsageError with all that can't be had."""
    wish = {name: value for name, value in values.items() if value is not None and value != "auto"}
    read_wish(wish)  # before the rows are looked at, which may take long
    return wish


def _named(words: list[str] | None, wrong: str, example: str) -> dict[str, str] | None:
    pairs = [word.partition("=") for word in words or []]
    if any(not equals or not name for name, equals, _value in pairs):
        raise UsageError(wrong, "", example)
    return {name.strip().strip("{}").strip(): value for name, _equals, value in pairs} or None


def read_json(path: Path) -> Any:
    """A probe's answer from another machine. Raises ApplianceError."""
    from appliance import files

    try:
        return files.read_json(path)
    except ValueError as error:
        raise ApplianceError(
            _("{file} is not JSON.").format(file=path), str(error), _("Make it with: appliance probe --json")
        ) from error
