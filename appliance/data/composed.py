"""Rows whose meaning stands in several columns together, written again in the words that `words.py` knows.

    sides      two answers and which is better: response_0, response_1, better_response_id; conversation_a, …, winner
    ranked     several answers with scores or ranks: the best is chosen, the worst rejected
    options    a question with options A, B, C … (in columns, a list or an object) and the letter of the right one
    pieces     a document in paragraphs
    rewarded   a prompt, and the right answer inside `reward_model` (verl)
    captions   pictures with several questions and answers under `texts`

Each takes a raw row and returns one with plainer columns, or None when the row is none of its kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from appliance.data import words
from appliance.data.rows import Unusable

Record = Mapping[str, Any]

_SIDE = re.compile(r"^(?P<stem>.*?)[_ ]?(?P<side>[01234abjk甲乙]|[一二])(?:的)?(?P<rest>(?:[_ ].*)?)$", re.I)
_ANSWERS = re.compile(r"response|answer|completion|output|conversation|human_ref|candidate|回答|回复|答案|输出", re.I)
_CHOICES = (
    "better_response_id", "better_response", "better", "preferred", "preference", "winner", "choice", "chosen_id",
    "preferred_response", "labels", "label", "更好", "更好的", "选择", "胜者", "偏好", "优选",
)  # fmt: skip
_FIRST, _SECOND = {"0", "a", "j", "甲", "一"}, {"1", "b", "k", "乙", "二"}
_SCORES = ("overall_score", "score", "rating", "reward", "评分", "得分", "分数")
_LISTS = ("completions", "responses", "answers", "responses_and_scores", "candidates", "outputs", "generations")
_TEXTS = ("response", "answer", "text", "output", "completion", "content")
_LETTER = re.compile(r"^(?:选项|option)?[ _]?([A-H])(?:选项)?$", re.I)
_OPTIONS = ("choices", "options", "选项")
_RIGHT = ("answer", "answerkey", "answer_key", "correct_answer", "correct", "label", "答案", "正确答案", "标准答案")
_PIECES = ("paragraphs", "段落", "sentences", "lines")
_KEPT = ("system", "tools", "images", "history")


def restated(record: Record) -> Record:
    """The row in plainer columns; itself when it is of none of these kinds. Raises Unusable."""
    for kind in _KINDS:
        if (plainer := kind(record)) is not None:
            return plainer
    return record


def is_composed(record: Record) -> bool:
    """Whether `restated` would read this row in its own way."""
    try:
        return restated(record) is not record
    except Unusable:
        return True


def _question(record: Record, without: Sequence[str]) -> Any:
    """What is asked, beside the columns that answer; with what is to be read for it. None where nothing is asked."""
    found = words.match(key for key in record if key not in without)
    asked = record.get(found["question"]) if "question" in found else None
    if asked is None and "history" in found:  # all that was said before (SHP)
        asked = record.get(found["history"])
    if isinstance(asked, dict):  # WebGPT
        asked = next((asked[key] for key in ("full_text", "text", "question") if isinstance(asked.get(key), str)), None)
    read = record.get(found["input"]) if "input" in found else None
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
    talk = isinstance(record[first], list)
    if not talk and asked is None:
        return None
    row = {"chosen": record[chosen], "rejected": record[rejected], **_beside(record, (first, second))}
    return row if talk else {"prompt": asked, **row}


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
    marks = tuple(match["side"] for key in (first, second) if (match := _SIDE.match(key)))
    for name in _SCORES:
        scored = [record.get(plain.get(f"{name}_{mark}".lower(), "")) for mark in marks]
        if len(scored) == 2 and all(_number(score) is not None for score in scored):
            return float(scored[1]) - float(scored[0])  # type: ignore[arg-type]
    strength = _number(record.get("preference_strength"))  # HelpSteer: negative where the first is better
    if strength is not None:
        return strength
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
    """Several answers with scores, or with ranks of which the lowest is the best."""
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
    return None


def _scored(record: Record, value: list[Any]) -> list[tuple[float, str]] | None:
    if all(isinstance(one, str) for one in value):
        for name in ("scores", "ratings", "rewards", "overall_scores"):
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
    lettered = {match[1].upper(): key for key in record if (match := _LETTER.match(key.strip()))}
    plain = {words.plain(key): key for key in record}
    offered = next((plain[name] for name in _OPTIONS if name in plain), "")
    texts: dict[str, Any] = {}
    if offered:
        texts = _offered(record[offered])
    elif {"A", "B"} <= lettered.keys():
        texts = {letter: record[lettered[letter]] for letter in sorted(lettered)}
        texts = {letter: text for letter, text in texts.items() if text not in (None, "")}
    if len(texts) < 2:
        return None
    used = [offered, *lettered.values()]
    right = next((plain[name] for name in _RIGHT if name in plain and plain[name] not in used), None)
    asked = _question(record, [*used, right or ""])
    if right is None or not isinstance(asked, str) or not asked.strip():
        return None
    lines = [f"{letter}. {text}" for letter, text in texts.items()]
    return {"question": "\n".join([asked, *lines]), "answer": _letter(record[right], list(texts)),
            **_beside(record, [*used, right])}  # fmt: skip


def _offered(value: Any) -> dict[str, Any]:
    if isinstance(value, dict) and isinstance(value.get("text"), list) and isinstance(value.get("label"), list):  # ARC
        value = dict(zip(map(str, value["label"]), value["text"], strict=False))
    if isinstance(value, list):
        value = {chr(ord("A") + number): one for number, one in enumerate(value[:26])}
    plain = isinstance(value, dict) and all(isinstance(one, (str, int, float)) for one in value.values())
    return value if plain else {}


def _letter(value: Any, letters: list[str]) -> Any:
    """The right option's letter; a number counts from 0. Anything else stays as it is."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(letters):
        return letters[value] if not letters[0].isdigit() else str(value)
    return value


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


_KINDS: tuple[Callable[[Record], Record | None], ...] = (sides, ranked, options, rewarded, captions, pieces)
