"""The two hubs through their official clients: what a model consists of there, and one file brought here.

Called by workers only: the clients are imported inside the functions. Tokens are read from the worker's environment or
from where a person stored them, go to their own hub's client and nowhere else, and are scrubbed from every error.
"""

from __future__ import annotations

import errno
import os
import queue
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from appliance import settings
from appliance.errors import ApplianceError, explain
from appliance.hub.needed import check_names
from appliance.locale import _, language
from appliance.planning.catalogue import name_at

NAMES = {"huggingface": "Hugging Face", "modelscope": "ModelScope"}
_ANSWER_SECONDS = 20.0  # for a listing, when there is another hub to ask
_GRACE_SECONDS = 2.0  # what the preferred hub gets after the other one has answered
_OF_THIS_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)  # no hub's fault


class HubFailure(ApplianceError):
    """One hub failed; the other one may do."""


@dataclass(frozen=True)
class HubFile:
    """One file at a hub. `git_sha1` is the git blob id: all that Hugging Face gives for small files."""

    name: str
    size: int
    sha256: str = ""
    git_sha1: str = ""


@dataclass(frozen=True)
class Listing:
    """A model at one hub. `revision`: the commit; `asked`: what the hub is asked for (ModelScope takes a branch).

    `reference` is the person's; the hub is asked under its own name for the model, where the catalogue knows one.
    """

    hub: str
    reference: str
    revision: str
    asked: str
    files: tuple[HubFile, ...]


def listing(hub: str, reference: str, revision: str | None) -> Listing:
    """Everything the model has at the hub. Raises HubFailure (none such, gated, out of reach); ApplianceError for
    hostile names."""
    try:
        found = (_list_huggingface if hub == "huggingface" else _list_modelscope)(reference, revision)
    except Exception as error:
        raise _told(hub, reference, error) from None
    check_names(
        (file.name for file in found.files),
        _("{hub} lists {model} with files that are refused.").format(hub=NAMES[hub], model=reference),
    )
    return found


def download(found: Listing, file: HubFile, folder: Path) -> None:
    """Bring one file into a folder under its own name, by the hub's own client. Blocks; raises HubFailure."""
    try:
        (_get_huggingface if found.hub == "huggingface" else _get_modelscope)(found, file, folder)
    except Exception as error:
        raise _told(found.hub, found.reference, error) from None


def find(reference: str, revision: str | None, check_stopped: Callable[[], None]) -> tuple[Listing, str]:
    """Ask both hubs at once. Returns the listing to use, and a sentence about the choice.

    The first answer wins, but the preferred hub (ModelScope for Chinese, else Hugging Face) gets a moment more.
    Raises ApplianceError with both reasons when neither has the model.
    """
    preferred = "modelscope" if language() == "zh" else "huggingface"
    answers: queue.SimpleQueue[tuple[str, Listing | ApplianceError]] = queue.SimpleQueue()

    def ask(hub: str) -> None:
        try:
            answers.put((hub, listing(hub, reference, revision)))
        except ApplianceError as error:
            answers.put((hub, error))

    for hub in NAMES:
        threading.Thread(target=ask, args=(hub,), daemon=True).start()
    got: dict[str, Listing] = {}
    failed: dict[str, ApplianceError] = {}
    deadline = time.monotonic() + _ANSWER_SECONDS
    while preferred not in got and len(got) + len(failed) < len(NAMES) and time.monotonic() < deadline:
        check_stopped()
        try:
            hub, value = answers.get(timeout=0.1)
        except queue.Empty:
            continue
        if isinstance(value, Listing):
            got[hub] = value
            deadline = min(deadline, time.monotonic() + _GRACE_SECONDS)
        else:
            failed[hub] = value
    if not got:
        raise _neither(reference, failed)
    chosen = preferred if preferred in got else next(iter(got))
    if chosen == preferred:
        reason = _("it has the model and is the first choice for your language")
    elif preferred in failed:
        reason = failed[preferred].what
    else:
        reason = _("{hub} did not answer in time").format(hub=NAMES[preferred])
    return got[chosen], _("From {hub}: {reason}").format(hub=NAMES[chosen], reason=reason)


def other(hub: str) -> str:
    """The hub that is not this one."""
    return next(name for name in NAMES if name != hub)


def _neither(reference: str, failed: dict[str, ApplianceError]) -> ApplianceError:
    told = [f"{NAMES[hub]}: {error.what} {error.why}".strip() for hub, error in failed.items()]
    told += [_("{hub} did not answer in time").format(hub=NAMES[hub]) for hub in NAMES if hub not in failed]
    steps = {error.next_step for error in failed.values() if error.next_step}
    return ApplianceError(
        _("{model} can't be had from either hub.").format(model=reference),
        "",
        steps.pop()
        if len(steps) == 1 and len(failed) == len(NAMES)
        else _("Check the name (owner/name) and the network; or bring the model as a folder or an archive."),
        told,
        [hub for error in failed.values() for hub in error.token_for],
    )


def _quiet() -> None:
    # Read by the clients when they are imported. Their bars would fill the job's log, and a user's machine is nobody's
    # statistics.
    for name, value in {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TQDM_DISABLE": "1",
        "MODELSCOPE_REPO_TREE_PAGE_MAX_ATTEMPTS": "2",
    }.items():
        os.environ.setdefault(name, value)


def _token(hub: str) -> str:
    return settings.hub_token(hub)


def _list_huggingface(reference: str, revision: str | None) -> Listing:
    _quiet()
    from huggingface_hub import HfApi

    api = HfApi(endpoint=settings.variable("HF_ENDPOINT") or None, token=_token("huggingface") or False)
    info = api.model_info(name_at("huggingface", reference), revision=revision, files_metadata=True, timeout=15)
    files = tuple(
        HubFile(
            str(entry.rfilename),
            int((entry.lfs.size if entry.lfs else entry.size) or 0),
            sha256=str(entry.lfs.sha256) if entry.lfs else "",
            git_sha1="" if entry.lfs else str(entry.blob_id or ""),
        )
        for entry in info.siblings or ()
    )
    commit = str(info.sha or revision or "main")
    return Listing("huggingface", reference, commit, commit, files)


def _get_huggingface(found: Listing, file: HubFile, folder: Path) -> None:
    from huggingface_hub import hf_hub_download

    hf_hub_download(
        name_at("huggingface", found.reference),
        file.name,
        revision=found.asked,
        local_dir=folder,
        endpoint=settings.variable("HF_ENDPOINT") or None,
        token=_token("huggingface") or False,
    )


def _modelscope(place: Path) -> Any:
    _quiet()
    from modelscope_hub import HubApi, HubConfig

    # A place of its own keeps the client's session id and locks out of the user's home, which may be read-only.
    config = HubConfig(
        endpoint=settings.variable("MODELSCOPE_ENDPOINT") or None,
        token=_token("modelscope"),
        cache_dir=place,
        config_dir=place,
    )
    return HubApi(config)


def _list_modelscope(reference: str, revision: str | None) -> Listing:
    asked = revision or "master"
    # The legacy client and not HubApi.list_repo_files: that one drops the commit.
    with TemporaryDirectory() as place:
        api = _modelscope(Path(place))
        raw = api.legacy.list_repo_files(name_at("modelscope", reference), "model", revision=asked, recursive=True)
    entries = [entry for entry in raw if entry.get("Type") != "tree"]
    files = tuple(
        HubFile(
            str(entry.get("Path") or entry.get("Name") or ""),
            int(entry.get("Size") or 0),
            str(entry.get("Sha256") or ""),
        )
        for entry in entries
    )
    newest = max(entries, key=lambda entry: entry.get("CommittedDate") or 0, default=None)
    commit = (newest or {}).get("Revision")
    return Listing("modelscope", reference, str(commit or asked), asked, files)


def _get_modelscope(found: Listing, file: HubFile, folder: Path) -> None:
    _modelscope(folder / ".cache" / "modelscope").download_file(
        name_at("modelscope", found.reference),
        "model",
        file.name,
        revision=found.asked,
        local_dir=folder,
        expected_sha256=file.sha256 or None,
        file_size=file.size or None,
    )


def _told(hub: str, reference: str, error: Exception) -> ApplianceError:
    """A client's error for a person. The libraries' messages carry addresses with signatures: scrubbed."""
    if isinstance(error, ApplianceError):
        return error
    if type(error).__name__ == "LocalEntryNotFoundError" and isinstance(error.__cause__, Exception):
        error = error.__cause__  # huggingface_hub wraps what happened in "not in the cache"
    if isinstance(error, OSError) and error.errno in _OF_THIS_MACHINE:
        return explain(error)
    names = {kind.__name__ for kind in type(error).__mro__}
    response = getattr(error, "response", None)
    status = getattr(error, "status_code", None) or getattr(response, "status_code", None)
    why = scrub(str(error).strip().split("\n")[0][:300]) or type(error).__name__
    values = {"hub": NAMES[hub], "model": reference, "token": settings.HUB_TOKENS[hub], "name": hub}
    if "GatedRepoError" in names or status == 403:
        return HubFailure(
            _("{model} is closed at {hub} until its owner lets you in.").format(**values),
            why,
            _(
                "Open its page at {hub} and accept the conditions. Then give your token, unseen: appliance settings"
                " token {name} (or set {token}), and try again."
            ).format(**values),
            token_for=[hub],
        )
    if status == 401 and "RepositoryNotFoundError" not in names:
        return HubFailure(
            _("{hub} wants to know who you are before it gives {model}.").format(**values),
            why,
            _(
                "Give your token (or a valid one), unseen: appliance settings token {name} (or set {token}), and try"
                " again."
            ).format(**values),
            token_for=[hub],
        )
    if (
        names & {"RepositoryNotFoundError", "RevisionNotFoundError", "EntryNotFoundError", "NotExistError"}
        or status == 404
    ):
        return HubFailure(
            _("{hub} has no model {model} (or no such revision, or it is private).").format(**values),
            why,
            _(
                "Check the name (owner/name) and the revision. For a private model, give your token: appliance settings"
                " token {name}"
            ).format(**values),
        )
    if "HFValidationError" in names:
        return HubFailure(_("{model} is no name of a model.").format(**values), why, _("Write it as owner/name."))
    if "FileIntegrityError" in names:
        return damaged(hub, why)
    return HubFailure(
        _("{hub} could not be reached or gave no proper answer.").format(**values),
        why,
        _("Check the network and proxy settings, then try again; finished files are kept."),
    )


def damaged(hub: str, why: str) -> HubFailure:
    """Bytes came that are not what the hub itself says the file is."""
    return HubFailure(
        _("What {hub} sent is not what it lists: the file was refused.").format(hub=NAMES[hub]),
        why,
        _("Try again later or take the other hub (--source). A proxy or mirror in between may change files."),
    )


def scrub(text: str) -> str:
    """A text without tokens, passwords in addresses, and the signed part of addresses."""
    secrets = (read(hub) for hub in NAMES for read in (settings.hub_token, settings.stored_token))
    for secret in secrets:
        text = text.replace(secret, "***") if secret else text
    text = re.sub(r"(https?://)[^/\s@]+@", r"\1***@", text)
    return re.sub(r"(https?://[^\s?'\"<>]+)\?[^\s'\"<>]*", r"\1", text)
