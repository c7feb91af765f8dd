"""Is this the base that the adapter was trained on, in its original 16 bits, and unharmed?"""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from appliance import files
from appliance.errors import ApplianceError
from appliance.hub import manifest
from appliance.hub import model as models
from appliance.locale import _

_IN_FEW_BITS = re.compile(r"([-_](unsloth|bnb|bitsandbytes|nf4|gptq|awq|fp8|w[48]a(8|16)|int[48]|[48]bits?))+$", re.I)
_IN_CARD = re.compile(r"^base_model:\s*(?:-\s*)?['\"]?([\w.-]+/[\w.-]+)", re.M)


def check(base: Path, adapter: Path) -> None:
    """Raises ApplianceError where this adapter can't be merged onto this base."""
    described = files.read_json(adapter / "adapter_config.json")
    try:
        trained_on = files.read_json(adapter / models.ADAPTER_MANIFEST).get("base") or {}
    except (OSError, ValueError):
        trained_on = {}
    named = str(trained_on.get("reference") or described.get("base_model_name_or_path") or "")
    check_original(base, files.read_json(base / "config.json"), named)
    check_identity(base, trained_on, described)


def check_original(base: Path, config: dict[str, Any], named: str) -> None:
    """Raises ApplianceError for a base in 4 or 8 bits. `named`: the base as the adapter names it."""
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    quantisation = next((part["quantization_config"] for part in parts if part.get("quantization_config")), None)
    if quantisation is None:
        return
    method = str((quantisation if isinstance(quantisation, dict) else {}).get("quant_method") or "?")
    instead = _original(base, named) or _("the original 16-bit model")
    raise ApplianceError(
        _("The base model {name} is quantised ({method}).").format(name=base.name, method=method),
        _("Merging onto 4- or 8-bit weights loses what was learned."),
        _("Name it with --base: {model}").format(model=instead)
        if Path(instead).is_dir()
        else _("Download {model} and name it with --base.").format(model=instead),
    )


def _original(base: Path, named: str) -> str:
    """What the quantised base was made of, as the adapter, the base's card or its name tell it; "" where none do."""
    here = str((manifest.read(base) or {}).get("reference") or "")
    known = (here, base.name, str(base))
    if named and named not in known and Path(named).name != base.name and not _IN_FEW_BITS.search(named):
        return named
    try:
        card = (base / "README.md").read_text(encoding="utf-8", errors="replace")
    except OSError:
        card = ""
    told = _IN_CARD.search(card.partition("\n---")[0])
    if told and told.group(1) != here:
        return told.group(1)
    called = next((name for name in (here, named) if _IN_FEW_BITS.search(name)), "")
    return _IN_FEW_BITS.sub("", called)


def check_identity(base: Path, trained_on: dict[str, Any], config: dict[str, Any]) -> None:
    """Raises ApplianceError when the adapter says that it was trained on other weights than these.

    trained_on  what the fine-tune wrote beside the adapter: reference, revision, weights {file: sha256}; may be empty
    config      adapter_config.json: base_model_name_or_path and revision
    """
    here = manifest.read(base)
    if not here:
        return
    theirs = trained_on.get("weights") or {}
    ours = {name: here["files"].get(name, {}).get("sha256") for name in theirs}
    others = [name for name, digest in theirs.items() if ours[name] != digest]
    reference = trained_on.get("reference") or config.get("base_model_name_or_path")
    revision = trained_on.get("revision") or config.get("revision")
    another = not theirs and reference == here.get("reference") and revision and revision != here.get("revision")
    if not others and not another:
        return
    raise ApplianceError(
        _("The adapter was trained on other weights than those in {folder}.").format(folder=base),
        _("It was trained on {name} at revision {theirs}; here stands revision {ours}.").format(
            name=reference or "?", theirs=revision or "?", ours=here.get("revision") or "?"
        )
        if another or revision != here.get("revision")
        else _("Other sha256: {files}.").format(files=", ".join(others[:5])),
        _("Download that revision (appliance download {name} --revision {revision}) and name it with --base.").format(
            name=reference or "?", revision=revision or "?"
        ),
    )


def verify_adapter(adapter: Path) -> None:
    """Raises ApplianceError where an adapter's weights are not those that its training noted."""
    name = "adapter_model.safetensors"
    try:
        expected = files.read_json(adapter / models.ADAPTER_MANIFEST)["result"]["files"][name]["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if files.sha256(adapter / name) != expected:
        raise ApplianceError(
            _("The adapter in {folder} is damaged.").format(folder=adapter),
            _("Its sha256 is not that of its training: {files}.").format(files=name),
            _("Nothing was written. Take a copy that is whole, or train it again."),
        )


def unverified(base: Path, names: list[str]) -> dict[str, str]:
    """The weight files that must be read to know that they are unharmed: sha256 by name.

    Those that nobody wrote to since their sha256 was taken need not; those without a sha256 can't be.
    """
    written = (manifest.read(base) or {}).get("files") or {}
    return {
        name: written[name]["sha256"]
        for name in names
        if name in written and written[name].get("sha256") and not manifest.unchanged(base, name, written[name])
    }


def verify(
    base: Path,
    expected: dict[str, str],
    moved: Callable[[int], None],
    check_stopped: Callable[[], None],
    threads: int,
) -> None:
    """Read the files and compare their sha256. Raises ApplianceError with all that differ."""

    def differs(name: str) -> bool:
        return files.sha256(base / name) != expected[name]

    wrong = []
    with ThreadPoolExecutor(threads) as pool:
        futures = {pool.submit(differs, name): name for name in sorted(expected)}
        try:
            for future, name in futures.items():
                if future.result():
                    wrong.append(name)
                moved((base / name).stat().st_size)
                check_stopped()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    if wrong:
        raise ApplianceError(
            _("{count} weight files of {name} are damaged.").format(count=len(wrong), name=base.name),
            _("Their sha256 is not that of the download: {files}.").format(files=", ".join(wrong[:5])),
            _("Nothing was written. Download or import the model again."),
        )
