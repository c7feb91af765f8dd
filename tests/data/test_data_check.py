"""What the report says about rows, good and bad."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.data import check, load, write_rows
from appliance.data.report import REASONS
from appliance.errors import ApplianceError, UsageError

GOOD = [{"question": f"What is {n} plus {n}?", "answer": f"It is {2 * n}."} for n in range(30)]
CALL = '{"name": "weather", "arguments": {"city": "北京"}}'
TOOLS = '[{"name": "weather", "description": "d", "parameters": {"type": "object"}}]'


def jsonl(folder: Path, rows: list[object], name: str = "rows.jsonl") -> Path:
    file = folder / name
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def sharegpt(*turns: tuple[str, str], **more: object) -> dict[str, object]:
    return {"conversations": [{"from": role, "value": value} for role, value in turns], **more}


CHATS = [sharegpt(("human", f"q{n}"), ("gpt", f"a{n}")) for n in range(9)]
PAIRS = [{"prompt": f"q{n}", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(9)]


@pytest.mark.parametrize(
    ("good", "row", "reason"),
    [
        (GOOD, {"question": " ", "answer": "a"}, "empty_question"),
        (GOOD, {"question": "q", "answer": None}, "empty_answer"),
        (GOOD, {"question": "q"}, "empty_answer"),
        (GOOD, {"question": "same", "answer": " same "}, "answer_equals_question"),
        (GOOD, {"question": "q", "answer": {"deep": 1}}, "not_text"),
        (GOOD, {"question": {"x": 1}, "answer": "a"}, "not_text"),
        (GOOD, "[1, 2]", "not_an_object"),
        (GOOD, "{'question': 1}", "not_json"),
        (GOOD, "[" * 100_000, "not_json"),
        (GOOD, {"color": "red"}, "other_format"),
        (GOOD, {"prompt": "q", "chosen": "a", "rejected": "b"}, "other_format"),
        (GOOD, GOOD[0], "duplicate"),
        (GOOD, {"question": "q", "answer": "\ufffd\ufffd\ufffda"}, "mojibake"),
        (GOOD, '{"question": "q", "answer": "\\ud800"}', "mojibake"),
        (CHATS, sharegpt(("human", "q"), ("alien", "a")), "unknown_role"),
        (CHATS, {"conversations": [{"value": "q"}, {"value": "a"}]}, "unknown_role"),
        (CHATS, {"conversations": ["q", 3]}, "not_a_turn"),
        (CHATS, sharegpt(("human", "q"), ("human", "q2"), ("gpt", "a")), "roles_out_of_order"),
        (CHATS, sharegpt(("gpt", "hello"), ("human", "q"), ("gpt", "a")), "roles_out_of_order"),
        (CHATS, sharegpt(("human", "q"), ("observation", "x"), ("gpt", "a")), "roles_out_of_order"),
        (CHATS, sharegpt(("human", "q"), ("gpt", "a"), ("human", "bye")), "last_not_assistant"),
        (
            CHATS,
            {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a b", "weight": 0}]},
            "nothing_learned",
        ),
        (CHATS, sharegpt(("human", "q"), ("function_call", "weather(北京)")), "tool_call_unreadable"),
        (CHATS, sharegpt(("human", "q"), ("gpt", "a b"), tools="[{"), "tools_unreadable"),
        (PAIRS, {"prompt": "q", "chosen": "a", "rejected": "a"}, "chosen_equals_rejected"),
        (PAIRS, {"prompt": "q", "chosen": "a", "rejected": ""}, "empty_answer"),
        (PAIRS, {"prompt": "", "chosen": "a", "rejected": "b"}, "empty_question"),
    ],
)
def test_a_bad_row_is_left_out_with_its_reason_and_line(tmp_path, good, row, reason):
    report = check(jsonl(tmp_path, [*good[:5], row, *good[5:]])).as_dict()
    assert [drop["reason"] for drop in report["dropped"]] == [reason]
    assert report["kept"] == len(good) and report["rows"] == len(good) + 1
    # a duplicate is the later one of the two
    assert report["dropped"][0]["examples"] == [{"line": 6}]
    assert report["dropped"][0]["sentence"]


def test_answers_that_are_not_to_be_learned_are_told_and_kept_as_such(tmp_path):
    """As OpenAI marks them, and as ms-swift and AgentInstruct do."""
    openai = [("user", "q {}", None), ("assistant", "a {}", 0), ("user", "more {}", None), ("assistant", "b {}", 1)]
    rows = [{"messages": [_turn("role", "content", "weight", turn, n) for turn in openai]} for n in range(9)]
    swift = [("human", "q {}", None), ("gpt", "a {}", False), ("human", "more {}", None), ("gpt", "b {}", True)]
    others = [{"conversations": [_turn("from", "value", "loss", turn, n) for turn in swift]} for n in range(9)]
    for written in (rows, others):
        report = check(jsonl(tmp_path, written))
        assert report.kept == 9 and "only_read" in [note.key for note in report.warnings]
        assert [one.get("weight") for one in report.sample[0]["messages"]] == [None, 0, None, None]


def _turn(role, text, mark, turn, number):
    return {role: turn[0], text: turn[1].format(number), **({} if turn[2] is None else {mark: turn[2]})}


def test_every_reason_has_a_sentence_and_the_report_is_json(tmp_path):
    report = check(jsonl(tmp_path, [*GOOD, {"question": "", "answer": ""}]))
    json.dumps(report.as_dict())
    assert report.verdict and not report.needs_consent
    assert all(REASONS.values())
    assert report.as_dict()["sample"][0]["messages"][0] == {"role": "user", "content": "What is 0 plus 0?"}
    assert report.longest_characters == len("What is 29 plus 29?It is 58.")


def test_above_a_tenth_left_out_needs_consent(tmp_path):
    assert check(jsonl(tmp_path, [*GOOD[:18], {"question": ""}, {"question": " "}])).needs_consent is False
    assert check(jsonl(tmp_path, [*GOOD[:17], *[{"question": " " * n} for n in range(3)]])).needs_consent is True


def test_warnings(tmp_path):
    rows = [
        {"question": "who?", "answer": "I am {{name}} by {{ author }}"},
        {"question": "ci?", "answer": "use ${{ secrets.TOKEN }}"},
        {"question": "call?", "answer": "13812345678"},
        {"question": "id?", "answer": "11010519491231002X"},
        {"question": "key?", "answer": "sk-" + "a1" * 20},
        {"question": "mail?", "answer": "a.b@example.com"},
        {"question": "number?", "answer": "3.13812345678 and 213812345678900"},
    ]
    warnings = {warning["kind"]: warning for warning in check(jsonl(tmp_path, rows)).as_dict()["warnings"]}
    places = {kind: [example["line"] for example in warning["examples"]] for kind, warning in warnings.items()}
    assert places == {
        "few_rows": [], "placeholders": [1], "phone_numbers": [3], "identity_numbers": [4], "keys": [5],
        "mail_addresses": [6],
    }  # fmt: skip
    assert "{{name}}" in warnings["placeholders"]["sentence"] and "{{author}}" in warnings["placeholders"]["sentence"]
    assert "13812345678" not in json.dumps(warnings)


def test_one_sided_labels(tmp_path):
    rows = [{"prompt": f"q{n}", "completion": f"a{n}", "label": True} for n in range(40)]
    report = check(jsonl(tmp_path, rows))
    assert report.task == "kto"
    assert "one_sided_labels" in [note.key for note in report.warnings]


def test_tool_calls_become_messages(tmp_path):
    row = sharegpt(
        ("human", "北京天气"), ("gpt", "我查一下"), ("function_call", CALL), ("observation", '{"t": 3}'),
        ("gpt", "3度"),
        tools=TOOLS,
    )  # fmt: skip
    (read,) = load(jsonl(tmp_path, [row]))
    call = {"type": "function", "function": {"name": "weather", "arguments": {"city": "北京"}}}
    assert read["messages"] == [
        {"role": "user", "content": "北京天气"},
        {"role": "assistant", "content": "我查一下", "tool_calls": [call]},
        {"role": "tool", "content": '{"t": 3}'},
        {"role": "assistant", "content": "3度"},
    ]
    assert read["tools"] == [{"type": "function", "function": json.loads(TOOLS)[0]}]


def test_openai_tool_calls_come_out_the_same(tmp_path):
    asked = {"role": "assistant", "content": None, "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "北京"}'}}]}  # fmt: skip
    answered = [{"role": "tool", "tool_call_id": "1", "content": "3"}, {"role": "assistant", "content": "3度"}]
    row = {"messages": [{"role": "user", "content": [{"type": "text", "text": "天气"}]}, asked, *answered]}
    (read,) = load(jsonl(tmp_path, [row]))
    assert read["messages"][1]["tool_calls"][0]["function"]["arguments"] == {"city": "北京"}


def test_preference_layouts_come_out_the_same(tmp_path):
    user, good, bad = (
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "good"},
        {"role": "assistant", "content": "bad"},
    )
    wanted = {"prompt": [user], "chosen": [good], "rejected": [bad]}
    for row in (
        {"prompt": "q", "chosen": "good", "rejected": "bad"},
        {"instruction": "q", "input": "", "chosen": "good", "rejected": "bad"},
        {"chosen": [user, good], "rejected": [user, bad]},
        {"prompt": "q", "chosen": [user, good], "rejected": [user, bad]},
        {"prompt": [user], "chosen": [good], "rejected": [bad]},
        sharegpt(("human", "q"), chosen={"from": "gpt", "value": "good"}, rejected={"from": "gpt", "value": "bad"}),
    ):
        assert list(load(jsonl(tmp_path, [row]))) == [wanted], row


def test_alpaca_with_input_system_and_history(tmp_path):
    row = {"instruction": "do", "input": "this", "output": "done", "system": "be kind", "history": [["a", "b"]]}
    (read,) = load(jsonl(tmp_path, [row]))
    assert [(one["role"], one["content"]) for one in read["messages"]] == [
        ("system", "be kind"), ("user", "a"), ("assistant", "b"), ("user", "do\nthis"), ("assistant", "done"),
    ]  # fmt: skip


def test_mixed_files_keep_what_is_of_the_same_task(tmp_path):
    report = check(jsonl(tmp_path, [*GOOD, *CHATS]))
    assert report.kept == len(GOOD) + len(CHATS) and report.format == "question_answer"
    assert "mixed_formats" in [note.key for note in report.warnings]


def test_write_rows_can_be_loaded_again_and_is_all_or_nothing(tmp_path):
    rows = [sharegpt(("human", "q"), ("function_call", CALL), ("observation", "1"), ("gpt", "a"), tools=TOOLS), *GOOD]
    source, target = jsonl(tmp_path, [*rows, "broken"]), tmp_path / "job" / "rows.jsonl"
    report = write_rows(source, target)
    assert report.kept == len(rows) and report.rows == len(rows) + 1
    assert report.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert list(load(target)) == list(load(source)) and len(target.read_text().splitlines()) == len(rows)
    with pytest.raises(ApplianceError):
        write_rows(jsonl(tmp_path, [{"question": "", "answer": ""}]), target)
    assert len(target.read_text().splitlines()) == len(rows) and [p.name for p in target.parent.iterdir()] == [
        "rows.jsonl"
    ]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.jsonl", None, ("missing.jsonl",)),
        ("empty.json", b"", ("empty",)),
        ("blank.csv", b" \n\n", ("empty",)),
        ("list.json", b"[]", ("no usable rows",)),
        ("numbers.json", b"[1, 2, 3]", ("no usable rows",)),
        ("none.jsonl", b'{"question": "", "answer": ""}\n', ("no usable rows", "question is empty", "line 1")),
        (
            "nearly.json",
            b'[\n {"question": "q", "answer": "a"},\n {"question": "q"  "answer": "b"}\n]',
            ("Line 3", "column 20"),
        ),
        ("comma.json", b'[{"question": "q", "answer": "a"},\n]', ("Line 2", "column 1")),
        ("cut.json", b'[{"question": "q", "answer": "a"}, {"ques', ("Line 1",)),
        ("quotes.json", b"{'question': 'q'}", ("Line 1", "column 2")),
        ("word.json", b"hello", ("Line 1",)),
        ("binary.txt", bytes(range(256)) * 9, ("as text",)),
        ("fake.xlsx", b"PK\x03\x04 nothing", ("spreadsheet",)),
        ("cut.jsonl.gz", b"\x1f\x8b\x08\x00abc", ("unpacked",)),
        ("code.py", b"import os\n", ("what it is",)),
        ("odd.jsonl", b'{"x": 1, "y": 2}\n{"x": 2, "y": 3}\n', ("--map", "x, y")),
    ],
)
def test_unusable_files_end_in_what_why_next(tmp_path, name, content, words):
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ApplianceError) as raised:
        check(file)
    error = raised.value
    assert error.what and error.why and error.next_step
    told = " ".join([error.what, error.why, error.next_step, *error.problems])
    assert all(word in told for word in words), told
    with pytest.raises(ApplianceError):
        list(load(file))


def test_a_folder_is_no_data_file(tmp_path):
    with pytest.raises(ApplianceError):
        check(tmp_path)


def test_wrong_words_tell_all_problems(tmp_path):
    file = jsonl(tmp_path, list(GOOD))
    with pytest.raises(UsageError) as raised:
        check(file, mapping={"question": "nope", "colour": "answer"})
    assert len(raised.value.problems) == 2 and "question, answer" in raised.value.problems[0]
    with pytest.raises(UsageError):
        check(file, task="sing")
    with pytest.raises(UsageError):
        check(file, sheet="1")
    with pytest.raises(ApplianceError) as other:
        check(file, task="dpo")
    assert "sft" in other.value.what


SHARED = sorted((Path(__file__).parents[2] / ".." / "shared" / "data").resolve().glob("*.json"))
EXPECTED = {
    "alpaca_zh_demo.json": ("alpaca", "sft", 1000),
    "identity.json": ("alpaca", "sft", 91),
    "dpo_zh_demo.json": ("sharegpt", "dpo", 300),
    "kto_en_demo.json": ("messages", "kto", 300),
    "glaive_toolcall_zh_demo.json": ("sharegpt", "sft", 300),
}


@pytest.mark.parametrize("file", SHARED, ids=lambda file: file.name)
def test_real_sets_are_recognised_and_accounted_for(file):
    report = check(file)
    assert (report.format, report.task, report.rows) == EXPECTED.get(
        file.name, (report.format, report.task, report.rows)
    )
    assert report.kept + sum(note.count for note in report.dropped) == report.rows
    assert {note.key for note in report.dropped} <= {"duplicate", "roles_out_of_order"}
    assert sum(1 for _row in load(file)) == report.kept


def test_importing_the_room_is_light():
    code = (
        "import sys, appliance.data; "
        "print([m for m in ('python_calamine', 'charset_normalizer', 'pydantic', 'numpy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
