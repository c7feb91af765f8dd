"""A spreadsheet as people have it, through the menu: the right rows with few questions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml
from conftest import Menu
from screen import ENTER, Screen

from appliance import data
from appliance.locale import _

sys.path.append(str(Path(__file__).parents[1] / "data"))
from spreadsheets import write_xlsx

ASKED = [("几点开门？", "早上九点开门"), ("一共几层？", "3"), ("打几折？", "8.5"), ("能退货吗？", "七天之内可以退货")]


def to_the_plan(screen: Screen, file: Path) -> Screen:
    screen.keys("g", ENTER)
    return screen.asks(_("Your data file (Excel, CSV, JSON, text):")).keys(str(file), ENTER)


def recipe_rows(home: Path, screen: Screen) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """The rows that the recipe on the screen would train on, and its words about the file."""
    screen.asks(_("Which model should learn from it?")).pick("tiny-base")
    screen.asks(_("Start?"), _("yes"), _("no")).pick(_("no"))
    (saved,) = (home / "recipes").glob("*.yaml")
    words = yaml.safe_load(saved.read_text())["jobs"][0]["finetune"]
    rows = data.load(Path(words["data"]), mapping=words.get("map"), sheet=words.get("sheet"))
    return [(row["messages"][-2]["content"], row["messages"][-1]["content"]) for row in rows], words


def test_a_title_merged_headers_numbers_and_blank_lines(menu: Menu, workspace: Path, tmp_path: Path) -> None:
    """No question at all: the sheet with an explanation can't be meant, and the headers say the rest."""
    book = write_xlsx(
        tmp_path / "客服.xlsx",
        {
            "填写说明": [["本表由客服部整理，请勿外传"], [], ["联系人", "小王"]],
            "问答": [
                ["客服问答汇总表（2026年）"],
                [],
                ["序号", "问答内容", None, "备注"],
                [None, "问题", "答案"],
                *[[n, q, float(a) if a[0].isdigit() else a] for n, (q, a) in enumerate(ASKED[:2], 1)],
                [],
                [None, None, None],
                *[[n, q, float(a) if a[0].isdigit() else a, "已核对"] for n, (q, a) in enumerate(ASKED[2:], 3)],
            ],
        },
        merged={"问答": ["A1:D1", "A3:A4", "B3:C3", "D3:D4"]},
    )
    screen = to_the_plan(menu("zh"), book)
    rows, words = recipe_rows(workspace, screen)
    assert rows == ASKED and set(words) <= {"model", "data", "accept_drops"}


def test_two_readings_are_asked_with_three_rows_shown(menu: Menu, workspace: Path, tmp_path: Path) -> None:
    """Two sheets that could be meant, and columns that nobody named: two questions, and no more."""
    longer = [(a + "，" * 9 + q, q) for q, a in ASKED]
    book = write_xlsx(
        tmp_path / "表.xlsx",
        {"一月": [["甲", "乙"], *ASKED], "二月": [["甲", "乙"], *longer]},
    )
    screen = to_the_plan(menu("zh"), book)
    screen.asks(_("Which sheet has the rows? These are the first of {sheet}.").split("{")[0], "一月", "二月").pick(
        "二月"
    )
    screen.asks(_("Which column asks, and which one answers?"), _("other columns"))
    assert ASKED[0][0] in screen.flat and ASKED[2][0] in screen.flat and ASKED[3][0] not in screen.flat
    screen.pick(_("question: {question} → answer: {answer}").format(question="甲", answer="乙"))
    rows, words = recipe_rows(workspace, screen)
    assert rows == longer and words["sheet"] == "二月" and words["map"] == {"question": "甲", "answer": "乙"}


def test_whose_answers_a_saved_chat_teaches(menu: Menu, workspace: Path, tmp_path: Path) -> None:
    """One question; the name that is picked is in the recipe."""
    said = [(f"2026/1/2 10:{n:02d}", pair) for n, pair in enumerate(ASKED)]
    text = "".join(f"张三 {when}\n{q}\n\n李四 {when}\n{a}\n\n" for when, (q, a) in said)
    (tmp_path / "chat.txt").write_text(text)
    screen = to_the_plan(menu("zh"), tmp_path / "chat.txt")
    screen.asks(_("This is a saved chat. Whose answers should the model learn?"), "张三").pick("李四")
    rows, words = recipe_rows(workspace, screen)
    assert rows == ASKED[-1:] and words["map"] == {"assistant": "李四"}


def test_a_title_above_a_text_is_asked_about(menu: Menu, workspace: Path, tmp_path: Path) -> None:
    """Articles to read, or titles that ask? One question, and the answer is in the recipe."""
    rows = [(f"第{n}条怎么办理", f"{n}。" + "先到窗口登记，再等通知，" * 12) for n in range(4)]
    book = write_xlsx(tmp_path / "条例.xlsx", {"条例": [["标题", "正文"], *rows]})
    screen = to_the_plan(menu("zh"), book)
    screen.asks(_("Which column asks, and which one answers?"), _("plain text: {text}").format(text="正文"))
    screen.pick(_("question: {question} → answer: {answer}").format(question="标题", answer="正文"))
    found, words = recipe_rows(workspace, screen)
    assert found == rows and words["map"] == {"question": "标题", "answer": "正文"}
