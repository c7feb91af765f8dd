"""The catalogue of public data sets: whole, findable, and named as the hubs name things."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from appliance import locale, settings
from appliance.data import catalogue, formats
from appliance.errors import UsageError

_NAME = re.compile(r"[\w.-]+/[\w.-]+")
# Those that need work before they can be read, in the words of DataSet.
_OTHERS = {"turns", "tree", "steps", "rated"}


def test_every_entry_is_whole() -> None:
    entries = catalogue.load()
    assert len(entries) >= 150
    for names in (
        [one.name for one in entries],
        [one.huggingface for one in entries if one.huggingface],
        [one.modelscope for one in entries if one.modelscope],
    ):
        assert len(set(map(str.lower, names))) == len(names)
    for one in entries:
        assert one.huggingface or one.modelscope, one
        assert all(_NAME.fullmatch(name) for name in (one.huggingface, one.modelscope) if name), one
        assert one.format in {*formats.FORMATS, *_OTHERS}, one
        assert one.about and one.languages and one.rows >= 0 and one.task_word and one.languages_word
    assert sum(bool(one.huggingface and one.modelscope) for one in entries) > 100


@pytest.mark.parametrize("language", ["en", "zh"])
def test_found_by_words_in_either_language(language: str) -> None:
    locale.set_language(language)
    try:
        assert {"glaive-toolcall-zh", "ms-agent"} <= {one.name for one in catalogue.search("chinese tools")}
        assert [one.name for one in catalogue.search("BelleGroup/train_2M_CN")] == ["belle-2m"]
        assert catalogue.search("医疗") == catalogue.search("医学") != []
        assert len(catalogue.search("")) == len(catalogue.load())
        with pytest.raises(UsageError):
            catalogue.search("no such thing at all")
    finally:
        locale.set_language()


def test_a_name_and_what_the_hubs_call_it() -> None:
    assert catalogue.references("alpaca-cleaned") == {
        "huggingface": "yahma/alpaca-cleaned", "modelscope": "AI-ModelScope/alpaca-cleaned",
    }  # fmt: skip
    assert catalogue.references("yahma/Alpaca-Cleaned") == catalogue.references("alpaca-cleaned")
    assert list(catalogue.references("lima")) == ["huggingface"]
    assert catalogue.references("me/mine") == {"huggingface": "me/mine", "modelscope": "me/mine"}


def test_command_line() -> None:
    words = [sys.executable, "-m", "appliance", "datasets", "medical", "chinese", "--json"]
    done = subprocess.run(words, env=settings.child_environment(), capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)["datasets"]
    assert len(found) > 3 and all("medical" in one["about"] and "zh" in one["languages"] for one in found)
