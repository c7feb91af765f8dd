"""Cleaning: a copy that reads as the original did, a list row by row, and nothing else touched."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from spreadsheets import write_xls
from test_data_sets import make_folder

from appliance import settings
from appliance.data import check, clean, load
from appliance.errors import ApplianceError

GOOD = [{"question": f"What is {n} plus {n}?", "answer": f"It is {2 * n}."} for n in range(30)]
BAD = [{"question": "", "answer": "a"}, GOOD[0], {"question": "who?", "answer": "I am {{ name }}, 13812345678"}]


def listed(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def write(path: Path, rows: list[Any]) -> Path:
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="gb18030") as file:
            table = csv.DictWriter(file, ["编号", "question", "answer"])
            table.writeheader()
            table.writerows({"编号": n, **row} for n, row in enumerate(rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, ensure_ascii=False, indent=1))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("name", ["rows.csv", "rows.json", "rows.jsonl"])
def test_the_copy_is_what_is_kept_and_the_list_says_the_rest(tmp_path: Path, name: str) -> None:
    file = write(tmp_path / name, [*GOOD, *BAD])
    before = file.read_bytes()
    made = clean(file, fill={"name": "小云"}, mask=True)
    assert file.read_bytes() == before
    assert made.to == tmp_path / name.replace("rows", "rows-clean")
    assert made.report.rows == 33 and made.report.kept == 31 and made.changed == 1
    rows = list(load(made.to))
    assert rows[:30] == list(load(file))[:30]
    assert rows[30]["messages"][1]["content"] == "I am 小云, [PHONE]"
    again = check(made.to).as_dict()
    assert again["rows"] == again["kept"] == 31 and not again["placeholders"]
    changes = listed(made.changes)
    assert [row[1] for row in changes[1:]] == ["left out", "left out", "changed"]
    assert "13812345678" not in made.changes.read_text() and "{{name}} was filled" in changes[3][2]
    assert made.as_dict()["masked"] == {"phone_numbers": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, made.to.name, made.changes.name])


def test_a_table_keeps_its_other_columns_and_opens_in_excel(tmp_path: Path) -> None:
    made = clean(write(tmp_path / "rows.csv", GOOD))
    assert made.to.read_bytes().startswith(b"\xef\xbb\xbf")
    assert listed(made.to)[:2] == [["编号", "question", "answer"], ["0", GOOD[0]["question"], GOOD[0]["answer"]]]


def test_rows_on_one_line_are_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    broken = {"question": "x", "answer": "\ufffd\ufffd"}
    file.write_text(json.dumps([GOOD[0], {"question": "", "answer": "a"}, broken, GOOD[0], *GOOD[1:]]))
    made = clean(file)
    assert list(load(made.to)) == list(load(file)) and made.report.kept == 30
    assert [row[:2] for row in listed(made.changes)[1:]] == [["1", "left out"]] * 3
    assert len({row[2] for row in listed(made.changes)[1:]}) == 3


def test_garbled_text_is_mended_and_kept(tmp_path: Path) -> None:
    text = "Voilà, un thé déjà infusé"
    rows = [*GOOD, {"question": "thé?", "answer": text.encode().decode("latin-1")}]
    file = write(tmp_path / "rows.jsonl", rows)
    assert check(file).kept == 30
    made = clean(file)
    assert made.mended == 1 and list(load(made.to))[30]["messages"][1]["content"] == text


def test_json_in_a_cell_stays_json(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "who?"}, {"from": "gpt", "value": "{{name}} 13812345678"}]
    file = tmp_path / "rows.csv"
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows([["conversations"], *([json.dumps(turns)] for _copy in "a")])
    made = clean(file, fill={"name": 'the "cloud"'}, mask=True)
    assert [row["messages"][1]["content"] for row in load(made.to)] == ['the "cloud" [PHONE]']


def test_nothing_is_written_over(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.jsonl", GOOD)
    before = file.read_bytes()
    for target in (file, tmp_path / "link.jsonl"):
        if target != file:
            os.symlink(file, target)
        with pytest.raises(ApplianceError):
            clean(file, to=target)
    assert file.read_bytes() == before
    assert clean(file).to.name == "rows-clean.jsonl" and clean(file).to.name == "rows-clean-2.jsonl"


def test_without_a_good_row_nothing_is_left_behind(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.jsonl", [{"question": "", "answer": ""}])
    with pytest.raises(ApplianceError):
        clean(file)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_killed_in_between_there_is_no_half_copy(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.jsonl", [{**row, "answer": row["answer"] * 500} for row in GOOD * 40])
    code = (
        "import os, sys; from pathlib import Path; from appliance.data import clean, tally\n"
        "first = tally.Tally.finished\n"
        "def die(*a): os.kill(os.getpid(), 9)\n"
        "tally.Tally.finished = die\n"
        "clean.clean(Path(sys.argv[1])) if hasattr(clean, 'clean') else clean(Path(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", code, file], env=settings.child_environment(), check=False)
    assert done.returncode == -9
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".tmp")] == ["rows.jsonl"]


def test_command_line(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.jsonl", [*GOOD, *BAD])
    words = [sys.executable, "-m", "appliance", "data", "clean", file, "--fill", "name=Ada", "--mask", "--json"]
    done = subprocess.run(words, env=settings.child_environment(), capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert answer["kept"] == 31 and answer["filled"] == {"name": 1} and Path(answer["to"]).exists()
    wrong = subprocess.run([*words[:6], "--fill", "name"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2


@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_or_a_zip_with_pictures_is_cleaned_into_a_folder_with_those_it_shows(
    tmp_path: Path, packed: bool
) -> None:
    place = make_folder(tmp_path / "set")
    if packed:
        with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
            for file in place.rglob("*"):
                archive.write(file, "set/" + file.relative_to(place).as_posix())
        place = tmp_path / "set.zip"
    made = clean(place)
    assert made.to == tmp_path / "set-clean" and made.changes == tmp_path / "set-clean-changes.csv"
    assert [row["images"] for row in load(made.to)] == [["pictures/1.png"], ["pictures/2.png"]]
    assert sorted(path.name for path in made.to.rglob("*.*")) == ["1.png", "2.png", "data.json"]
    assert len(listed(made.changes)) == 3 and not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    with pytest.raises(ApplianceError):
        clean(place, to=made.to)


def test_what_is_personal_in_a_spreadsheet_from_china_is_masked(tmp_path: Path) -> None:
    rows = [
        ["姓名", "问题", "标准回答"],
        ["王芳", "我的手机是13812345678，怎么改？", "请带身份证11010519491231002X来办理。"],
        ["李雷", "寄到哪里？", "发到 wang.fang@example.com，或打 010-62345678。"],
        ["韩梅", "几点开门？", "九点，编号20260102030405不用带。"],
    ]
    made = clean(write_xls(tmp_path / "客服.xls", "问答", rows), mask=True)
    text = made.to.read_text(encoding="utf-8-sig")
    assert made.report.kept == 3 and made.changed == 2
    assert not [one for one in ("13812345678", "11010519491231002X", "example.com") if one in text]
    assert "[PHONE]" in text and "[ID" in text and "20260102030405" in text
    assert not [one for one in ("13812345678", "11010519491231002X") if one in made.changes.read_text()]
