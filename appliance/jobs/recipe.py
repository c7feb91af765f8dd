"""Recipes: jobs in a row in one YAML file, run without a question.

    jobs:
      - download: {model: Qwen/Qwen3-0.6B}
      - finetune: {data: rows.xlsx}
      - merge: {}
      - serve: {host: 0.0.0.0, port: 8000, key_file: /data/key}

What a step leaves out comes from the steps before it: `finetune` takes the downloaded model, `merge` the adapter,
`quantize` the merged model and the rows that it was taught with, `serve` the newest model, `push` the newest thing that
was made. The same recipe run again goes on where it was: finished steps are kept, a step that was cut is resumed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from appliance import files, rewards
from appliance.engines import WORDS, NotInstalled
from appliance.errors import UsageError
from appliance.jobs import control, models, prepare
from appliance.jobs.folder import Job, State, all_jobs
from appliance.jobs.watch import failure
from appliance.locale import _
from appliance.planning.quantising import SCHEMES
from appliance.planning.way import METHODS, WHOLE
from appliance.planning.wish import OPTIMIZERS, SHARDINGS, WISHES

_NUMBER = (int, float)
# Each step's words and their types.
_WORDS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "download": {"model": str, "source": str, "revision": str, "to": str},
    "finetune": {
        "model": str, "adapter": str, "data": str, "task": str, "method": str, "rank": int, "batch": int, "length": int,
        "steps": int, "epochs": _NUMBER, "learning_rate": _NUMBER, "gpus": int, "sharding": str, "map": dict,
        "sheet": str, "name": str, "held_out": _NUMBER, "rewards": list, "track": list, "accept_drops": bool,
        "keep_checkpoints": int,
        "optimizer": str, "neftune": _NUMBER, "packing": bool, "padding_free": bool, "flash": bool, "liger": bool,
        "checkpointing": bool,
    },
    "merge": {"adapter": str, "base": str, "to": str},
    "push": {"model": str, "to": str, "public": bool},
    "quantize": {
        "model": str, "data": str, "scheme": str, "to": str, "samples": int, "length": int, "map": dict, "sheet": str,
        "accept_loss": bool,
    },
    "serve": {
        "model": str, "engine": str, "host": str, "port": int, "name": str, "length": int, "key_file": str,
        "no_key": bool, "log_requests": bool, "page": bool, "adapters": list,
    },
}  # fmt: skip
_CHOICES = {
    ("download", "source"): ("auto", "modelscope", "huggingface"),
    ("finetune", "task"): ("auto", *prepare.TASKS),
    ("finetune", "method"): ("auto", *METHODS),
    ("finetune", "optimizer"): ("auto", *OPTIMIZERS),
    ("finetune", "sharding"): ("auto", *SHARDINGS),
    ("quantize", "scheme"): ("auto", *SCHEMES),
    ("serve", "engine"): WORDS,
}

Step = tuple[str, dict[str, Any]]


def read(path: Path) -> list[Step]:
    """The steps of a recipe. Raises UsageError with every problem in the file at once."""
    import yaml

    if not path.is_file():
        raise UsageError(
            _("There is no recipe {file}.").format(file=path), "", _("Check the spelling; in Docker, mount the file.")
        )
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError:
        raise
    except Exception as error:  # YAMLError, and whatever its constructors let through (a date without a 13th month …)
        raise UsageError(
            _("The recipe {file} is not YAML.").format(file=path.name),
            " ".join(str(error).split()),
            _("Mind the colons, the dashes and the spaces at the start of lines."),
        ) from error
    steps, problems = check(document)
    problems += [
        f"{kind}: " + _("data {file} is not there.").format(file=words["data"])
        for kind, words in steps
        # Before hours of downloading, not after them.
        if isinstance(words.get("data"), str) and not os.path.exists(_data_beside(words["data"], path))
    ]
    problems += [f"{kind}: {problem}" for kind, words in steps for problem in _rewards_beside(words, path)]
    if problems:
        raise UsageError(
            _("The recipe {file} can't be run as it is.").format(file=path.name),
            "",
            _("Mend them and run it again; docs/recipes.md shows every word."),
            problems,
        )
    # A relative path in a recipe means: beside the recipe.
    for _kind, words in steps:
        if "adapters" in words:
            words["adapters"] = [_adapter_beside(each, path.absolute().parent) for each in words["adapters"]]
        for name in ("data", "model", "adapter", "base", "key_file"):
            if name in words:
                beside = path.absolute().parent / Path(words[name]).expanduser()
                # What isn't there may be a name in the workspace or at a hub; a file of rows can only be a file.
                if name in ("data", "key_file") or os.path.exists(beside):
                    words[name] = str(beside)
    return steps


def _data_beside(data: str, recipe: Path) -> str:
    return os.path.join(recipe.absolute().parent, os.path.expanduser(data))


def _rewards_beside(words: dict[str, Any], recipe: Path) -> list[str]:
    """What is wrong with a step's rewards, whose schemas get their whole paths."""
    given = words.get("rewards", [])
    if not isinstance(given, list) or not all(isinstance(reward, str) for reward in given):
        return []  # said already
    if words.get("task") not in rewards.TASKS:
        return [_("Rewards are for learning by trial.") + " (task: grpo)"] if given else []
    words["rewards"] = [_beside(reward, recipe.absolute().parent) for reward in given]
    try:
        rewards.parse(words["rewards"])
    except UsageError as error:
        return error.problems
    return []


def _beside(reward: str, folder: Path) -> str:
    """A reward whose schema stands beside the recipe, with its whole path."""
    kind, colon, file = reward.partition("schema:")
    return f"{kind}schema:{folder / Path(file).expanduser()}" if colon and (not kind or kind.endswith("*")) else reward


def _adapter_beside(words: str, folder: Path) -> str:
    """An adapter (NAME=REFERENCE or a reference) that stands beside the recipe, with its whole path."""
    name, equals, reference = words.rpartition("=")
    beside = os.path.join(folder, os.path.expanduser(reference))
    return f"{name}{equals}{beside}" if os.path.exists(beside) else words


def check(document: Any) -> tuple[list[Step], list[str]]:
    """The steps in a parsed recipe, and everything that is wrong with it."""
    if not isinstance(document, dict) or not isinstance(document.get("jobs"), list) or not document["jobs"]:
        return [], [_("It must have `jobs:` with a list of steps below.")]
    problems = [_("Unknown word at the top: {word}.").format(word=word) for word in document if word != "jobs"]
    steps: list[Step] = []
    given: set[str] = set()
    for number, item in enumerate(document["jobs"], 1):
        where = _("Step {n}").format(n=number)
        if isinstance(item, str):
            item = {item: None}
        if not isinstance(item, dict) or len(item) != 1 or next(iter(item)) not in _WORDS:
            problems.append(f"{where}: " + _("must be one of {kinds}.").format(kinds=", ".join(_WORDS)))
            continue
        kind, words = next(iter(item.items()))
        words = {} if words is None else words
        if not isinstance(words, dict):
            problems.append(f"{where} ({kind}): " + _("must hold words and values."))
            continue
        problems += [f"{where} ({kind}): {problem}" for problem in _check_words(kind, words, given)]
        taught = {"model", "made"} if words.get("method") in WHOLE else {"adapter", "made"}
        made = {"download": {"model"}, "finetune": taught, "merge": {"model", "made"}, "quantize": {"model", "made"}}
        given |= made.get(kind, set())
        steps.append((kind, dict(words)))
    if any(kind == "serve" for kind, _words in steps[:-1]):
        problems.append(_("serve must be the last step: it does not end by itself."))
    return steps, problems


def _check_words(kind: str, words: dict[str, Any], given: set[str]) -> list[str]:
    problems = []
    for word, value in words.items():
        wanted = _WORDS[kind].get(word)
        if wanted == _NUMBER and isinstance(value, str):
            value = words[word] = _as_number(value)
        if wanted is None:
            problems.append(_("unknown word {word} (known: {known}).").format(word=word, known=", ".join(_WORDS[kind])))
        elif not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
            problems.append(_("{word} must be {type}, not {value}.").format(word=word, type=_type(wanted), value=value))
        elif word == "port" and isinstance(value, int) and not 0 < value < 65536:
            problems.append(_("{port} is no port.").format(port=value))
        elif isinstance(value, str) and "\0" in value:
            problems.append(_("{word} holds a character that no name can have.").format(word=word))
        elif isinstance(value, dict) and not all(isinstance(part, str) for pair in value.items() for part in pair):
            problems.append(_("{word} must hold names, each with a name.").format(word=word))
        elif isinstance(value, list) and not all(isinstance(part, str) for part in value):
            problems.append(_("{word} must be a list of texts.").format(word=word))
        elif (kind, word) in _CHOICES and value not in _CHOICES[kind, word]:
            problems.append(
                _("{word} must be one of {choices}.").format(word=word, choices=", ".join(_CHOICES[kind, word]))
            )
    if kind == "finetune":
        problems += _unfulfillable(words)
    needed = {
        "download": ["model"], "finetune": ["data", "model"], "merge": ["adapter"], "quantize": ["model"],
        "push": ["to", "model"], "serve": ["model"],
    }[kind]  # fmt: skip
    if kind == "finetune" and "adapter" in words:
        needed.remove("model")
    if kind == "push":
        given = {"model"} if "made" in given else set()  # a downloaded model is not sent back by itself
    problems += [
        _("{word} is missing.").format(word=word) for word in needed if word not in words and word not in given
    ]
    return problems


def _unfulfillable(words: dict[str, Any]) -> list[str]:
    """Of the words that have the right type: values that no training can have, and what can't be had together."""
    known = _WORDS["finetune"]
    right: dict[str, Any] = {
        word: value
        for word, value in words.items()
        if word in known
        and isinstance(value, known[word])
        and (known[word] is bool or not isinstance(value, bool))
        and (("finetune", word) not in _CHOICES or value in _CHOICES["finetune", word])
        and not (isinstance(value, list) and not all(isinstance(part, str) for part in value))
    }
    return [f"{problem.rstrip('.')}." for problem in prepare.unfulfillable(right)]


def _as_number(text: str) -> float | str:
    """YAML reads 2e-4 as a text, because it has no point."""
    try:
        return float(text)
    except ValueError:
        return text


def _type(wanted: type | tuple[type, ...]) -> str:
    if wanted == _NUMBER:
        return _("a number")
    words = {
        str: _("text"),
        int: _("a whole number"),
        bool: _("true or false"),
        dict: _("names with values"),
        list: _("a list"),
    }
    return words[wanted]  # type: ignore[index]


def run(steps: list[Step], watch: Callable[[Job, int, bool], State], fresh: bool = False) -> list[Job]:
    """Do the steps one after the other. `watch(job, number, last)` shows a job until it ended (a serve: until ready).

    Raises ApplianceError when a step fails; what it made so far stays.
    """
    jobs: list[Job] = []
    known: dict[str, str] = {}
    trail = ""
    for number, (kind, words) in enumerate(steps, 1):
        trail = hashlib.sha256(
            (trail + json.dumps([kind, words, _contents(words)], sort_keys=True)).encode()
        ).hexdigest()
        job = None if fresh else _earlier(trail)
        if job is None:
            draft = _with_model(kind, words, known, lambda job: watch(job, number, False))  # noqa: B023
            draft.recipe = {"step": number, "trail": trail}
            job = control.submit(draft)
        elif job.state().state in ("failed", "stopped"):
            job = control.resume(job)
        jobs.append(job)
        state = watch(job, number, number == len(steps))
        if state.state == "failed":
            raise failure(job, state)
        if state.state == "stopped":
            break
        result = job.result or {}
        if kind != "push":
            known.update(
                {
                    name: result[name]
                    for name in ("model", "adapter")
                    if result.get(name) and not (kind == "finetune" and name == "model")
                }
            )
        if kind == "finetune" and result.get("made"):  # all weights learned: there is nothing to merge
            known["model"] = known["made"] = result["made"]
        elif kind in ("finetune", "merge", "quantize"):
            known["made"] = known["adapter" if kind == "finetune" else "model"]
    return jobs


def _contents(words: dict[str, Any]) -> str:
    """The data's checksum: with other rows it is another step. A file that isn't there is told by the step itself."""
    try:
        return files.sha256(Path(words["data"])) if "data" in words else ""
    except OSError:
        return ""


def _earlier(trail: str) -> Job | None:
    """The job that an earlier run of this recipe made for the step, if what it made still stands."""
    for job in all_jobs():
        if (job.described.get("recipe") or {}).get("trail") == trail:
            state = job.state()
            if state.state != "done":
                return job
            result = job.result or {}
            made = result.get("model")
            if job.kind == "finetune" or not made:
                made = result.get("made") or result.get("adapter")
            if made and Path(made).exists():
                return job
    return None


def _with_model(kind: str, words: dict[str, Any], known: dict[str, str], show: Callable[[Job], State]) -> control.Draft:
    """The step's draft; a model or an engine that is not here is brought first, as a job of its own."""
    while True:
        try:
            return _draft(kind, words, known)
        except prepare.NotHere as missing:
            first = prepare.download(missing.reference)
        except NotInstalled as missing:
            first = prepare.install(missing.name)
        job = control.submit(first)
        state = show(job)
        if state.state != "done":
            raise failure(job, state)


def _draft(kind: str, words: dict[str, Any], known: dict[str, str]) -> control.Draft:
    words = dict(words)
    if kind == "download":
        return prepare.download(words.pop("model"), **words)
    if kind == "finetune":
        wish = {name: words.pop(name) for name in WISHES if name in words}
        if wish.get("method") == "auto":
            del wish["method"]
        if words.get("adapter") == "last" and "adapter" in known:  # of this recipe, not of whoever was last
            words["adapter"] = known["adapter"]
        return prepare.finetune(
            words.pop("model", None) or (None if "adapter" in words else known["model"]),
            words.pop("data"),
            wish=wish,
            mapping=words.pop("map", None),
            **words,
        )
    if kind == "merge":
        return prepare.merge(words.pop("adapter", None) or known["adapter"], **words)
    if kind == "push":
        return models.push(words.pop("model", None) or known["made"], **words)
    model = words.pop("model", None) or known["model"]
    if kind == "quantize":
        return prepare.quantize(model, words.pop("data", None), mapping=words.pop("map", None), **words)
    if "adapter" in known:  # `last` is of this recipe, not of whoever was last
        words["adapters"] = [re.sub(r"(?:^|(?<==))last$", known["adapter"], each) for each in words.get("adapters", ())]
    return prepare.serve(model, **words)
