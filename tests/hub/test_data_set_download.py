"""Public data sets through the same transfer: both protocols, only what is rows, verified, resumable."""

from __future__ import annotations

import json

import pytest
from bringing import HASTY, Bring
from fake_hub import MODEL, Do, FakeHub

from appliance import data, settings
from appliance.data import catalogue
from appliance.errors import ApplianceError
from appliance.hub import manifest
from appliance.hub.data_files import choose_data
from appliance.jobs import prepare

ROWS = "".join(
    json.dumps({"question": f"What is {n}?", "answer": f"A number: {n}."}) + "\n" for n in range(9000)
).encode()
FILES = {
    "data/train/rows.jsonl": ROWS,
    "README.md": b"---\nlicense: mit\n---\n",
    "dataset_infos.json": b"{}",
    "tiny.py": b"import os",
    ".gitattributes": b"*.jsonl filter=lfs",
}


@pytest.fixture
def sets(hubs: dict[str, FakeHub]) -> dict[str, FakeHub]:
    for hub in hubs.values():
        hub.files = dict(FILES)
    return hubs


@pytest.mark.parametrize("source", ["huggingface", "modelscope"])
def test_only_rows_come_and_they_are_verified(bring: Bring, sets: dict[str, FakeHub], source: str) -> None:
    cuts = iter(range(5))
    sets[source].plan = lambda ask: Do(cut=30_000) if next(cuts, None) is not None else None
    folder = bring(MODEL, source=source, kind="dataset")
    here = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert here == {"data/train/rows.jsonl", "README.md", manifest.NAME}
    assert (folder / "data/train/rows.jsonl").read_bytes() == ROWS
    report = data.check(folder / "data/train/rows.jsonl")
    assert report.rows == 9000 and report.task == "sft"
    asked = len(sets[source].asked)
    assert bring(MODEL, source=source, kind="dataset") == folder and len(sets[source].asked) == asked


def test_wrong_bytes_are_refused_and_the_other_hub_helps(bring: Bring, sets: dict[str, FakeHub]) -> None:
    sets["huggingface"].flipped = {"data/train/rows.jsonl"}
    with pytest.raises(ApplianceError, match="not what it lists"):
        bring(MODEL, source="huggingface", kind="dataset", limits=HASTY)
    folder = bring(MODEL, kind="dataset")
    assert (folder / "data/train/rows.jsonl").read_bytes() == ROWS and "going on with ModelScope" in bring.said


def test_where_one_hub_has_no_rows_the_other_is_taken(bring: Bring, sets: dict[str, FakeHub]) -> None:
    sets["huggingface"].files = {"script.py": b"x", "README.md": b"y"}
    bring(MODEL, kind="dataset")
    assert "From ModelScope" in bring.said and "not a data set" in bring.said


def test_names() -> None:
    assert choose_data(["a.txt", "readme.txt"]) == ["a.txt", "readme.txt"]
    assert choose_data(["a.txt", "b.csv.gz", "x/c.parquet"]) == ["b.csv.gz", "x/c.parquet"]
    with pytest.raises(ApplianceError, match="not a data set"):
        choose_data(["train.py", "README.md", "dataset_infos.json"])
    draft = prepare.download_data("alpaca")
    known = catalogue.find("alpaca")
    assert known and draft.spec["reference"] == known.huggingface and draft.spec["of"] == "dataset"
    assert draft.spec["to"] == str(settings.datasets_folder() / "alpaca")
    with pytest.raises(ApplianceError, match="no data set"):
        prepare.download_data("no such thing")
