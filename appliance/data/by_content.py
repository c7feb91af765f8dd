"""What columns hold, where no header says it: questions and answers, articles, classes, turns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from appliance.data import words
from appliance.data.convert import Layout
from appliance.data.shown import named_images

_CLASS_NAME = 40  # characters at most
_ARTICLE = 80  # characters: what is longer below a title is an article rather than an answer
_SENTENCES = 400  # characters: a longer text is more than a remark
# Of a turn.
_WHO = {"role", "from", "speaker", "角色"}
_WHAT = {"content", "value", "text", "utterance", "sentence", "内容"}

# Columns that tell about a row: what stands in them asks for nothing and answers nothing.
_ABOUT = re.compile(
    r"(^|_)(u?u?id|idx|index|url|link|path|file|name|lang|language|date|time|timestamp|source|version|license|type|kind"
    r"|category|label|domain|split|task|dataset|model|author|topic|subject|level|difficulty|role|hash|license|locale"
    r"|worker|batch|seed|repo|commit|meta|metadata|tags?|genre|website|subdomain)(_?\w{0,2})?\W*$"
    r"|编号|序号|日期|时间|姓名|部门|人员|电话|手机|邮箱|工号|状态|来源|链接|版本|价格|数量|单位"
)


def layout(
    sample: Sequence[Mapping[str, Any]], keys: Sequence[str], said: Mapping[str, str], task: str | None
) -> Layout | None:
    """Question and answer by what the columns hold: of two columns of sentences, the longer one answers."""
    known = {**words.match(key for key in keys if key not in set(said.values())), **said}
    taken = {known[field] for field in ("question", "answer") if field in known}
    lengths: dict[str, float] = {}
    for key in keys:
        values = [record[key] for record in sample if isinstance(record.get(key), str) and record[key].strip()]
        if len(values) * 2 < max(1, len(sample)) or key in taken or _ABOUT.search(words.plain(key)):
            continue
        if values[0].startswith(("data:", "http://", "https://")) or values[0].strip() in ("{}", "[]"):
            continue
        repeated = len(values) >= 10 and len(set(values)) * 10 < len(values) * 3  # a category
        numeric = sum(value.strip().replace(".", "", 1).isdigit() for value in values) * 2 > len(values)
        if not repeated and not numeric:
            lengths[key] = sum(map(len, values)) / len(values)
    by_length = sorted(lengths, key=lambda key: -lengths[key])
    shown = known.get("images", "")
    alone = len(by_length) == 1 and not taken
    if alone and task in (None, "sft") and any(named_images(row.get(shown)) for row in sample):
        return Layout("caption", "sft", {"answer": by_length[0], "images": shown}, guessed=True)
    if task == "pretrain" or (alone and task is None):
        return Layout("text", "pretrain", {"text": by_length[0]}, guessed=True) if by_length else None
    if task not in (None, "sft"):
        return None
    if len(by_length) + len(taken) < 2 or not by_length:
        return None
    if "question" in known:
        pair = (known["question"], by_length[0])
    elif "answer" in known:
        pair = (by_length[0], known["answer"])
    else:
        longer, other = by_length[0], by_length[1]
        if lengths[longer] < 1.2 * lengths[other]:  # about the same: the left one asks
            other, longer = sorted((longer, other), key=list(keys).index)
        pair = (other, longer)
    fields = {"question": pair[0], "answer": pair[1]}
    fields.update(
        {field: known[field] for field in known if field in ("system", "tools", "thought") and known[field] not in pair}
    )
    return Layout("question_answer", "sft", fields, guessed=True)


def are_articles(records: Iterable[tuple[Mapping[str, Any], Mapping[str, str]]]) -> bool:
    """Whether the titles in these (row, what its keys mean) ask nothing, and what stands below them is long."""
    pairs = [
        (str(record.get(fields["question"]) or ""), str(record.get(fields["answer"]) or ""))
        for record, fields in records
        if words.is_article(fields)
    ]
    asking = sum(title.strip().endswith(("?", "？", "吗", "呢")) for title, _text in pairs)
    long = sum(len(text) > _ARTICLE for _title, text in pairs)
    return long * 2 > len(pairs) and asking * 2 < len(pairs)


def class_of(record: Mapping[str, Any], text: str) -> str | None:
    """The column that says of which class a text is; None where there is none, or another one that could be meant."""
    plain = {words.plain(key): key for key in reversed(list(record)) if key != text}
    found = [plain[name] for name in words.CLASSES if name in plain and _is_class(record[plain[name]])]
    others = [key for key, value in record.items() if key not in (*found, text) and isinstance(value, str) and value]
    # A long text with more beside it than its class is one to read.
    return found[0] if found and not (others and len(str(record.get(text))) > _SENTENCES) else None


def _is_class(value: Any) -> bool:
    plain = isinstance(value, (str, int)) or (isinstance(value, float) and value.is_integer())
    return plain and 0 < len(str(value)) <= _CLASS_NAME


def are_turns(value: Any) -> bool:
    """Whether a list says in each of its objects who speaks and what."""
    return (
        isinstance(value, list)
        and len(value) > 1
        and all(isinstance(one, dict) and _WHO & one.keys() and _WHAT & one.keys() for one in value)
    )


def several(answers: Any) -> bool:
    """Whether these are several answers of which each is right."""
    if isinstance(answers, dict):
        answers = answers.get("text", answers.get("spans"))
    texts = [one for one in answers if isinstance(one, str)] if isinstance(answers, list) else []
    return len(set(texts)) > 1
