"""Which files of a data set's repository are brought here: those with rows that we read, and what says its licence."""

from __future__ import annotations

import re
from collections.abc import Iterable

from appliance.errors import ApplianceError
from appliance.hub.needed import same_but_for_case
from appliance.locale import _

_ROWS = re.compile(r".+\.((jsonl?|ndjson|csv|tsv)(\.gz)?|parquet|xlsx|xls)", re.I)
_PLAIN = re.compile(r".+\.(txt|md|zip)", re.I)
_ABOUT = re.compile(r"(licen[cs]e|notice|readme|copying)[^/]*", re.I)
# About the rows, not rows: what libraries and repositories keep beside them.
_NO_ROWS = re.compile(
    r"(dataset_infos?|dataset_dict|state|config|configuration|package|metadata|croissant|requirements)\.(json|txt)",
    re.I,
)


def is_data(name: str) -> bool:
    """Whether rows may stand in the file of this name."""
    last = name.rsplit("/", 1)[-1]
    rows = (_ROWS.fullmatch(last) or _PLAIN.fullmatch(last)) and not _NO_ROWS.fullmatch(last)
    return bool(rows) and not _ABOUT.fullmatch(last) and not any(part.startswith(".") for part in name.split("/"))


def choose_data(names: Iterable[str]) -> list[str]:
    """The names to bring. Raises ApplianceError where there are no rows, or two names differ only in case."""
    every = list(names)
    rows = [name for name in every if is_data(name)]
    tables = [name for name in rows if _ROWS.fullmatch(name.rsplit("/", 1)[-1])]
    wanted = sorted((tables or rows) + [name for name in every if "/" not in name and _ABOUT.fullmatch(name)])
    problems = []
    if not rows:
        problems.append(_("There is no file with rows in it (JSON, CSV, Parquet, Excel, text)."))
    problems += same_but_for_case(wanted)
    if problems:
        raise ApplianceError(
            _("This is not a data set that can be used here."),
            problems[0],
            _("Look at its page at the hub for the same rows as files, or choose another: appliance datasets"),
            problems[1:],
        )
    return wanted
