"""Public data sets that people ask for, with their names at both hubs, so that they can be found with no network."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from appliance.data import languages
from appliance.errors import UsageError
from appliance.locale import _, marked

_FOLDER = Path(__file__).with_suffix("")
_TASKS = {
    "sft": marked("fine-tuning"),
    "dpo": marked("preferences"),
    "kto": marked("good and bad"),
    "pretrain": marked("pretraining"),
    "grpo": marked("answers to check"),
}
_ABOUT = {
    "agent": marked("tools and agents"), "books": marked("books"), "charts": marked("charts"), "chat": marked("chat"),
    "classification": marked("classification"), "code": marked("code"), "culture": marked("culture"),
    "customer service": marked("customer service"), "education": marked("education"), "finance": marked("finance"),
    "identity": marked("who am I"), "instructions": marked("instructions"), "knowledge": marked("knowledge"),
    "law": marked("law"), "math": marked("mathematics"), "medical": marked("medicine"), "news": marked("news"),
    "ocr": marked("text in pictures"), "reasoning": marked("reasoning"), "roleplay": marked("role play"),
    "safety": marked("safety"), "science": marked("science"), "sql": marked("databases"), "stories": marked("stories"),
    "summary": marked("summaries"), "translation": marked("translation"), "vision": marked("pictures"),
    "web": marked("web pages"), "wiki": marked("encyclopedia"), "writing": marked("writing"),
}  # fmt: skip
# Other words that people look for them with, in both languages.
_ALSO = {
    "medical": "医疗 医学 医药 医院 健康 问诊 health doctor", "law": "法律 司法 legal", "finance": "金融 股票 stock",
    "math": "数学 计算", "code": "代码 编程 程序 programming", "agent": "工具 智能体 函数调用 function calling",
    "customer service": "客服 售后 support", "chat": "对话 聊天 闲聊", "translation": "翻译 双语",
    "education": "教育 考试", "safety": "安全 有害", "roleplay": "角色 人设", "sql": "数据库",
    "vision": "图片 图像 看图 image", "ocr": "识字 文字识别", "reasoning": "推理 思考 思维链 thinking",
    "writing": "写作 文案", "summary": "摘要 总结", "wiki": "百科", "news": "新闻", "instructions": "指令 助手",
    "knowledge": "知识 问答", "identity": "身份 自我认知", "classification": "分类 情感", "science": "科学",
    "web": "网页", "books": "书籍 图书", "stories": "故事 小说", "culture": "文化 诗词", "charts": "图表 表格",
}  # fmt: skip
_MANY = marked("many languages")


@dataclass(frozen=True)
class DataSet:
    """One entry. A hub or a licence that is not known is "", and so many `rows` are 0.

    `languages` are ISO 639-1 codes or `multi`; `format` is one of `formats.FORMATS` or a word of its own (turns, tree,
    steps, rated) for one that needs work first.
    """

    name: str
    huggingface: str
    modelscope: str
    task: str
    about: tuple[str, ...]
    languages: tuple[str, ...]
    licence: str
    format: str
    rows: int

    @property
    def task_word(self) -> str:
        """What it is for, and about what, for a person."""
        about = _(", ").join(_(_ABOUT[word]) for word in self.about)
        return _("{task}: {about}").format(task=_(_TASKS[self.task]), about=about)

    @property
    def languages_word(self) -> str:
        """Its languages, for a person."""
        return _(", ").join(_(languages.NAMES.get(code, _MANY)) for code in self.languages)

    @property
    def rows_word(self) -> str:
        """About how many rows, as people say it."""
        if not self.rows:
            return "-"
        if self.rows < 10_000:
            return str(self.rows)
        return f"{self.rows / 1e3:.0f} k" if self.rows < 1e6 else f"{self.rows / 1e6:.1f} M"

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)

    def _searched(self) -> str:
        words = [self.name, self.huggingface, self.modelscope, self.task, *self.about, *self.languages, self.licence]
        words += [self.format, self.task_word, self.languages_word, _TASKS[self.task]]
        words += [text for word in self.about for text in (_ABOUT[word], _ALSO.get(word, ""))]
        words += [languages.NAMES.get(code, _MANY) for code in self.languages]
        return " ".join(words).lower()


@cache
def load() -> tuple[DataSet, ...]:
    """Every data set, by name."""
    found = []
    for file in _FOLDER.glob("*.toml"):
        for entry in tomllib.loads(file.read_text(encoding="utf-8"))["dataset"]:
            lists = {name: tuple(entry[name]) for name in ("about", "languages")}
            found.append(DataSet(**{**entry, **lists}))
    return tuple(sorted(found, key=lambda one: one.name))


def search(words: str) -> list[DataSet]:
    """Those in which every word stands somewhere: in names, subjects, languages, licence; all without a word.

    Raises UsageError where there is none.
    """
    wanted = words.lower().split()
    texts = {one.name: one._searched() for one in load()}
    found = [one for one in load() if all(word in texts[one.name] for word in wanted)]
    if not found:
        raise UsageError(
            _("No data set is about {words}.").format(words=words),
            "",
            _("Try fewer or other words, such as: chinese · code · tools · medicine · dpo"),
        )
    return found


def find(name: str) -> DataSet | None:
    """The one of that name, here or at either hub; upper and lower case are the same."""
    word = name.lower()
    return next((one for one in load() if word in (one.name, one.huggingface.lower(), one.modelscope.lower())), None)


def references(name: str) -> dict[str, str]:
    """Hub (huggingface, modelscope) -> owner/name there, for a catalogue's name; for owner/name itself both."""
    known = find(name)
    if known is None:
        return {"huggingface": name, "modelscope": name}
    both = {"huggingface": known.huggingface, "modelscope": known.modelscope}
    return {hub: reference for hub, reference in both.items() if reference}
