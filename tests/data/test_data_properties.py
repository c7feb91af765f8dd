"""Rows written in every format come back the same; junk ends in a report or an ApplianceError."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spreadsheets import write_xlsx

from appliance.data import check, load, write_rows
from appliance.errors import ApplianceError


def repeatable(examples: int) -> settings:
    """The same examples every time, and no time limit on a busy machine."""
    return settings(max_examples=examples, derandomize=True, deadline=None)


# Text that is text: not blank, no carriage returns or control characters (csv and xml change those), no U+FFFD.
TEXT = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Co", "Cn"), exclude_characters="\ufffd\ufeff\u2028\u2029\x85"),
    max_size=40,
).map(str.strip)
SAID = TEXT.filter(bool).filter(lambda text: "锟斤拷" not in text).map("说：".__add__)
NAME = st.text("abcdefgh_", min_size=1, max_size=8)
CALLS = st.lists(
    st.tuples(
        NAME, st.dictionaries(NAME, st.one_of(TEXT, st.integers(-(10**6), 10**6), st.booleans(), st.none()), max_size=3)
    ),
    min_size=1,
    max_size=2,
)


def said(role, content):
    return {"role": role, "content": content}


@st.composite
def conversations(draw):
    """Messages in the internal form: a system message or none, then one to three exchanges, some with tools."""
    messages = [said("system", draw(SAID))] if draw(st.booleans()) else []
    for number in range(draw(st.integers(1, 3))):
        messages.append(said("user", draw(SAID)))
        if draw(st.booleans()):
            calls = [
                {"type": "function", "function": {"name": name, "arguments": arguments}}
                for name, arguments in draw(CALLS)
            ]
            messages.append({"role": "assistant", "content": "", "tool_calls": calls})
            messages += [said("tool", draw(SAID)) for _call in calls]
        messages.append(said("assistant", f"答{number}：" + draw(SAID)))
    return messages


TOOLS = st.lists(
    st.builds(lambda name: {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}, NAME),
    max_size=2,
)


def unique(rows):
    return list({json.dumps(row, ensure_ascii=False, sort_keys=True): row for row in rows}.values())


@st.composite
def sft(draw):
    rows = []
    for messages in draw(st.lists(conversations(), min_size=1, max_size=5)):
        tools = draw(TOOLS)
        rows.append({"messages": messages, **({"tools": tools} if tools else {})})
    return unique(rows)


PLAIN = st.lists(st.tuples(SAID, SAID.map("答".__add__)), min_size=2, max_size=8, unique=True)


def read_back(name, content, wanted, **words):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.write_bytes(content)
        assert list(load(file, **words)) == wanted
        report = check(file, **words)
        assert report.kept == report.rows == len(wanted)


def as_jsonl(objects):
    return "\n".join(json.dumps(one, ensure_ascii=False) for one in objects).encode()


def sharegpt(messages):
    turns = []
    names = {"user": "human", "assistant": "gpt", "tool": "observation", "system": "system"}
    for one in messages:
        if "tool_calls" in one:
            turns.append(
                {"from": "function_call", "value": json.dumps([call["function"] for call in one["tool_calls"]])}
            )
        else:
            turns.append({"from": names[one["role"]], "value": one["content"]})
    return turns


@given(sft())
@repeatable(60)
def test_messages(rows):
    read_back("rows.jsonl", as_jsonl(rows), rows)
    read_back("rows.json", json.dumps(rows, indent=2).encode("utf-8-sig"), rows)
    read_back("rows.json", json.dumps({"data": rows}, ensure_ascii=False).encode("utf-16"), rows)


@given(sft())
@repeatable(60)
def test_openai_tool_calls_with_arguments_as_text(rows):
    written = json.loads(json.dumps(rows))
    for row in written:
        for one in row["messages"]:
            for call in one.get("tool_calls", ()):
                call["function"]["arguments"] = json.dumps(call["function"]["arguments"])
    read_back("rows.jsonl", as_jsonl(written), rows)


@given(sft())
@repeatable(60)
def test_sharegpt(rows):
    written = [
        {
            "conversations": sharegpt(row["messages"]),
            "tools": json.dumps([tool["function"] for tool in row.get("tools", [])], ensure_ascii=False),
        }
        for row in rows
    ]
    read_back("rows.json", json.dumps(written, ensure_ascii=False).encode(), rows)
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["conversations", "tools"])
    table.writerows([json.dumps(one["conversations"]), one["tools"]] for one in written)
    read_back("rows.csv", text.getvalue().encode(), rows)


@given(sft())
@repeatable(60)
def test_the_snapshot_of_a_job(rows):
    with tempfile.TemporaryDirectory() as folder:
        file, copy = Path(folder) / "rows.jsonl", Path(folder) / "copy.jsonl"
        file.write_bytes(as_jsonl(rows))
        write_rows(file, copy)
        assert list(load(copy)) == rows


@given(st.lists(st.tuples(conversations(), SAID, SAID), min_size=1, max_size=4))
@repeatable(60)
def test_preferences(drawn):
    rows = unique(
        {
            "prompt": messages[:-1],
            "chosen": [said("assistant", "好" + good)],
            "rejected": [said("assistant", "差" + bad)],
        }
        for messages, good, bad in drawn
    )
    read_back("rows.jsonl", as_jsonl(rows), rows)
    turns = [
        {
            "conversations": sharegpt(row["prompt"]),
            "chosen": {"from": "gpt", "value": row["chosen"][0]["content"]},
            "rejected": {"from": "gpt", "value": row["rejected"][0]["content"]},
        }
        for row in rows
    ]
    read_back("rows.json", json.dumps(turns).encode(), rows)
    whole = [{"chosen": r["prompt"] + r["chosen"], "rejected": r["prompt"] + r["rejected"]} for r in rows]
    read_back("rows.json", json.dumps(whole).encode(), rows)


@given(st.lists(st.tuples(conversations(), st.booleans()), min_size=1, max_size=4))
@repeatable(60)
def test_labels(drawn):
    rows = unique({"prompt": m[:-1], "completion": m[-1:], "label": label} for m, label in drawn)
    read_back("rows.jsonl", as_jsonl(rows), rows)
    tagged = [{"conversations": sharegpt(r["prompt"] + r["completion"]), "kto_tag": r["label"]} for r in rows]
    read_back("rows.json", json.dumps(tagged).encode(), rows)
    labelled = [{"messages": r["prompt"] + r["completion"], "label": r["label"]} for r in rows]
    read_back("rows.json", json.dumps(labelled).encode(), rows)


@given(sft())
@repeatable(40)
def test_requests_and_answers(rows):
    def answered(row):
        last = json.loads(json.dumps(row["messages"][-1]))
        for call in last.get("tool_calls", ()):
            call["function"]["arguments"] = json.dumps(call["function"]["arguments"])
        return {"choices": [{"message": last}]}

    asked = [{**row, "model": "m", "messages": row["messages"][:-1]} for row in rows]
    plain = [{"request": one, "response": answered(row)} for one, row in zip(asked, rows, strict=True)]
    read_back("rows.jsonl", as_jsonl(plain), rows)
    texts = [{name: json.dumps(part) for name, part in one.items()} for one in plain]
    read_back("rows.jsonl", as_jsonl(texts), rows)
    traced = [{"input": one["request"], "output": row["messages"][-1]} for one, row in zip(plain, rows, strict=True)]
    read_back("rows.json", json.dumps(traced).encode(), rows)


CHATS = st.lists(
    st.lists(st.tuples(SAID, SAID.map("答".__add__)), min_size=2, max_size=4), min_size=2, max_size=4, unique_by=repr
)


@pytest.mark.parametrize(
    "head",
    ["2026-05-{day:02d} 10:{minute:02d}:00 {name}\n", "{name} 2026/5/{day} 10:{minute:02d}\n",
     "[{day:02d}.05.26, 10:{minute:02d}:00] {name}: ", "5/{day}/26, 10:{minute:02d} PM - {name}: ",
     "2026-05-{day:02d} 10:{minute:02d}:00 {name}(10001)\n"],
)  # fmt: skip
@given(CHATS)
@repeatable(15)
def test_saved_chats(head, drawn):
    rows = [
        {"messages": [said(*turn) for q, a in pairs for turn in (("user", q), ("assistant", a))]} for pairs in drawn
    ]
    text = "".join(
        head.format(day=day, minute=minute, name="李 四" if minute % 2 else "张三") + one["content"] + "\n\n"
        for day, row in enumerate(rows, 1)
        for minute, one in enumerate(row["messages"])
    )
    read_back("chat.txt", text.encode(), rows, mapping={"assistant": "李 四"})


@given(PLAIN)
@repeatable(20)
def test_questions_above_answers(drawn):
    rows = [{"messages": [said("user", question), said("assistant", answer)]} for question, answer in drawn]
    text = "".join(f"{n}. 问：{q}\n答：{a}\n\n" for n, (q, a) in enumerate(drawn, 1))
    read_back("faq.txt", text.encode(), rows)


@pytest.mark.parametrize(
    "names",
    [("instruction", "output"), ("prompt", "completion"), ("query", "response"), ("问题", "答案")],
    ids="-".join,
)
@given(PLAIN)
@repeatable(30)
def test_pairs_in_every_kind_of_file(names, drawn):
    rows = [{"messages": [said("user", question), said("assistant", answer)]} for question, answer in drawn]
    objects = [dict(zip(names, pair, strict=True)) for pair in drawn]
    read_back("rows.jsonl", as_jsonl(objects), rows)
    read_back("rows.jsonl.gz", gzip.compress(as_jsonl(objects), 1), rows)
    for name, mark, encoding in (
        ("a.csv", ",", "utf-8"), ("a.csv", ";", "utf-8-sig"), ("a.tsv", "\t", "utf-16"), ("a.csv", ",", "gb18030"),
    ):  # fmt: skip
        text = io.StringIO()
        table = csv.writer(text, delimiter=mark, quoting=csv.QUOTE_ALL)
        table.writerow(names)
        table.writerows(drawn)
        if encoding != "gb18030" or all(_is_everyday(part) for pair in drawn for part in pair):
            read_back(name, text.getvalue().encode(encoding), rows)


@given(PLAIN)
@repeatable(10)
def test_pairs_in_a_spreadsheet(drawn):
    rows = [{"messages": [said("user", question), said("assistant", answer)]} for question, answer in drawn]
    with tempfile.TemporaryDirectory() as folder:
        file = write_xlsx(Path(folder) / "rows.xlsx", {"Sheet1": [("问题", "答案"), *drawn]})
        read_back("rows.xlsx", file.read_bytes(), rows)


def _is_everyday(text):
    """Rare characters alone can't be told from another encoding's: Excel's Chinese files hold common ones."""
    return all(c.isascii() or "\u4e00" <= c <= "\u9fa5" for c in text.replace("说：", "").replace("答", ""))


ENDS = ["json", "jsonl", "csv", "tsv", "xlsx", "xls", "txt", "md", "jsonl.gz", "csv.gz", "bin", ""]
SEEDS = [
    b'[{"question": "q", "answer": "a"}, {"question": "q2", "answer": "a2"}]',
    b'{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}\n' * 2,
    b'{"conversations": [{"from": "human", "value": "q"}], "chosen": {}, "rejected": [], "history": 3, "tools": 1}',
    "问题,答案\n几点,九点\n".encode("gb18030"),
    gzip.compress(b'{"question": "q", "answer": "a"}'),
    b'{"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant"}], "label": {}}',
]


def survives(name, content):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.write_bytes(content)
        try:
            report = check(file)
        except ApplianceError as error:
            assert error.what and error.next_step
        else:
            assert report.kept + sum(note.count for note in report.dropped) == report.rows
            json.dumps(report.as_dict()).encode()


@given(st.sampled_from(ENDS), st.binary(max_size=300))
@repeatable(200)
def test_junk_bytes(ending, content):
    survives(f"junk.{ending}", content)


@given(st.sampled_from(ENDS), st.text(max_size=200))
@repeatable(60)
def test_junk_text(ending, content):
    survives(f"junk.{ending}", content.encode("utf-8", errors="replace"))


WORDS = st.sampled_from(["user", "assistant", "gpt", "[1]"])
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT, WORDS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["question", "answer", "messages", "conversations", "role", "content", "from", "value", "chosen",
                 "rejected", "prompt", "completion", "label", "kto_tag", "tools", "tool_calls", "function", "name",
                 "arguments", "text", "history", "system", "input", "instruction", "output", "x", "", "request",
                 "response", "choices", "body", "inputs", "outputs", "image", "image_1", "<image_00>", "qas", "context",
                 "thinking"]
            ),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=20,
)  # fmt: skip


@given(st.lists(JSON, max_size=5))
@repeatable(300)
def test_junk_objects(objects):
    survives("junk.jsonl", "\n".join(map(json.dumps, objects)).encode())
    survives("junk.json", json.dumps(objects).encode())


@given(
    st.sampled_from(SEEDS),
    st.sampled_from(ENDS),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4),
)
@repeatable(200)
def test_damaged_files(seed, ending, changes):
    content = bytearray(seed)
    for place, byte in changes:
        content[place % len(content)] = byte
    survives(f"damaged.{ending}", bytes(content))


@given(st.lists(st.tuples(st.integers(4, 3000), st.integers(0, 255)), max_size=4))
@repeatable(60)
def test_damaged_spreadsheets(changes):
    with tempfile.TemporaryDirectory() as folder:
        content = bytearray(write_xlsx(Path(folder) / "a.xlsx", {"a": [["问题", "答案"], ["q", 3.0]]}).read_bytes())
    for place, byte in changes:
        content[place % len(content)] = byte
    survives("damaged.xlsx", bytes(content))


@given(sft())
@repeatable(40)
def test_anthropic_blocks(rows):
    written = []
    for row in rows:
        turns, count = [], 0
        for one in row["messages"]:
            if "tool_calls" in one:
                blocks = [
                    {"type": "tool_use", "id": f"t{count}", "name": call["function"]["name"],
                     "input": call["function"]["arguments"]}
                    for call in one["tool_calls"]
                ]  # fmt: skip
                turns.append({"role": "assistant", "content": blocks})
            elif one["role"] == "tool":
                result = {
                    "type": "tool_result",
                    "tool_use_id": "t",
                    "content": [{"type": "text", "text": one["content"]}],
                }
                if turns[-1]["role"] == "user" and isinstance(turns[-1]["content"], list):
                    turns[-1]["content"].append(result)
                else:
                    turns.append({"role": "user", "content": [result]})
            elif one["role"] != "system":
                turns.append({"role": one["role"], "content": [{"type": "text", "text": one["content"]}]})
        system = [one["content"] for one in row["messages"] if one["role"] == "system"]
        tools = [
            {"name": tool["function"]["name"], "input_schema": tool["function"]["parameters"]}
            for tool in row.get("tools", [])
        ]
        written.append({"messages": turns, **({"system": system[0]} if system else {}), "tools": tools})
    read_back("rows.jsonl", as_jsonl(written), rows)


@given(PLAIN)
@repeatable(40)
def test_pairs_in_turns_and_bare_texts(drawn):
    rows = [{"messages": [said("user", q), said("assistant", a)]} for q, a in drawn]
    read_back("a.jsonl", as_jsonl([{"conversation": [{"human": q, "assistant": a}]} for q, a in drawn]), rows)
    read_back("a.jsonl", as_jsonl([{"conversations": [q, a]} for q, a in drawn]), rows)
    chatml = [{"text": f"<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n{a}<|im_end|>\n"} for q, a in drawn]
    if not any("<|im_" in part for pair in drawn for part in pair):
        read_back("a.jsonl", as_jsonl(chatml), rows)
    turned = {"问题": {n: q for n, (q, _a) in enumerate(drawn)}, "答案": {n: a for n, (_q, a) in enumerate(drawn)}}
    read_back("a.json", json.dumps(turned).encode(), rows)


@given(st.lists(SAID.map("这是一段很长的文字，".__add__), min_size=1, max_size=6, unique=True))
@repeatable(40)
def test_plain_text_in_columns(texts):
    rows = [{"text": text} for text in texts]
    read_back("a.jsonl", as_jsonl(rows), rows)
    read_back("a.json", json.dumps([{"id": n, "title": "t", "text": t} for n, t in enumerate(texts)]).encode(), rows)


PNG = b"\x89PNG\r\n\x1a\n....IEND\xaeB`\x82"


@given(PLAIN)
@repeatable(20)
def test_images_in_every_layout(drawn):
    if any("<image>" in part or "[INST]" in part for pair in drawn for part in pair):
        return
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.png").write_bytes(PNG)
        rows = [
            {"messages": [said("user", f"<image>\n{q}"), said("assistant", a)], "images": ["a.png"]} for q, a in drawn
        ]
        shown = {"type": "image_url", "image_url": {"url": "a.png"}}
        layouts = [
            [{"image": "a.png", "conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]}
             for q, a in drawn],
            [{"images": ["a.png"], "messages": row["messages"]} for row in rows],
            [{"messages": [
                said("user", [shown, {"type": "text", "text": f"\n{q}"}]),
                said("assistant", a)]} for q, a in drawn],
            [{"image": "a.png", "question": q, "answer": a} for q, a in drawn],
            [{"conversations": [{"from": "user", "value": f"<img>a.png</img>\n{q}"}, {"from": "assistant", "value": a}]}
             for q, a in drawn],
            [{"image": {"<image_00>": "a.png"}, "conversations": [
                said("user", f"<image_00>\n{q}"), said("assistant", a)]} for q, a in drawn],
        ]  # fmt: skip
        for layout in layouts:
            file = Path(folder) / "rows.jsonl"
            file.write_bytes(as_jsonl(layout))
            assert list(load(file)) == rows
