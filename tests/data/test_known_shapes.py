"""What well-known sets and people's own files look like: each is read as it is meant, asked about, or refused."""

from __future__ import annotations

import csv
import json

import known_chats  # noqa: F401  # each fills SHAPES
import known_pairs  # noqa: F401
import known_tasks  # noqa: F401
import pytest
from known_files import FILES, TABLES
from known_shapes import SHAPES

from appliance.data import check, clean, load
from appliance.errors import ApplianceError

_SIDES = {"messages": "", "prompt": "", "completion": "", "chosen": "+", "rejected": "-"}


def shape_of(row):
    """A row in one line, see `known_shapes.py`."""
    if "text" in row:
        return f"text:{row['text']}"
    parts = []
    for part, side in _SIDES.items():
        for one in row.get(part, ()):
            calls = [call["function"] for call in one.get("tool_calls", ())]
            written = "".join(f"→{call['name']}{json.dumps(call['arguments'])}" for call in calls)
            parts.append(f"{side or one['role'][0]}:{one['content']}{written}")
    told = " | ".join(parts) + {True: " =good", False: " =bad"}.get(row.get("label"), "")
    if "images" in row:
        told += f" | img:{len(row['images'])}"
    if "tools" in row:
        told += " | tools:" + ",".join(tool["function"]["name"] for tool in row["tools"])
    return told


def told(file):
    """What the report says: a row's shape, behind a ? where it asks; ! and the whole error where it refuses.

    Every row is accounted for, and a clean copy holds the same rows.
    """
    try:
        report = check(file)
    except ApplianceError as error:
        return "!" + " ".join([error.what, error.why, error.next_step, *error.problems])
    assert report.kept + sum(note.count for note in report.dropped) == report.rows
    assert list(load(clean(file).to)) == list(load(file))
    return "?" * bool(report.questions) + shape_of(report.sample[0])


def agrees(found, means):
    if means == "?":
        return found.startswith("?")
    if means.startswith("!"):
        return found.startswith("!") and means[1:] in found
    return found.startswith(means[:-1]) if means.endswith("…") else found == means


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_read_as_it_is_meant(tmp_path, name):
    rows, means = SHAPES[name]
    file = tmp_path / "rows.jsonl"
    lines = [json.dumps(row, ensure_ascii=False) for row in (rows if isinstance(rows, list) else [rows])]
    file.write_text("\n".join(lines), encoding="utf-8")
    found = told(file)
    assert agrees(found, means), f"{name}: {found}"


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_read_as_it_is_meant(tmp_path, name):
    rows, means = TABLES[name]
    with (tmp_path / "rows.csv").open("w", encoding="gb18030", newline="") as file:
        csv.writer(file).writerows(rows)
    found = told(tmp_path / "rows.csv")
    assert agrees(found, means), f"{name}: {found}"


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_as_it_is_meant(tmp_path, name):
    file, text, means = FILES[name]
    (tmp_path / file).write_text(text, encoding="utf-8")
    found = told(tmp_path / file)
    assert agrees(found, means), f"{name}: {found}"
