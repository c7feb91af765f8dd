"""What a model folder holds, read without any model library: config.json, the headers of its weights, its tokenizer."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appliance.errors import ApplianceError
from appliance.files import read_json
from appliance.hub import manifest
from appliance.hub.needed import has_tokenizer, no_tokenizer, no_weights, why_hostile
from appliance.locale import _

# Beside an adapter that was trained here: its base, how it was trained, with which libraries.
ADAPTER_MANIFEST = "appliance-adapter.json"
_INDEX = "model.safetensors.index.json"
_LARGEST_HEADER = 100_000_000  # bytes; the limit that the safetensors library itself keeps
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


@dataclass(frozen=True)
class Model:
    """A model folder.

    architecture       the first of config.json's `architectures`, "" where it has none
    size_bytes         all regular files at the folder's top
    quantised          the method of config.json's quantization_config (fp8, gptq, awq …), "" for plain weights
    vision             it takes pictures as well
    license            as the README's header names it, "" where it does not
    complete           every check passed, and the files have the sizes that the manifest says (where there is one)
    """

    folder: Path
    name: str
    architecture: str
    model_type: str
    size_bytes: int
    weight_files: tuple[str, ...]
    has_chat_template: bool
    quantised: str
    vision: bool
    license: str
    complete: bool


@dataclass(frozen=True)
class Adapter:
    """An adapter folder. `base`: the base model as adapter_config.json names it. `keys`: the tensors' names.

    `rank` is 0 for a kind without one."""

    folder: Path
    name: str
    base: str
    peft_type: str
    rank: int
    size_bytes: int
    keys: tuple[str, ...] = field(repr=False)


def inspect(folder: Path, *, need_tokenizer: bool = True, need_chat_template: bool = False) -> Model:
    """Look at a model folder. Raises ApplianceError with all problems at once when it can't be used."""
    model, problems = look(folder, need_tokenizer=need_tokenizer, need_chat_template=need_chat_template)
    if problems:
        raise ApplianceError(
            _("The model in {folder} can't be used.").format(folder=folder),
            problems[0],
            _("Download or import the model again, or choose another folder."),
            problems[1:],
        )
    return model


def look(folder: Path, *, need_tokenizer: bool = True, need_chat_template: bool = False) -> tuple[Model, list[str]]:
    """As `inspect`, but the problems are returned beside what could be read. Raises only where there is no folder."""
    names = _names(folder, _("model"))
    config, problems = _config(folder, "config.json")
    weight_files, weight_problems = _weights(folder, names)
    problems += weight_problems
    if need_tokenizer:
        if not has_tokenizer(names):
            problems.append(no_tokenizer())
        elif "tokenizer.json" in names and not _ends_like_json(folder / "tokenizer.json"):
            problems.append(_("{file} is cut off or is not JSON.").format(file="tokenizer.json"))
    template = _has_chat_template(folder, names)
    if need_chat_template and not template:
        problems.append(
            _(
                "There is no chat template (chat_template.jinja, or chat_template in tokenizer_config.json). It is"
                " probably a base model: take its Instruct or Chat version."
            )
        )
    written = manifest.read(folder)
    if written:
        changed = manifest.differences(folder, written)
        if changed:
            problems.append(
                _("Files changed since they were brought here: {files}.").format(files=", ".join(changed[:5]))
            )
    architectures = config.get("architectures")
    quantisation = config.get("quantization_config")
    return Model(
        folder=folder,
        name=folder.name,
        architecture=str(architectures[0]) if isinstance(architectures, list) and architectures else "",
        model_type=str(config.get("model_type") or ""),
        size_bytes=_size(folder, names),
        weight_files=weight_files,
        has_chat_template=template,
        quantised=str(quantisation.get("quant_method") or "unknown") if isinstance(quantisation, dict) else "",
        vision="vision_config" in config or "visual" in config,
        license=_license(folder),
        complete=not problems,
    ), problems


def inspect_adapter(folder: Path) -> Adapter:
    """Look at an adapter folder as peft writes it. Raises ApplianceError with all problems at once."""
    names = _names(folder, _("adapter"))
    config, problems = _config(folder, "adapter_config.json")
    keys: list[str] = []
    if "adapter_model.safetensors" in names:
        header, problem = _header(folder / "adapter_model.safetensors")
        keys = sorted(header)
        problems += [problem] if problem else []
        if not problem and not keys:
            problems.append(_("{file} holds no tensors.").format(file="adapter_model.safetensors"))
    else:
        problems.append(no_weights(names))
    if problems:
        raise ApplianceError(
            _("The adapter in {folder} can't be used.").format(folder=folder),
            problems[0],
            _("Choose the folder of a finished fine-tune: it has adapter_config.json and adapter_model.safetensors."),
            problems[1:],
        )
    rank = config.get("r")
    return Adapter(
        folder=folder,
        name=folder.name,
        base=str(config.get("base_model_name_or_path") or ""),
        peft_type=str(config.get("peft_type") or ""),
        rank=rank if isinstance(rank, int) else 0,
        size_bytes=_size(folder, names),
        keys=tuple(keys),
    )


def _names(folder: Path, kind: str) -> set[str]:
    if not folder.is_dir():
        is_file = folder.exists()
        raise ApplianceError(
            _("There is no {kind} folder {folder}.").format(kind=kind, folder=folder),
            _("It is a file, not a folder.") if is_file else _("The folder does not exist."),
            _("Check the spelling, or download a model first: `appliance download owner/name`."),
        )
    return {path.name for path in folder.iterdir() if path.is_file()}


def _size(folder: Path, names: set[str]) -> int:
    return sum((folder / name).stat().st_size for name in names)


def _config(folder: Path, name: str) -> tuple[dict[str, Any], list[str]]:
    try:
        value = read_json(folder / name)
    except FileNotFoundError:
        return {}, [_("There is no {file}.").format(file=name)]
    except (OSError, ValueError, RecursionError) as error:
        return {}, [_("{file} can't be read: {reason}.").format(file=name, reason=error)]
    if not isinstance(value, dict):
        return {}, [_("{file} is not a JSON object.").format(file=name)]
    return value, []


def _weights(folder: Path, names: set[str]) -> tuple[tuple[str, ...], list[str]]:
    """The weight files that transformers would load, and what is wrong with them."""
    problems: list[str] = []
    files = {name for name in names if name.endswith(".safetensors") and not name.startswith("adapter_model")}
    if any(not name.startswith("consolidated") for name in files):
        files = {name for name in files if not name.startswith("consolidated")}
    if _INDEX in names:
        index, problems = _config(folder, _INDEX)
        mapping = index.get("weight_map")
        if isinstance(mapping, dict) and mapping:
            shards = {str(shard) for shard in mapping.values()}
            bad = sorted(shard for shard in shards if why_hostile(shard))
            problems += [
                _("{file} names a shard that is no file name: {name!r}.").format(file=_INDEX, name=n) for n in bad
            ]
            missing = sorted(shards - set(bad) - names)
            if missing:
                problems.append(
                    _("{missing} of {count} weight files are missing: {names}.").format(
                        missing=len(missing), count=len(shards), names=", ".join(missing[:5])
                    )
                )
            files = {"model.safetensors"} if "model.safetensors" in names else shards & names
        elif not problems:
            problems.append(_("{file} names no weight files.").format(file=_INDEX))
    if not files and not problems:
        problems.append(no_weights(names))
    for name in sorted(files):
        problem = _header(folder / name)[1]
        problems += [problem] if problem else []
    return tuple(sorted(files)), problems


def _header(path: Path) -> tuple[dict[str, Any], str]:
    """A safetensors file's header without its metadata, and what is wrong with it ("" when nothing is).

    Format: 8 bytes length (little-endian), that many bytes of JSON {name: {dtype, shape, data_offsets}}, the data.
    Source: https://huggingface.co/docs/safetensors
    """
    broken = _("{file} is cut off or is not a safetensors file.").format(file=path.name)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(_LARGEST_HEADER, size - 8):
                return {}, broken
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        end = 0
        for entry in header.values():
            begin, stop = entry["data_offsets"]
            bits = _BITS.get(entry["dtype"])
            if not 0 <= begin <= stop or (bits and math.prod(entry["shape"]) * bits != 8 * (stop - begin)):
                return {}, broken
            end = max(end, stop)
    except OSError as error:
        return {}, _("{file} can't be read: {reason}.").format(file=path.name, reason=error.strerror)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}, broken
    expected = 8 + length + end
    if size != expected:
        return {}, _("{file} has {size} bytes; its header says {expected}.").format(
            file=path.name, size=size, expected=expected
        )
    return header, ""


def _ends_like_json(path: Path) -> bool:
    # A tokenizer has tens of megabytes: parsing it would take longer than everything else here together.
    with path.open("rb") as file:
        start = file.read(64).lstrip()
        file.seek(max(0, path.stat().st_size - 64))
        return start.startswith(b"{") and file.read().rstrip().endswith(b"}")


def _has_chat_template(folder: Path, names: set[str]) -> bool:
    if "chat_template.jinja" in names:
        return True
    return any(
        name in names and bool(_config(folder, name)[0].get("chat_template"))
        for name in ("chat_template.json", "tokenizer_config.json")
    )


def _license(folder: Path) -> str:
    try:
        with (folder / "README.md").open(encoding="utf-8", errors="replace") as file:
            head = file.read(65536)
    except OSError:
        return ""
    front = re.match(r"---\n(.*?)\n---", head, re.S)
    found = re.search(r"^license(?:_name)?:\s*['\"]?([\w.+-]+)", front.group(1), re.M) if front else None
    return found.group(1) if found else ""
