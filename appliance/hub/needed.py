"""Which files of a model are brought here: those that a model needs to run, nothing that is code, never pickle.

Names come from strangers (a hub's listing, an archive), so they are judged before any of them touches a path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from appliance.errors import ApplianceError
from appliance.locale import _

_KINDS = (".safetensors", ".json", ".jinja", ".model", ".tiktoken")
_TEXTS = re.compile(r"(merges|vocab)\.txt|(licen[cs]e|notice|readme|use_policy|copying)[^/]*(\.md|\.txt|\.rst)?", re.I)
_TEMPLATES_FOLDER = "additional_chat_templates/"
_TOKENIZERS = {
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.txt",
    "vocab.json",
}
_MOST_FILES = 100_000

PICKLE_KINDS = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


def is_pickle(name: str) -> bool:
    """Weights in a format that runs code when it is opened. `training_args.bin` and the like are no weights."""
    lowered = name.rsplit("/", 1)[-1].lower()
    if lowered.endswith(".bin"):
        return lowered.startswith(("pytorch_model", "model", "adapter_model", "consolidated"))
    return lowered.endswith(PICKLE_KINDS)


def has_tokenizer(names: Iterable[str]) -> bool:
    """Whether one of the known tokenizer files is among the names."""
    return any(name in _TOKENIZERS or name.endswith(".tiktoken") for name in names)


def why_hostile(name: str) -> str:
    """The reason why a name must not become a path; empty for a good one."""
    if not name or "\0" in name or any(ord(letter) < 32 for letter in name):
        return _("it has an empty name or control characters")
    if "\\" in name:
        return _("its name has a backslash")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return _("its path is absolute")
    parts = name.split("/")
    if ".." in parts:
        return _("its path leads out of the folder (..)")
    if any(part in ("", ".") for part in parts) or any(len(part.encode(errors="replace")) > 255 for part in parts):
        return _("its path is malformed")
    return ""


def check_names(names: Iterable[str], what: str) -> None:
    """Raise ApplianceError for a listing with a name that must not become a path. `what`: the sentence to say then."""
    problems: list[str] = []
    for count, name in enumerate(names, 1):
        reason = why_hostile(name)
        if reason:
            problems.append(f"{name!r}: {reason}")
        if count > _MOST_FILES:
            problems.append(_("more than {count} files").format(count=_MOST_FILES))
            break
    if problems:
        raise hostile(what, problems)


def hostile(what: str, problems: list[str]) -> ApplianceError:
    """Refused, because its names or entries could do harm outside the folder."""
    return ApplianceError(
        what,
        _("It has entries that a model never has. Nothing was written."),
        _("Take it from a source that you trust."),
        problems[:10],
    )


def choose(names: Iterable[str], *, need_tokenizer: bool = True) -> list[str]:
    """The names that a model or an adapter needs, out of everything that a source has (relative paths with /).

    Only the top level counts: sub-folders hold the same weights again (`original/`, `onnx/`, `metal/`), and so does
    Mistral's `consolidated.safetensors` beside `model-*.safetensors`.

    Raises ApplianceError with everything that is missing, and for two needed names that differ only in case: they
    would overwrite each other on some disks.
    """
    every = list(names)
    top = [name for name in every if "/" not in name and not name.startswith(".")]
    weights = [name for name in top if name.endswith(".safetensors")]
    if any(not name.startswith("consolidated") for name in weights):
        weights = [name for name in weights if not name.startswith("consolidated")]
    wanted = {
        name
        for name in every
        if (name in top and (name.endswith(_KINDS) or _TEXTS.fullmatch(name)) and not name.endswith(".safetensors"))
        or (name.startswith(_TEMPLATES_FOLDER) and name.count("/") == 1 and name.endswith(".jinja"))
    }
    wanted.update(weights)
    wanted.discard("appliance-model.json")

    adapter = "adapter_config.json" in top and "config.json" not in top
    problems = []
    if not adapter and "config.json" not in top:
        problems.append(_("There is no config.json."))
    if not weights:
        problems.append(no_weights(top))
    if need_tokenizer and not adapter and not has_tokenizer(top):
        problems.append(no_tokenizer())
    problems += same_but_for_case(wanted)
    if problems:
        raise ApplianceError(
            _("This is not a model that can be used here."),
            problems[0],
            _("Choose a model in Hugging Face format with safetensors weights and its tokenizer."),
            problems[1:],
        )
    return sorted(wanted)


def same_but_for_case(names: Iterable[str]) -> list[str]:
    """A sentence for each two names that would overwrite each other on some disks."""
    problems: list[str] = []
    seen: dict[str, str] = {}
    for name in sorted(names):
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            problems.append(_("{one} and {other} differ only in case.").format(one=other, other=name))
    return problems


def no_weights(names: Iterable[str]) -> str:
    """The sentence for a folder without safetensors; it names what is there instead."""
    every = list(names)
    if any(is_pickle(name) for name in every):
        return _(
            "The only weights are pickle files (such as {name}). Opening one can run any program hidden in it, so they"
            " are refused. Take a revision with .safetensors files, or convert it yourself if you trust its maker."
        ).format(name=next(name for name in every if is_pickle(name)))
    if any(name.endswith(".gguf") for name in every):
        return _("The only weights are GGUF files. Take the original model with .safetensors files instead.")
    return _("There are no weights (.safetensors files).")


def no_tokenizer() -> str:
    """The sentence for a folder without a tokenizer."""
    return _("There is no tokenizer (tokenizer.json, tokenizer.model or vocabulary files).")
