"""Rows whose meaning stands in several columns together, calls that stand as text: each read as it is meant."""

from __future__ import annotations

import csv
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.data import check, load
from appliance.data.composed import restated
from appliance.data.rows import Unusable
from appliance.data.spoken_calls import calls_in
from appliance.errors import ApplianceError


def first(tmp_path, *rows):
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    return next(iter(load(tmp_path / "rows.jsonl")))


TWO = {"response_0": "no", "response_1": "yes"}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", **TWO, "better_response_id": 1, "safer_response_id": 0, "is_response_0_safe": True},
        {"prompt": "q", "response_1": "no", "response_2": "yes", "preference_strength": 2, "split": "train"},
        {"prompt": "q", "response_1": "no", "response_2": "yes", "preferred": "response_2"},
        {"post_id": "1", "history": "q", "human_ref_A": "no", "human_ref_B": "yes", "score_A": 1, "score_B": 5},
        {"post_id": "1", "history": "q", "human_ref_A": "yes", "human_ref_B": "no", "labels": 0} | {"labels": "A"},
        {"question": {"full_text": "q"}, "answer_0": "no", "answer_1": "yes", "score_0": -0.5, "score_1": 0.5},
        {"question": "q", "response_j": "yes", "response_k": "no"},
        {"instruction": "q", "completions": [
            {"response": "no", "overall_score": 3}, {"response": "so", "overall_score": 5},
            {"response": "yes", "overall_score": 7.5}, {"response": "?", "overall_score": None}]},
        {"prompt": "\n\nHuman: q\n\nAssistant: ",
         "answers": [{"answer": "no", "rank": 2.0}, {"answer": "yes", "rank": 1.0}]},
        {"user_input": "q", "responses_and_scores": [
            {"response": "no", "score": 1}, {"response": "yes", "score": "9"}]},
        {"prompt": "q", "responses": ["no", "yes"], "scores": [0.1, 0.9]},
        {"question_id": "1", "model_a": "x", "model_b": "y", "winner": "model_b",
         "conversation_a": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "no"}],
         "conversation_b": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "yes"}]},
        {"问题": "q", "回答1": "no", "回答2": "yes", "更好": "2"},
        {"问题": "q", "回答甲": "no", "回答乙": "yes", "更好": "乙"},
    ],
)  # fmt: skip
def test_the_better_answer_is_chosen(tmp_path, row):
    found = first(tmp_path, row)
    sides = {part: [one["content"] for one in found[part]] for part in ("prompt", "chosen", "rejected")}
    assert sides["chosen"] == ["yes"] and sides["prompt"] == ["q"] and sides["rejected"] == ["no"]


def test_where_neither_is_better_the_row_is_left_out_and_counted(tmp_path):
    rows = [{"prompt": f"q{n}", **TWO, "winner": "tie" if n == 2 else "response_1"} for n in range(5)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    report = check(tmp_path / "rows.jsonl")
    assert (report.task, report.kept, [(note.key, note.count) for note in report.dropped]) == (
        "dpo", 4, [("no_preference", 1)],
    )  # fmt: skip
    with pytest.raises(Unusable):
        restated(rows[2])


def test_two_answers_that_nothing_judges_are_not_guessed_at(tmp_path):
    (tmp_path / "rows.jsonl").write_text(json.dumps({"user_input": "q", "completion_a": "one", "completion_b": "two"}))
    with pytest.raises(ApplianceError, match="not clear"):
        check(tmp_path / "rows.jsonl")


@pytest.mark.parametrize(
    "row",
    [
        {"Question": "q", "A": "x", "B": "y", "C": "z", "Answer": "B"},
        {"question": "q", "subject": "law", "choices": ["x", "y", "z"], "answer": 1},
        {"id": "1", "question": "q", "choices": {"text": ["x", "y", "z"], "label": ["A", "B", "C"]}, "answerKey": "B"},
        {"question": "q", "options": {"A": "x", "B": "y", "C": "z"}, "answer_key": "B"},
        {"题目": "q", "选项A": "x", "选项B": "y", "选项C": "z", "选项D": "", "正确答案": "B"},
    ],
)
def test_options_are_asked_with_their_question(tmp_path, row):
    assert [one["content"] for one in first(tmp_path, row)["messages"]] == ["q\nA. x\nB. y\nC. z", "B"]


def test_an_exam_as_a_spreadsheet(tmp_path):
    with (tmp_path / "exam.csv").open("w", encoding="gb18030", newline="") as file:
        csv.writer(file).writerows([["题目", "A", "B", "答案"], *([f"第{n}题", "是", "否", "A"] for n in range(30))])
    report = check(tmp_path / "exam.csv")
    assert (report.rows, report.kept, report.task) == (30, 30, "sft")
    assert next(iter(load(tmp_path / "exam.csv")))["messages"][0]["content"] == "第0题\nA. 是\nB. 否"


@pytest.mark.parametrize(
    ("row", "asked", "answered"),
    [
        ({"dialogue": "A: hi\nB: ho", "summary": "greeting", "id": "1"}, "A: hi\nB: ho", "greeting"),
        ({"document": "long", "summary": "short"}, "long", "short"),
        ({"title": "t", "正文": "长文", "摘要": "短"}, "长文", "短"),
        ({"text": "Write it", "code": "def f(): pass", "task_id": 1}, "Write it", "def f(): pass"),
        ({"question": "q", "passage": "read this", "answer": True}, "q\nread this", "true"),
        ({"text": "快递坏了", "类别": "投诉"}, "快递坏了", "投诉"),
        ({"data": ["问：头疼", "答：休息"]}, "头疼", "休息"),
        ({"prompt": [{"role": "user", "content": "1+1"}], "reward_model": {"ground_truth": "2"}}, "1+1", "2"),
    ],
)  # fmt: skip
def test_what_asks_and_what_answers(tmp_path, row, asked, answered):
    assert [one["content"] for one in first(tmp_path, row)["messages"]] == [asked, answered]


def test_a_text_with_a_class_is_asked_about_and_can_be_taken_as_text(tmp_path):
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"text": f"t{n}", "label": n % 2}) for n in range(9)))
    report = check(tmp_path / "rows.jsonl")
    assert report.task == "sft" and [one.key for one in report.questions] == ["columns"]
    assert check(tmp_path / "rows.jsonl", task="pretrain").task == "pretrain"


@pytest.mark.parametrize(
    "row",
    [
        {"title": "静夜思", "paragraphs": ["a", "b"]},
        {"标题": "静夜思", "段落": [{"行号": 1, "内容": "a"}, {"行号": 2, "内容": "b"}]},
    ],
)
def test_a_document_in_pieces(tmp_path, row):
    assert first(tmp_path, row) == {"text": "静夜思\na\nb"}


LISTED = '[{"name": "Market API", "description": "d", "parameters": {"type": "dict", "properties": {}}}]'


def test_calls_written_as_text_become_calls_and_listed_tools_tools(tmp_path):
    """As in ToolACE; what tells how to write a call is left to the model's own template."""
    turns = [
        {"from": "user", "value": "Trends?"},
        {"from": "assistant", "value": '[Market API(kind="A, (b)", n=3, deep={"x": [1, 2]}, on=true)]'},
        {"from": "tool", "value": "{}"},
        {"from": "assistant", "value": "Up."},
    ]
    system = f"You compose functions. Here they are:\n{LISTED}. \nPut it in the format of [func1(name=value)]"
    found = first(tmp_path, {"system": system, "conversations": turns})
    call = {"name": "Market API", "arguments": {"kind": "A, (b)", "n": 3, "deep": {"x": [1, 2]}, "on": True}}
    assert found["messages"][2]["tool_calls"] == [{"type": "function", "function": call}]
    assert found["messages"][0]["content"] == "You compose functions. Here they are:"
    assert [tool["function"]["name"] for tool in found["tools"]] == ["Market API"]


def test_a_thought_with_an_action_is_a_call(tmp_path):
    said = 'Thought: I look.\nAction: weather\nAction Input: {"city": "Rome"}'
    turns = [("user", "Rome?"), ("assistant", said), ("function", "3"), ("assistant", "It is 3.")]
    found = first(tmp_path, {"conversations": [{"from": who, "value": text} for who, text in turns]})
    assert found["messages"][1] == {
        "role": "assistant", "content": "I look.",
        "tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": {"city": "Rome"}}}],
    }  # fmt: skip


def test_a_list_in_an_answer_is_no_call(tmp_path):
    row = {"messages": [{"role": "user", "content": "f?"}, {"role": "assistant", "content": "[f(x=1)]"}]}
    assert first(tmp_path, row)["messages"][1] == {"role": "assistant", "content": "[f(x=1)]"}


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
names = st.from_regex(r"[A-Za-z][A-Za-z0-9_. ]{0,10}[a-z]", fullmatch=True)


arguments_ = st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), values, max_size=4)


@given(st.lists(st.tuples(names, arguments_), min_size=1, max_size=3))
def test_calls_written_and_read_again_are_the_same(calls):
    written = ", ".join(
        f"{name}({', '.join(f'{key}={json.dumps(value)}' for key, value in arguments.items())})"
        for name, arguments in calls
    )
    said, found = calls_in(f"[{written}]")
    assert said == "" and [(one["function"]["name"], one["function"]["arguments"]) for one in found] == calls


@given(st.text(alphabet="[]()={},\"'\\ab 1:"))
def test_any_text_is_a_call_or_left_alone(text):
    said, found = calls_in(f"[{text}]")
    assert found or said == f"[{text}]"
