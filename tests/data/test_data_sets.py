"""Well-known sets in their own layouts, and other shapes that files have: each recognised and fully accounted for."""

from __future__ import annotations

import base64
import csv
import io
import json
import time
import zipfile
from pathlib import Path

import pytest
from real_sets import SETS
from spreadsheets import write_xlsx

from appliance.data import check, load, write_rows
from appliance.data.images import Images
from appliance.errors import ApplianceError, UsageError

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def jsonl(rows):
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)


NAMED = ("coco/train2017/000000033471.jpg", "sam/images/sa_1.jpg", "mllm_demo_data/1.jpg", "a/b.png", "1.jpg", "2.jpg")


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_recognised(tmp_path, name):
    row, kind, task = SETS[name]
    for image in NAMED:
        (tmp_path / image).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / image).write_bytes(PNG)
    for file, text in (("rows.jsonl", jsonl([row] * 3)), ("rows.json", json.dumps([row] * 3, indent=1))):
        (tmp_path / file).write_text(text, encoding="utf-8")
        report = check(tmp_path / file)
        assert (report.format, report.task, report.rows, report.kept) == (kind, task, 3, 1)
        assert [(note.key, note.count) for note in report.dropped] == [("duplicate", 2)]


def first(tmp_path, row, name="rows.jsonl"):
    for image in NAMED:
        (tmp_path / image).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / image).write_bytes(PNG)
    (tmp_path / name).write_text(jsonl([row]), encoding="utf-8")
    return next(iter(load(tmp_path / name)))


CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Rome"}}}


@pytest.mark.parametrize("name", ["glaive_v2", "hermes_function_calling", "claude_tools", "openai_functions"])
def test_tool_calls_of_every_kind_come_out_the_same(tmp_path, name):
    messages = first(tmp_path, SETS[name][0])["messages"]
    asked = [one for one in messages if "tool_calls" in one]
    assert [one["tool_calls"] for one in asked] == [[CALL]]
    assert [one["role"] for one in messages if one["role"] != "system"] == ["user", "assistant", "tool", "assistant"]
    assert messages[-2]["content"] in ('{"t": 3}', "3")


def test_an_answer_that_is_a_tool_call(tmp_path):
    row = first(tmp_path, SETS["xlam"][0])
    assert row["messages"][-1] == {"role": "assistant", "content": "", "tool_calls": [CALL]}
    assert row["tools"][0]["function"]["name"] == "weather"


def test_tools_of_anthropic_become_openais(tmp_path):
    (tool,) = first(tmp_path, SETS["claude_tools"][0])["tools"]
    function = {"name": "weather", "description": "d", "parameters": {"type": "object"}}
    assert tool == {"type": "function", "function": function}


def test_the_best_branch_of_a_tree_and_the_turns_of_moss(tmp_path):
    said = [one["content"] for one in first(tmp_path, SETS["oasst_trees"][0])["messages"]]
    assert said == ["Hi?", "Hello!", "Bye", "Bye!"]
    for name in ("moss_002", "moss_003", "firefly_multi"):
        said = [one["content"] for one in first(tmp_path, SETS[name][0])["messages"] if one["role"] != "system"]
        assert said[0] == "你好" and said[2] == "再见" and said[1].startswith("您好") and said[3] == "再见！", name


def test_images_and_their_marks(tmp_path):
    rows = {name: first(tmp_path, SETS[name][0]) for name in ("llava", "mllm_demo", "openai_images", "captions")}
    assert {name: row["images"] for name, row in rows.items()} == {
        "llava": ["coco/train2017/000000033471.jpg"], "mllm_demo": ["mllm_demo_data/1.jpg"],
        "openai_images": ["a/b.png"], "captions": ["1.jpg"],
    }  # fmt: skip
    assert all(row["messages"][0]["content"].count("<image>") == 1 for row in rows.values())
    assert rows["openai_images"]["messages"][0]["content"] == "What?<image>"
    two = {"messages": [{"role": "user", "content": "<image> and <image>?"}, {"role": "assistant", "content": "a"}]}
    (tmp_path / "few.jsonl").write_text(jsonl([{**two, "images": ["1.jpg", "2.jpg"]}, {**two, "images": ["1.jpg"]}]))
    assert [(note.key, note.lines) for note in check(tmp_path / "few.jsonl").dropped] == [("images_do_not_match", [2])]


def make_folder(folder: Path) -> Path:
    (folder / "pictures").mkdir(parents=True)
    for name in ("1.png", "2.png"):
        (folder / "pictures" / name).write_bytes(PNG)
    (folder / "pictures" / "3.png").write_bytes(b"<html>not found</html>")
    rows = [{"image": f"pictures/{n}.png", "conversations": [{"from": "human", "value": f"<image>\n{n}?"},
            {"from": "gpt", "value": f"It is {n}."}]} for n in range(1, 5)]  # fmt: skip
    (folder / "train.json").write_text(json.dumps(rows))
    (folder / "README.md").write_text("a set")
    return folder


@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_or_a_zip_with_images(tmp_path, packed):
    place = make_folder(tmp_path / "set")
    if packed:
        with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
            for file in place.rglob("*"):
                archive.write(file, "set/" + file.relative_to(place).as_posix())
        place = tmp_path / "set.zip"
    assert [row["images"] for row in load(place)] == [[f"pictures/{n}.png"] for n in (1, 2)]
    report = check(place)
    assert (report.rows, report.format) == (4, "sharegpt")
    assert len(write_rows(place, tmp_path / "rows.jsonl").sha256) == 64
    assert [(note.key, note.lines) for note in report.dropped] == [("image_unreadable", [1]), ("image_missing", [1])]


def test_images_with_a_text_beside_each(tmp_path):
    for n in range(3):
        (tmp_path / f"{n}.png").write_bytes(PNG)
        (tmp_path / f"{n}.txt").write_text(f"第{n}张图", encoding="gb18030")
    assert [(row["images"], row["messages"][1]["content"]) for row in load(tmp_path)] == [
        ([f"{n}.png"], f"第{n}张图") for n in range(3)
    ]


@pytest.mark.parametrize("name", ["../rows.jsonl", "/rows.jsonl", "a\\..\\rows.jsonl", "C:/rows.jsonl"])
def test_hostile_names_in_a_zip_are_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("rows.jsonl", jsonl([{"question": "q", "answer": "a"}]))
        info = zipfile.ZipInfo("x")
        info.filename = name
        archive.writestr(info, "x")
    with pytest.raises(ApplianceError) as raised:
        check(tmp_path / "set.zip")
    assert raised.value.problems and "refused" in raised.value.what


def test_links_and_bombs_in_a_zip_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        info = zipfile.ZipInfo("rows.jsonl")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rows.csv", b"a,b\n" * (20 << 20))
    for name in ("link.zip", "bomb.zip"):
        with pytest.raises(ApplianceError) as raised:
            check(tmp_path / name)
        assert "refused" in raised.value.what


def test_a_folder_with_several_data_files_or_none(tmp_path):
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text(jsonl([{"question": "q", "answer": "a"}]))
    with pytest.raises(UsageError) as raised:
        check(tmp_path)
    assert "a.jsonl" in raised.value.why
    (tmp_path / "empty").mkdir()
    with pytest.raises(ApplianceError) as none:
        check(tmp_path / "empty")
    assert "no data file" in none.value.what


def test_parquet(tmp_path):
    import pyarrow
    from pyarrow import parquet

    rows = [{"messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": "答"}],
             "image": {"bytes": PNG, "path": None}} for n in range(5)]  # fmt: skip
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "train-00000-of-00001.parquet")
    read = list(load(tmp_path / "train-00000-of-00001.parquet"))
    assert [row["messages"][0]["content"] for row in read] == [f"<image>\nq{n}" for n in range(5)]
    assert Images(tmp_path).problem(read[0]) == ""
    whole = (tmp_path / "train-00000-of-00001.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ApplianceError) as raised:
        check(tmp_path / "cut.parquet")
    assert "parquet" in raised.value.what


def test_tables_as_pandas_writes_them(tmp_path):
    pairs = [("几点？", "九点钟"), ("多少？", "三块钱")]
    turned = {
        "问题": {str(n): q for n, (q, _a) in enumerate(pairs)},
        "答案": {str(n): a for n, (_q, a) in enumerate(pairs)},
    }
    numbered = {str(n): {"问题": q, "答案": a} for n, (q, a) in enumerate(pairs)}
    lists = {"问题": [q for q, _a in pairs], "答案": [a for _q, a in pairs]}
    split = {
        "train": [{"问题": q, "答案": a} for q, a in pairs[:1]],
        "test": [{"问题": q, "答案": a} for q, a in pairs[1:]],
    }
    for value in (turned, numbered, lists, split):
        (tmp_path / "rows.json").write_text(json.dumps(value, ensure_ascii=False))
        read = [tuple(one["content"] for one in row["messages"]) for row in load(tmp_path / "rows.json")]
        assert read == pairs, value
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["messages"])
    for q, a in pairs:  # lists in cells as Python writes them
        table.writerow([str([{"role": "user", "content": q}, {"role": "assistant", "content": a}])])
    (tmp_path / "rows.csv").write_text(text.getvalue())
    assert [row["messages"][1]["content"] for row in load(tmp_path / "rows.csv")] == ["九点钟", "三块钱"]


def test_a_cell_at_the_far_corner_costs_an_error_and_nothing_else(tmp_path):
    book = write_xlsx(tmp_path / "a.xlsx", {"问答": [["问题", "答案"], ["几点？", "九点"]]})
    with zipfile.ZipFile(book) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    far = b"<row r='1048576'><c r='XFD1048576' t='inlineStr'><is><t>x</t></is></c></row></sheetData>"
    with zipfile.ZipFile(book, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data.replace(b"</sheetData>", far))
    with pytest.raises(ApplianceError) as raised:
        check(book)
    assert "far outside" in raised.value.why and "xlsx" in raised.value.next_step


def test_a_spreadsheet_that_unpacks_without_end(tmp_path):
    book = write_xlsx(tmp_path / "a.xlsx", {"问答": [["问题", "答案"]]})
    with zipfile.ZipFile(book) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(book, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            filled = b"<row><c t='inlineStr'><is><t>xxxxxxx</t></is></c></row>" * (3 << 20) + b"</sheetData>"
            archive.writestr(name, data.replace(b"</sheetData>", filled))
    with pytest.raises(ApplianceError) as raised:
        check(book)
    assert "spreadsheet" in raised.value.what


def test_merged_cells_in_rows_stand_in_each_of_them(tmp_path):
    rows = [["问题", "答案"], ["几点？", "九点"], [None, "或者十点"], ["多少？", "三块"]]
    book = write_xlsx(tmp_path / "a.xlsx", {"问答": rows}, merged={"问答": ["A2:A3"]})
    assert [row["messages"][0]["content"] for row in load(book)] == ["几点？", "几点？", "多少？"]


@pytest.mark.parametrize(
    "piece", ["[", " ", "\t", "<tool_call>", "[INST]", "### ", "<<SYS>>", "\n", "Human:", "(", "{{ "]
)
def test_what_repeats_without_end_takes_no_time_without_end(tmp_path, piece):
    """Patterns that look at every place from every place before it would take minutes here."""
    long = piece * (400_000 // len(piece))
    rows = [{"text": f"Human: a{long}b Assistant: c"}, {"text": f"[INST] a{long} [/INST] b"}, {"text": long + "x"}]
    answers = [{"question": f"q{n}", "answer": f"{n}{long}"} for n in range(3)]
    begin = time.process_time()
    for file, text in (("a.jsonl", jsonl(rows)), ("b.jsonl", jsonl(answers)), ("c.csv", f'"{long}",b\nc,d\n')):
        (tmp_path / file).write_text(text)
        try:
            check(tmp_path / file)
        except ApplianceError:
            pass
    assert time.process_time() - begin < 5
