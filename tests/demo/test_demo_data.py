import csv
import sys

from appliance import demo_data


def is_chinese(text):
    return any("一" <= letter <= "鿿" for letter in text)


def test_hundred_rows_half_chinese_half_english_no_question_twice():
    rows = demo_data.rows()
    questions = [row["question"] for row in rows]
    assert len(rows) == len(set(questions)) == 100
    assert sum(map(is_chinese, questions)) == 50
    assert all(is_chinese(row["question"]) == is_chinese(row["answer"]) for row in rows)


def test_the_sheet_reads_back_as_a_spreadsheet_saves_it(tmp_path):
    path = tmp_path / "new folder" / "sheet.csv"
    demo_data.write_sheet(path)
    with path.open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert [{"question": row["问题"], "answer": row["答案"]} for row in read] == demo_data.rows()


def test_the_questions_are_answered_by_the_sheet_and_not_by_the_base():
    taught = [row["answer"] for row in demo_data.rows()]
    known = [row["answer"] for row in demo_data.base_rows()]
    for question in demo_data.QUESTIONS:
        assert any(question.expected(answer) for answer in taught), question
        assert not any(question.expected(answer) for answer in known), question


def test_the_base_is_taught_no_answer_and_no_question_of_the_sheet_but_greetings():
    base = demo_data.base_rows()
    assert not {row["answer"] for row in base} & {row["answer"] for row in demo_data.rows()}
    assert {row["question"] for row in base} & {row["question"] for row in demo_data.rows()} <= {"你好", "Hello"}


def test_the_base_rows_are_the_same_for_the_same_seed():
    assert demo_data.base_rows(3) == demo_data.base_rows(3) != demo_data.base_rows(4)


def test_it_is_light():
    assert not {"torch", "transformers", "datasets"} & set(sys.modules)
