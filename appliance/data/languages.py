"""Which language a text is in: by its script, and where many languages share one, by their commonest words."""

from __future__ import annotations

import re
from collections import Counter

from appliance.locale import _, marked

_READ = 400  # characters of a text that are looked at

NAMES = {
    "zh": marked("Chinese"), "en": marked("English"), "ja": marked("Japanese"), "ko": marked("Korean"),
    "ru": marked("Russian"), "ar": marked("Arabic"), "fa": marked("Persian"), "th": marked("Thai"),
    "hi": marked("Hindi"), "he": marked("Hebrew"), "el": marked("Greek"), "de": marked("German"),
    "fr": marked("French"), "es": marked("Spanish"), "pt": marked("Portuguese"), "it": marked("Italian"),
    "nl": marked("Dutch"), "vi": marked("Vietnamese"), "id": marked("Indonesian"), "tr": marked("Turkish"),
    "pl": marked("Polish"), "other": marked("other"),
}  # fmt: skip

# A character of the first scripts stands for about a word, a letter of the others for a fifth of one.
_SCRIPTS = {
    "ja": (re.compile("[\u3041-\u30ff]"), 1.0),
    "zh": (re.compile("[\u3400-\u4dbf\u4e00-\u9fff]"), 1.0),
    "ko": (re.compile("[\uac00-\ud7a3]"), 0.6),
    "ru": (re.compile("[\u0400-\u04ff]"), 0.2),
    "ar": (re.compile("[\u0600-\u06ff]"), 0.25),
    "th": (re.compile("[\u0e00-\u0e7f]"), 0.25),
    "hi": (re.compile("[\u0900-\u097f]"), 0.25),
    "he": (re.compile("[\u0590-\u05ff]"), 0.25),
    "el": (re.compile("[\u0370-\u03ff]"), 0.2),
}
_RARE = re.compile("[\u0370-\u06ff\u0900-\u097f\u0e00-\u0e7f\u3041-\u30ff\uac00-\ud7a3]")  # all but Chinese and Latin
_LATIN = re.compile("[A-Za-z\u00c0-\u024f\u1e00-\u1eff]+")
_PERSIAN = re.compile("[\u067e\u0686\u0698\u06af]")
_WORDS = {
    "en": "the and of to is in that you for it what are with this how can be on was",
    "de": "der die und ist das nicht ein eine ich zu mit sie den von wie auf für im es",
    "fr": "le la les et est un une des pour que dans vous qui pas du ce il je sur",
    "es": "el la los y es un una que de en para por con se qué como del las su",
    "pt": "o os e é um uma que para não com em do da no na por mais como você",
    "it": "il e è un una che di per non con del della sono come gli nel si più la",
    "nl": "de het een en is van ik niet je dat op te voor met zijn wat hoe er",
    "vi": "là và của có không được một cho những tôi bạn trong các với này đã người",
    "id": "yang dan di untuk dengan adalah ini itu dari tidak ada apa anda saya pada akan",
    "tr": "bir ve bu için ne çok da de ile mi olarak daha gibi var ben değil",
    "pl": "w nie się jest że jak czy dla od są jego przez oraz który może tylko",
}
_TELLS: dict[str, list[str]] = {}  # word -> the languages in which it is common
for _code, _common in _WORDS.items():
    for _word in _common.split():
        _TELLS.setdefault(_word, []).append(_code)


def language(text: str) -> str:
    """The language of most of a text's beginning, as an ISO 639-1 code; `other` where there is nothing to go by."""
    start = text[:_READ]
    words = _LATIN.findall(start)
    weights: dict[str, float] = {"latin": float(len(words))}
    if not start.isascii():
        weights["latin"] *= 0.6  # terms and names stand in texts of every language
        rare = _RARE.search(start) is not None
        for code, (pattern, weight) in _SCRIPTS.items():
            weights[code] = weight * len(pattern.findall(start)) if rare or code == "zh" else 0.0
        if weights["ja"] and weights["ja"] * 4 > weights["zh"]:  # kana stand between the characters
            weights["ja"] += weights.pop("zh")
    best = max(weights, key=lambda code: weights[code])
    if not weights[best]:
        return "other"
    if best == "latin":
        return _latin([word.lower() for word in words])
    return "fa" if best == "ar" and _PERSIAN.search(start) else best


def _latin(words: list[str]) -> str:
    counts = dict.fromkeys(_WORDS, 0)
    for word in words:
        for code in _TELLS.get(word, ()):
            counts[code] += 1
    best = max(counts, key=lambda code: counts[code])
    # A few words without any that tells (a name, a formula) are most often from an English row.
    return best if counts[best] else "en" if len(words) < 12 else "other"


def shares(counted: Counter[str]) -> list[dict[str, str | float]]:
    """[{language, share}] of all that were looked at, the most frequent first; shares from 0 to 1."""
    total = counted.total()
    return [{"language": code, "share": round(count / total, 4)} for code, count in counted.most_common()]


def sentence(found: list[dict[str, str | float]]) -> str:
    """Those above half a percent, in words."""
    some = [item for item in found if float(item["share"]) >= 0.005]
    names = [NAMES[str(item["language"])] for item in some]
    return ", ".join(
        _("{language} {percent}%").format(language=_(name), percent=round(100 * float(item["share"])))
        for name, item in zip(names, some, strict=True)
    )
