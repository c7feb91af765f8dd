"""What makes an answer a good one, said as data: a person writes words, never a program.

    exact              the answer is the row's, white space and case aside
    number             its last number is the row's last number
    regex:PATTERN      the pattern stands in it
    schema:FILE.json   it is JSON that the schema allows
    length:MIN-MAX     it has so many characters

Each may begin with a weight: `2*number`. A reward is 0 or 1 times its weight; their sum is what is learned to raise.
"""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from appliance import files, settings
from appliance.errors import ApplianceError, UsageError, explain
from appliance.locale import _, language, set_language

TASKS = ("grpo", "rloo")  # what rewards are for: answers are tried
KINDS = ("exact", "number", "regex", "schema", "length")
_NUMBER = re.compile(r"-?\d[\d,]*\.?\d*(?:[eE][-+]?\d+)?")
_FENCE = re.compile(r"```(?:json)?\s*(.*?)```", re.S)
_SECONDS = 1.0  # for a pattern on one answer: some take for ever


def parse(words: Sequence[str]) -> list[dict[str, Any]]:
    """[{kind, weight, value}] of what a person wrote; `value` a pattern, a schema or [least, most].

    Raises UsageError with every problem at once.
    """
    found, problems = [], []
    for word in words:
        weight, star, rest = word.partition("*")
        rest = rest if star and _as_number(weight) is not None else word
        kind, _colon, value = rest.partition(":")
        try:
            read = _value(kind.strip(), value)
        except ValueError as error:
            problems.append(f"{word}: {error}")
            continue
        weighted = _as_number(weight) if rest is not word else 1.0
        found.append((word, {"kind": kind.strip(), "weight": weighted, "value": read}))
    if not words:
        problems.append(_("at least one is needed"))
    problems += _unusable(found)
    if problems:
        raise UsageError(
            _("These rewards can't be used."),
            "",
            _("Such as: --reward number --reward regex:'^\\d+$' --reward length:1-200 --reward schema:answer.json"),
            problems,
        )
    return [reward for _word, reward in found]


def _unusable(found: Sequence[tuple[str, dict[str, Any]]]) -> list[str]:
    """What the libraries that judge say of patterns and schemas, before anything starts. They are in the training
    environment; where that is not installed, nothing is trained either."""
    asked = [(word, reward) for word, reward in found if reward["kind"] in ("regex", "schema")]
    python = settings.python_of("train")
    if not asked or not python.exists():
        return []
    done = subprocess.run(
        [python, "-P", "-m", "appliance.rewards", language()],
        env=settings.child_environment(),
        input=json.dumps([reward for _word, reward in asked]),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["?"])[-1]
        raise ApplianceError(_("The rewards could not be looked at."), why, _("See `appliance doctor`."))
    told = json.loads(done.stdout.splitlines()[-1])
    return [f"{word}: {why}" for (word, _reward), why in zip(asked, told, strict=True) if why]


def _value(kind: str, value: str) -> Any:
    """Raises ValueError with the reason for a person."""
    if kind not in KINDS:
        raise ValueError(_("must be one of {kinds}").format(kinds=", ".join(KINDS)))
    if kind in ("exact", "number"):
        if value:
            raise ValueError(_("takes no value"))
        return None
    if kind == "length":
        match = re.fullmatch(r"\s*(\d+)\s*-\s*(\d+)\s*", value)
        if not match or int(match[1]) > int(match[2]):
            raise ValueError(_("wants two numbers, the smaller one first: length:1-200"))
        return [int(match[1]), int(match[2])]
    if kind == "regex":
        if not value:
            raise ValueError(_("wants a pattern"))
        return value
    try:
        schema = files.read_json(Path(value).expanduser())
    except OSError as error:
        raise ValueError(f"{error.strerror or error}") from None
    except ValueError:
        raise ValueError(_("is not JSON")) from None
    if not isinstance(schema, dict | bool):
        raise ValueError(_("is no JSON schema"))
    return schema


def _as_number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number > 0 else None


def judge(reward: dict[str, Any]) -> Callable[[str, str], float]:
    """(answer, the row's own answer) → 0 or the reward's weight. Raises ApplianceError for a pattern or schema that is
    none."""
    value, weight = reward["value"], float(reward["weight"])
    tests: dict[str, Callable[[], Callable[[str, str], bool]]] = {
        "exact": lambda: lambda answer, expected: _plain(answer) == _plain(expected),
        "number": lambda: lambda answer, expected: _same_number(answer, expected),
        "regex": lambda: _pattern(value),
        "schema": lambda: _schema(value),
        "length": lambda: lambda answer, _expected: value[0] <= len(answer.strip()) <= value[1],
    }
    test = tests[reward["kind"]]()
    return lambda answer, expected: weight * test(answer, expected)


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def last_number(text: str) -> float | None:
    """The last number in a text; commas between digits are left out. None where there is none."""
    found = _NUMBER.findall(text)
    return _float(found[-1].replace(",", "").rstrip(".")) if found else None


def _float(text: str) -> float | None:
    try:
        number = float(text)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _same_number(answer: str, expected: str) -> bool:
    one, other = last_number(answer), last_number(expected)
    return one is not None and other is not None and math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)


def _pattern(value: str) -> Callable[[str, str], bool]:
    import regex  # type: ignore[import-untyped,unused-ignore]  # the library that can be told to give up

    try:
        compiled = regex.compile(value)
    except regex.error as error:
        raise ApplianceError(
            _("The pattern can't be used."), _("is no regular expression: {why}").format(why=error), _("Mend it.")
        ) from None

    def test(answer: str, _expected: str) -> bool:
        try:
            return compiled.search(answer, timeout=_SECONDS) is not None
        except TimeoutError:
            return False

    return test


@contextmanager
def _in_time() -> Iterator[None]:
    """Inside, TimeoutError after _SECONDS: a schema's patterns are Python's own, which look up at signals. Only the
    main thread gets those, and it is the one that judges."""

    def late(_number: int, _frame: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, _SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _schema(schema: Any) -> Callable[[str, str], bool]:
    import jsonschema  # type: ignore[import-untyped,unused-ignore]
    import referencing.jsonschema

    kind = jsonschema.validators.validator_for(schema)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise ApplianceError(
            _("The JSON schema can't be used."), error.message, _("Mend the schema and start again.")
        ) from None
    # Without a registry of its own it would fetch what a schema names from the network.
    checker = kind(schema, registry=referencing.Registry())
    draft = referencing.jsonschema.specification_with(kind.META_SCHEMA["$schema"])
    root = draft.create_resource(schema)
    try:
        _look_up(root, referencing.Registry().with_resource("", root).resolver().in_subresource(root))
    except referencing.exceptions.Unresolvable as error:
        raise _missing(error.ref) from None

    def test(answer: str, _expected: str) -> bool:
        fenced = _FENCE.search(answer)
        try:
            value = json.loads(fenced[1] if fenced else answer)
        except (ValueError, RecursionError):
            return False
        try:
            with _in_time():
                return bool(checker.is_valid(value))
        except TimeoutError:
            return False
        except RecursionError:
            return False

    return test


def _look_up(part: Any, resolver: Any) -> None:
    """All that a schema refers to, anywhere in it. Raises referencing's Unresolvable."""
    if isinstance(part.contents, dict):
        for word in ("$ref", "$dynamicRef"):
            if isinstance(part.contents.get(word), str):
                resolver.lookup(part.contents[word])
    for below in part.subresources():
        _look_up(below, resolver.in_subresource(below))


def _missing(name: str) -> ApplianceError:
    return ApplianceError(
        _("The JSON schema can't be used."),
        _("It names {name}, which does not stand in it.").format(name=name),
        _("Mend the schema and start again."),
    )


def main() -> None:
    """`python -m appliance.rewards LANGUAGE`: what is wrong with each of the rewards on stdin, "" where nothing is."""
    set_language(sys.argv[1])
    told = []
    for reward in json.load(sys.stdin):
        try:
            judge(reward)
            told.append("")
        except ApplianceError as error:
            told.append(error.why)
        except Exception as error:
            told.append(explain(error).what)
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
