"""Files as people really have them: encodings, delimiters, titles, sheets, wrong names."""

from __future__ import annotations

import gzip
import json
import tracemalloc

import pytest
from spreadsheets import write_xls, write_xlsx

from appliance import show_data
from appliance.data import check, load
from appliance.errors import ApplianceError, UsageError

ROWS = [(f"第{n}个问题是什么？", f"这是第{n}个问题的答案，很高兴为您服务。") for n in range(30)]
CSV = "问题,答案\r\n" + "".join(f"{q},{a}\r\n" for q, a in ROWS)


def pairs(file, **words):
    return [(row["messages"][-2]["content"], row["messages"][-1]["content"]) for row in load(file, **words)]


@pytest.mark.parametrize(
    ("encoding", "found"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8-sig"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("gb18030", "gb18030"),
        ("gbk", "gb18030"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_encodings(tmp_path, encoding, found, packed):
    file = tmp_path / ("rows.csv.gz" if packed else "rows.csv")
    content = CSV.encode(encoding)
    file.write_bytes(gzip.compress(content) if packed else content)
    assert pairs(file) == ROWS
    assert check(file).encoding == found


def test_utf16_without_a_mark_and_little_else_than_chinese(tmp_path):
    text = "问题,回复,备注\r\n几点开门？,早上九点开门，周末不休息。,\r\n多少钱一个？,三块钱一个，十个起送。,\r\n"
    for encoding in ("utf-16-le", "utf-16-be"):
        (tmp_path / "rows.csv").write_bytes(text.encode(encoding))
        assert pairs(tmp_path / "rows.csv")[1] == ("多少钱一个？", "三块钱一个，十个起送。")


def test_tables_beside_and_below_each_other(tmp_path):
    """A second one beside is told about; below, its headers are no row. Notes at the end are left out, and counted."""
    head, rows = ["问题", "答案"], [["几点？", "九点"], ["多少？", "三块"]]
    write_xlsx(
        tmp_path / "a.xlsx", {"问答": [[*head, None, *head], *[[*row, None, "还" + row[0], "x"] for row in rows]]}
    )
    report = check(tmp_path / "a.xlsx")
    assert (report.rows, report.kept) == (2, 2) and "headers_twice" in [note.key for note in report.warnings]
    write_xlsx(tmp_path / "b.xlsx", {"问答": [head, *rows, head, ["在哪？", "这里"], [], ["注：仅供参考"]]})
    report = check(tmp_path / "b.xlsx")
    assert (report.rows, report.kept) == (5, 3)
    assert {note.key: note.lines for note in report.dropped} == {"header_again": [4], "empty_answer": [7]}


def test_whose_answers_a_saved_chat_teaches_has_to_be_said(tmp_path):
    said = [
        ("张三", "几点？"),
        ("李四", "九点。"),
        ("李四", "周末不开。"),
        ("张三", "[图片]"),
        ("张三", "多少？"),
        ("李四", "三块。"),
    ]
    talk = "".join(f"2026-05-01 10:0{n}:00 {name}\n{text}\n\n" for n, (name, text) in enumerate(said))
    (tmp_path / "chat.txt").write_text(f"{talk}2026-05-02 09:00:00 张三\n在吗？\n")
    (asked,) = check(tmp_path / "chat.txt").questions
    assert asked.key == "speaker" and {"map": {"assistant": "李四"}} in asked.ways and asked.ways[-1] == {}
    report = check(tmp_path / "chat.txt", mapping={"assistant": "李四"})
    assert (report.rows, report.kept, report.questions) == (2, 1, [])
    assert [(note.key, note.lines) for note in report.dropped] == [("last_not_assistant", [19])]
    assert [one["content"] for one in report.sample[0]["messages"]] == [
        "几点？",
        "九点。\n周末不开。",
        "多少？",
        "三块。",
    ]
    with pytest.raises(UsageError, match="王五"):
        check(tmp_path / "chat.txt", mapping={"assistant": "王五"})
    rows = [{"session": 1, "speaker": name, "text": text} for name, text in said]
    (tmp_path / "chat.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(ApplianceError, match="who asks"):
        check(tmp_path / "chat.jsonl")
    assert check(tmp_path / "chat.jsonl", mapping={"assistant": "李四"}).kept == 1
    (tmp_path / "rows.jsonl").write_text(json.dumps({"question": "q", "answer": "a"}))
    with pytest.raises(UsageError) as raised:
        check(tmp_path / "rows.jsonl", mapping={"assistant": "李四"})
    assert "assistant" in raised.value.problems[0]


def test_thoughts_and_several_answers_are_told(tmp_path, capsys):
    rows = [{"question": f"q{n}", "thinking": "hm", "answers": [f"a{n}", "b"]} for n in range(3)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    report = check(tmp_path / "rows.jsonl")
    assert {"thoughts", "several_answers"} <= {note.key for note in report.warnings}
    show_data.report(report)
    assert "thinking" in capsys.readouterr().out
    assert pairs(tmp_path / "rows.jsonl")[0] == ("q0", "<think>\nhm\n</think>\n\na0")
    assert pairs(tmp_path / "rows.jsonl", mapping={"question": "question", "answer": "answers"})[0] == ("q0", "a0")


def test_big5_is_not_taken_for_gb18030(tmp_path):
    rows = [(f"第{n}個問題是什麼呢？", f"這是第{n}個問題的回答，很高興為您服務，歡迎再來電詢問。") for n in range(30)]
    file = tmp_path / "rows.csv"
    file.write_bytes(("問題,回答\n" + "".join(f"{q},{a}\n" for q, a in rows)).encode("big5"))
    assert pairs(file) == rows


def test_a_damaged_place_costs_its_row_and_not_the_file(tmp_path):
    content = CSV.encode()
    place = content.index("第3个".encode())
    file = tmp_path / "rows.csv"
    file.write_bytes(content[:place] + b"\xff\xfe" + content[place + 2 :])
    report = check(file)
    assert report.encoding == "utf-8" and report.rows == 30 and report.kept == 29
    assert [(note.key, note.lines) for note in report.dropped] == [("mojibake", [5])]
    assert "damaged_text" in [note.key for note in report.warnings]


@pytest.mark.parametrize("mark", [",", "\t", ";", "|"])
def test_delimiters(tmp_path, mark):
    file = tmp_path / "rows.csv"
    file.write_text(f"question{mark}answer\n" + "".join(f'q {n}{mark}"a, {n}; x"\n' for n in range(30)))
    assert pairs(file) == [(f"q {n}", f"a, {n}; x") for n in range(30)]


@pytest.mark.parametrize(
    "header",
    [("问题", "答案"), ("提问", "回答"), ("问", "答"), ("Q", "A"), ("Question", "Answer"), ("输入", "输出"),
     ("指令", "输出"), ("标题", "内容"), ("prompt", "response"), ("客户问题描述", "客服的标准回复"),
     ("问题（必填）", " 答案: ")],
)  # fmt: skip
def test_header_words(tmp_path, header):
    file = tmp_path / "rows.csv"
    file.write_text(
        f"编号,{header[1]},问题类型,{header[0]}\n" + "".join(f"{n},{a},售后,{q}\n" for n, (q, a) in enumerate(ROWS))
    )
    assert pairs(file) == ROWS


def test_unknown_headers_are_read_by_content_and_said_so(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("甲,乙,丙\n" + "".join(f"{n},{a},{q}\n" for n, (q, a) in enumerate(ROWS)))
    report = check(file)
    assert pairs(file) == ROWS and report.columns == {"question": "丙", "answer": "乙"}
    assert [question.key for question in report.questions] == ["columns"]
    assert "columns_guessed" in [note.key for note in report.warnings]
    turned = pairs(file, mapping={"question": "乙", "answer": "列C"})
    assert turned == [(a, q) for q, a in ROWS]


def test_no_headers_at_all(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("".join(f"{q},{a}\n" for q, a in ROWS))
    assert pairs(file) == ROWS
    assert "no_headers" in [note.key for note in check(file).warnings]
    assert pairs(file, mapping={"question": "列B", "answer": "A"}) == [(a, q) for q, a in ROWS]


def test_lines_of_a_table_count_the_lines_in_its_cells(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text('question,answer\n"two\nlines",a\nq,\nq2,a,too,many\n"open,\nrest\n')
    report = check(file)
    assert {note.key: note.lines for note in report.dropped} == {
        "empty_answer": [4], "too_many_columns": [5], "quote_not_closed": [6],
    }  # fmt: skip


def test_a_label_column_counts_only_when_it_says_yes_or_no(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("问题,答案,标签\n" + "".join(f"{q},{a},{'售前' if len(a) % 2 else '售后'}\n" for q, a in ROWS))
    assert check(file).task == "sft"
    file.write_text(
        "问题,答案,标签\n" + "".join(f"{q},{a},{'好' if n % 2 else '差'}\n" for n, (q, a) in enumerate(ROWS))
    )
    report = check(file)
    assert report.task == "kto" and [question.key for question in report.questions] == ["task"]
    assert [row["label"] for row in load(file)][:4] == [False, True, False, True]
    assert check(file, task="sft").task == "sft"


def test_a_spreadsheet_with_title_blank_lines_numbers_and_more_sheets(tmp_path):
    file = write_xlsx(
        tmp_path / "客服.xlsx",
        {
            "说明": [["本表由客服部整理"]],
            "问答": [
                ["客服问答汇总表"], [], ["序号", "问题", "答案"], [1, "几点开门？", "九点"], [],
                [2, "多少钱？", 3.0], [3, "打几折？", 8.5], [4, "空的", None],
            ],
        },
    )  # fmt: skip
    assert pairs(file) == [("几点开门？", "九点"), ("多少钱？", "3"), ("打几折？", "8.5")]
    report = check(file)
    assert report.sheet == "问答" and report.encoding is None
    assert [(note.key, note.lines) for note in report.dropped] == [("empty_answer", [8])]
    assert report.questions == []  # the other sheet can't be meant
    assert pairs(file, sheet="2") == pairs(file, sheet="问答") == pairs(file)
    with pytest.raises(UsageError):
        check(file, sheet="3")


def test_a_spreadsheet_without_rows(tmp_path):
    with pytest.raises(ApplianceError) as raised:
        check(write_xlsx(tmp_path / "a.xlsx", {"a": []}))
    assert "empty" in raised.value.what


def test_names_that_lie(tmp_path):
    objects = [{"question": q, "answer": a} for q, a in ROWS]
    lines = "\n".join(json.dumps(one, ensure_ascii=False) for one in objects)
    for name, text in [
        ("lines.json", lines),
        ("array.jsonl", json.dumps(objects, indent=1)),
        ("pretty.jsonl", "\n".join(json.dumps(one, indent=1) for one in objects)),
        ("lines.txt", lines),
        ("wrapped.json", json.dumps({"version": 1, "data": objects})),
        ("table.xls", CSV.replace(",", "\t")),
        ("noname", lines),
    ]:
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert pairs(tmp_path / name) == ROWS, name
    book = write_xlsx(tmp_path / "book.csv", {"a": [["问题", "答案"], *ROWS]})
    assert pairs(book) == ROWS


def test_lines_in_a_json_array_are_the_files_lines(tmp_path):
    file = tmp_path / "rows.json"
    good = [{"question": q, "answer": a} for q, a in ROWS]
    file.write_text('{"n": 1,\n "rows": ' + json.dumps([*good, {"question": ""}], indent=1) + "}")
    assert check(file).dropped[0].lines == [3 + 4 * len(good)]


def test_empty_values_as_pandas_writes_them(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"question": "q", "input": NaN, "answer": "a"}\n{"question": "q", "answer": NaN}\n')
    assert pairs(file) == [("q", "a")]


def test_plain_text_is_cut_between_paragraphs(tmp_path):
    paragraphs = [f"# {n}\n" + "一段话。" * 150 for n in range(20)]
    file = tmp_path / "book.md"
    file.write_text("\n\n".join(paragraphs), encoding="utf-8")
    rows = [row["text"] for row in load(file)]
    assert "\n\n".join(rows) == "\n\n".join(paragraphs) and 4 < len(rows) < 10
    report = check(file)
    assert (report.format, report.task) == ("text", "pretrain")
    long = "".join(f"没有换行的长文{n}。" for n in range(3000))
    file.write_text(long, encoding="utf-8")
    rows = [row["text"] for row in load(file)]
    assert "".join(rows) == long
    assert max(map(len, rows)) <= 4000 and all(row.endswith("。") for row in rows)


def test_json_lines_are_read_as_they_come(tmp_path):
    """Memory must not grow with the file: the first row comes while the last one is not read yet."""
    file = tmp_path / "rows.jsonl"
    with file.open("w") as opened:
        for n in range(4000):
            opened.write(json.dumps({"question": f"q{n}", "answer": f"a{n} " + "word " * 2400}) + "\n")
    tracemalloc.start()
    rows = sum(1 for _row in load(file))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == 4000 and peak < file.stat().st_size


def test_a_spreadsheet_of_excel_97(tmp_path):
    book = write_xls(
        tmp_path / "客服.xls",
        "问答",
        [["编号", "问题", "答案"], [1, "几点开门？", "九点"], [2, "打几折？", 8.5], [], [3, "几层？", 3.0]],
    )
    report = check(book)
    assert (report.rows, report.kept, report.sheet, report.columns) == (
        3,
        3,
        "问答",
        {"question": "问题", "answer": "答案"},
    )
    assert pairs(book) == [("几点开门？", "九点"), ("打几折？", "8.5"), ("几层？", "3")]
