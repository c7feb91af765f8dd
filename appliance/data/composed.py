"""Rows whose meaning stands in several columns together, written again in the words that `words.py` knows.

    sides      two answers and which is better: response_0, response_1, better_response_id; conversation_a, …, winner
    ranked     several answers with scores or ranks: the best is chosen, the worst rejected
    options    a question with options A, B, C … and the letter of the right one, see `options.py`
    two_texts  two texts and a label that says how they stand to each other
    languages  the same text in two languages
    several    several questions and their answers in two lists
    pieces     a document in paragraphs
    rewarded   a prompt, and the right answer inside `reward_model` (verl)
    captions   pictures with several questions and answers under `texts`

Each takes a raw row and returns one with plainer columns, or None when the row is none of its kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from appliance.data import options as offered
from appliance.data import words
from appliance.data.rows import Unusable, listed, message

Record = Mapping[str, Any]

_SIDE = re.compile(r"^(?P<stem>.*?)[_ ]?(?P<side>[01234abjk甲乙]|[一二])(?:的)?(?P<rest>(?:[_ ].*)?)$", re.I)
_ANSWERS = re.compile(r"response|answer|completion|output|conv|human_ref|candidate|回答|回复|答案|输出", re.I)
_CHOICES = (
    "better_response_id", "better_response", "better", "preferred", "preference", "winner", "choice", "chosen_id",
    "preferred_response", "overall_response", "better_answer", "labels", "label", "更好", "哪个更好",
    "哪个好", "更优", "胜出", "更好的", "选择", "胜者", "偏好", "优选",
)  # fmt: skip
_MODELS = ("winner", "chosen_model", "chosen_model_name", "preferred_model")
_FIRST, _SECOND = {"0", "a", "j", "甲", "一"}, {"1", "b", "k", "乙", "二"}
_SCORES = ("overall_score", "score", "pm_score", "rating", "reward", "评分", "得分", "分数")
_LISTS = (
    "completions", "responses", "answers", "responses_and_scores", "candidates", "outputs", "generations",
    "all_generated_responses",
)  # fmt: skip
_TEXTS = ("response", "answer", "text", "output", "completion", "content")
_COMPARED = (
    ("premise", "hypothesis"), ("sentence1", "sentence2"), ("sentence_1", "sentence_2"), ("text1", "text2"),
    ("text_1", "text_2"), ("question1", "question2"), ("query1", "query2"), ("text_a", "text_b"),
    ("sentence_a", "sentence_b"), ("句子1", "句子2"), ("文本1", "文本2"), ("前提", "假设"),
)  # fmt: skip
_TRANSLATED = (
    ("原文", "译文"), ("古文", "现代文"), ("文言文", "白话文"), ("文言文", "现代文"), ("source", "target"),
    ("src", "tgt"), ("source_text", "target_text"), ("src_text", "tgt_text"),
)  # fmt: skip
_LANGUAGES = {
    "en", "en_us", "en_gb", "zh", "zh_tw",
    "de", "fr", "ja", "ko", "ru", "es", "it", "pt", "ar", "cs", "nl", "pl", "vi", "th", "tr", "zh_cn",
    "english", "chinese", "中文", "英文", "英语", "汉语", "日文", "日语", "韩文", "韩语", "法语", "德语", "俄语",
    "西班牙语",
}  # fmt: skip
_PIECES = ("paragraphs", "段落", "sentences", "lines", "chapters")
_ROLES = ("user", "assistant")
_KEPT = ("system", "tools", "images", "history")


def restated(record: Record) -> Record:
    """The row in plainer columns; itself when it is of none of these kinds. Raises Unusable."""
    for kind in _KINDS:
        if (plainer := kind(record)) is not None:
            return plainer
    return record


def kind_of(record: Record) -> str:
    """As which of these kinds `restated` would read a row; "" for none."""
    for kind in _KINDS:
        try:
            found = kind(record) is not None
        except Unusable:
            found = True
        except RecursionError:
            found = False
        if found:
            return kind.__name__
    return ""


def _question(record: Record, without: Sequence[str]) -> Any:
    """What is asked, beside the columns that answer; with what is to be read for it. None where nothing is asked."""
    found = words.match(key for key in record if key not in without)
    asked = record.get(found["question"]) if "question" in found else None
    if asked is None and "history" in found:  # all that was said before (SHP)
        asked = record.get(found["history"])
    if asked is None and isinstance(told := record.get("info"), dict):  # a post or an article to sum up
        asked = told.get("post") or told.get("article")
    if isinstance(asked, dict):  # WebGPT
        asked = next((asked[key] for key in ("full_text", "text", "question") if isinstance(asked.get(key), str)), None)
    read = record.get(found["input"]) if "input" in found else None
    if asked is None and isinstance(read, list):  # the conversation before
        return read
    if isinstance(asked, str) and isinstance(read, str) and read.strip():
        return f"{asked}\n{read}"
    return asked


def _beside(record: Record, without: Sequence[str]) -> dict[str, Any]:
    found = words.match(key for key in record if key not in without)
    return {word: record[found[word]] for word in _KEPT if word in found and word != "history"}


def sides(record: Record) -> Record | None:
    """Two answers of which one is marked as better. Raises Unusable("no_preference") where neither is."""
    pair = two_answers(record)
    if pair is None:
        return None
    first, second = pair
    better = _better(record, first, second)
    if better is None:
        return None
    if better == 0:
        raise Unusable("no_preference")
    chosen, rejected = (first, second) if better < 0 else (second, first)
    asked = _question(record, (first, second))
    if (talks := _talks(asked, record[chosen], record[rejected])) is not None:
        return talks
    talk = isinstance(record[first], list)
    if not talk and asked is None:
        return None
    row = {"chosen": record[chosen], "rejected": record[rejected], **_beside(record, (first, second))}
    return row if talk else {"prompt": asked, **row}


def _talks(asked: Any, chosen: Any, rejected: Any) -> Record | None:
    """Whole conversations as lists in text, of what one side said each (Chatbot Arena)."""
    lists = [listed(one) if isinstance(one, str) else None for one in (asked, chosen, rejected)]
    if not all(one and all(isinstance(text, str) for text in one) for one in lists):
        return None
    said, better, worse = lists
    if not len(said) == len(better) == len(worse):  # type: ignore[arg-type]
        return None
    sides: dict[str, Any] = {}
    for side, texts in (("chosen", better), ("rejected", worse)):
        pairs = zip(said, texts, strict=True)  # type: ignore[arg-type]
        sides[side] = [message(role, text) for pair in pairs for role, text in zip(_ROLES, pair, strict=True)]
    return sides


def two_answers(record: Record) -> tuple[str, str] | None:
    """The two columns that hold answers, and are named alike but for their number or letter."""
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for key, value in record.items():
        match = _SIDE.match(key) if isinstance(value, (str, list)) and _ANSWERS.search(key) else None
        if match:
            found.setdefault((match["stem"].lower(), match["rest"].lower()), []).append((match["side"].lower(), key))
    for named in found.values():
        named.sort()
        letters = "".join(side for side, _key in named)
        if letters in ("01", "12", "ab", "jk") or {*letters} in ({"甲", "乙"}, {"一", "二"}):
            first, second = (key for _side, key in named)
            return (second, first) if letters[0] == "乙" else (first, second)
    return None


def _better(record: Record, first: str, second: str) -> float | None:
    """Below 0: the first is better; above 0: the second; 0: neither. None where nothing says it."""
    if first.lower().endswith("j") and second.lower().endswith("k"):  # StackExchange's pairs
        return -1
    plain = {words.plain(key): key for key in record}
    pair = (first, second)
    marks = tuple(match["side"] for key in pair if (match := _SIDE.match(key)))
    for name in _SCORES:
        named = [
            (f"{name}_{mark}".lower(), f"{words.plain(key)}_{name}") for mark, key in zip(marks, pair, strict=False)
        ]
        scored = [next((record[plain[key]] for key in keys if key in plain), None) for keys in named]
        if len(scored) == 2 and all(_number(score) is not None for score in scored):
            return float(scored[1]) - float(scored[0])  # type: ignore[arg-type]
    for name in ("preference_strength", "overall_preference"):  # HelpSteer: negative where the first is better
        if (strength := _number(record.get(name))) is not None:
            return strength
    won = [_number(record.get(f"winner_model_{mark}")) for mark in marks]
    if None not in won and len(won) == 2:
        return won[1] - won[0]  # type: ignore[operator]
    models = [record.get(f"model_{mark}", record.get(f"model_{mark}_name")) for mark in marks]
    if len(models) == 2 and None not in models and models[0] != models[1]:
        chosen = next((record[name] for name in _MODELS if record.get(name) in models), None)
        if chosen is not None:
            return -1 if chosen == models[0] else 1
    for name in _CHOICES:
        if name in plain and (said := _side_of(record[plain[name]], first, second)) is not None:
            return said
    return None


def _side_of(value: Any, first: str, second: str) -> float | None:
    """Which side a choice names."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    word = str(value).strip().lower()
    if word.startswith("tie") or word in ("both", "neither", "equal", "same", "平", "平局", "一样", "相同"):
        return 0
    ends = [name.lower() for name in (first, second)]
    if word in ends:
        return (-1, 1)[ends.index(word)]
    last = word.rsplit("_", 1)[-1].rsplit(" ", 1)[-1].removeprefix("回答").removeprefix("答案")
    counted_from_1 = ends[0][-1:] == "1"
    if last in ("1", "2") and counted_from_1:
        return -1 if last == "1" else 1
    return -1 if last in _FIRST else 1 if last in _SECOND else None


def ranked(record: Record) -> Record | None:
    """Several answers with scores, or with ranks of which the lowest is the best; or two and which was chosen."""
    for name in _LISTS:
        value = record.get(name)
        if not isinstance(value, list) or len(value) < 2:
            continue
        scored = _scored(record, value)
        asked = _question(record, (name,))
        if scored is None or asked is None:
            continue
        best, worst = max(scored), min(scored)
        if best[0] == worst[0]:
            raise Unusable("no_preference")
        return {"prompt": asked, "chosen": best[1], "rejected": worst[1], **_beside(record, (name,))}
    pair, choice = record.get("summaries"), record.get("choice")
    if isinstance(pair, list) and len(pair) == 2 and choice in (0, 1) and isinstance(choice, int):
        texts = [one.get("text") if isinstance(one, dict) else one for one in pair]
        if (asked := _question(record, ("summaries",))) is not None:
            return {"prompt": asked, "chosen": texts[choice], "rejected": texts[1 - choice]}
    return None


def _scored(record: Record, value: list[Any]) -> list[tuple[float, str]] | None:
    if all(isinstance(one, str) for one in value):
        for name in ("scores", "ratings", "rewards", "overall_scores", "all_rm_scores"):
            numbers = record.get(name)
            if isinstance(numbers, list) and len(numbers) == len(value):
                read = [_number(one) for one in numbers]
                return None if None in read else list(zip(read, value, strict=True))  # type: ignore[arg-type]
        return None
    found = []
    for one in value:
        text = next((one[key] for key in _TEXTS if isinstance(one.get(key), str)), None) if type(one) is dict else None
        if text is None:
            return None
        score = next((number for key in _SCORES if (number := _number(one.get(key))) is not None), None)
        rank = _number(one.get("rank"))
        if score is None and rank is not None:
            score = -rank
        if score is not None:  # one that nobody judged says nothing
            found.append((score, text))
    return found if len(found) > 1 else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value) if isinstance(value, (int, float, str)) else None
    except ValueError:
        return None
    return number if number == number else None


def options(record: Record) -> Record | None:
    """A question with options: they are asked with it, and the answer is the letter of the right one."""
    found = offered.restated(record, _question)
    return {**found[0], **_beside(record, found[1])} if found else None


def two_texts(record: Record) -> Record | None:
    """Two texts that are compared, and the label: what they are called stands before each."""
    plain = {words.plain(key): key for key in record}
    label = next((plain[name] for name in words.CLASSES if name in plain and record[plain[name]] is not None), None)
    pair = next((pair for pair in _COMPARED if pair[0] in plain and pair[1] in plain), None)
    if label is None or pair is None or {"answer", "output", "response", "chosen", "rejected"} & plain.keys():
        return None
    first, second = (record[plain[name]] for name in pair)
    if not (isinstance(first, str) and isinstance(second, str) and isinstance(record[label], (str, int, float))):
        return None
    if not (first.strip() and second.strip()):
        raise Unusable("empty_question")
    asked = f"{plain[pair[0]]}: {first}\n{plain[pair[1]]}: {second}"
    return {"question": asked, "answer": record[label]}


def languages(record: Record) -> Record | None:
    """A text and its translation: which of them asks has to be said."""
    pair = translated(record)
    if not pair or "question" in words.match(key for key in record if key not in pair):
        return None
    asked, answered = (record[key] for key in pair)
    return {"question": asked, "answer": answered} if isinstance(asked, str) and isinstance(answered, str) else None


def translated(columns: Iterable[str]) -> list[str]:
    """The two columns that hold the same in two languages; none where there are none or more."""
    plain = {words.plain(key): key for key in columns}
    pair: Sequence[str] = next((pair for pair in _TRANSLATED if pair[0] in plain and pair[1] in plain), ())
    pair = pair or [name for end in ("原文", "译文") for name in plain if name.endswith(end)]
    pair = pair or [name for name in plain if name in _LANGUAGES]
    return [plain[name] for name in pair] if len(pair) == 2 else []


def several(record: Record) -> Record | None:
    """Questions in one list and their answers in another: a conversation."""
    names = ("questions", "answers") if "questions" in record else ("turns", "reference")  # MT-Bench
    asked, answered = (record.get(name) for name in names)
    if isinstance(answered, dict):  # CoQA, QuAC
        answered = next((answered[key] for key in ("input_text", "texts", "text") if key in answered), None)
        answered = [one[0] if isinstance(one, list) and one else one for one in answered or ()]
    if not (isinstance(asked, list) and isinstance(answered, list) and len(asked) == len(answered) > 1):
        return None
    if not all(isinstance(one, str) for one in (*asked, *answered)):
        return None
    turns = [{"question": question, "answer": answer} for question, answer in zip(asked, answered, strict=True)]
    read = next((record[name] for name in ("story", "context", "passage") if isinstance(record.get(name), str)), "")
    return {"conversation": turns, **({"question": read} if read else {}), **_beside(record, names)}


def pieces(record: Record) -> Record | None:
    """A document in paragraphs, below its title."""
    plain = {words.plain(key): key for key in record}
    name = next((plain[name] for name in _PIECES if name in plain), None)
    if name is None or not isinstance(record[name], list) or {"question", "answer", "instruction"} & plain.keys():
        return None
    texts = []
    for one in record[name]:
        text = next((one[key] for key in ("内容", "text", "content") if key in one), None) if type(one) is dict else one
        if not isinstance(text, str):
            return None
        texts.append(text)
    title = next((record[plain[word]] for word in ("title", "标题") if word in plain), None)
    return {"text": "\n".join([*([title] if isinstance(title, str) and title.strip() else []), *texts])}


def rewarded(record: Record) -> Record | None:
    """A prompt with a right answer to compare with."""
    judged = record.get("reward_model")
    right = judged.get("ground_truth") if isinstance(judged, dict) else None
    several = listed(right)
    if several and isinstance(several[0], str):  # any of them is right (Skywork-OR1)
        right = several[0]
    if not isinstance(right, (str, int, float)) or "prompt" not in record:
        return None
    return {"prompt": record["prompt"], "answer": right, **_beside(record, ("prompt",))}


def captions(record: Record) -> Record | None:
    """Pictures with a conversation in `texts`: {"user": …, "assistant": …} each (the Cauldron)."""
    turns = record.get("texts")
    if not isinstance(turns, list) or not turns or "images" not in record:
        return None
    if not all(isinstance(one, dict) and {"user", "assistant"} <= one.keys() for one in turns):
        return None
    return {"conversation": turns, "images": record["images"]}


_KINDS: tuple[Callable[[Record], Record | None], ...] = (
    two_texts, options, sides, ranked, rewarded, captions, several, pieces, languages,
)  # fmt: skip
