"""The two hubs through their official clients: what a model consists of there, and where its bytes are.

Called by workers only: the clients are imported inside the functions. Tokens are read from the worker's environment or
from where a person stored them, go to their own hub's client and nowhere else, and are scrubbed from every error.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal
from urllib.parse import urlsplit

from appliance import settings
from appliance.errors import ApplianceError, explain
from appliance.hub.needed import check_names
from appliance.hub.tokens import NAMES as NAMES
from appliance.locale import _
from appliance.planning.catalogue import name_at

_OWN = {
    "huggingface": ("huggingface.co", "hf.co"),
    "modelscope": ("modelscope.cn", "www.modelscope.cn", "modelscope.ai", "www.modelscope.ai"),
}
_OF_THIS_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)  # no hub's fault


Kind = Literal["model", "dataset"]


class HubFailure(ApplianceError):
    """One hub failed; the other one may do."""


class Silence(HubFailure):
    """Nothing came from it for too long: it may come back."""


@dataclass(frozen=True)
class HubFile:
    """One file at a hub. `git_sha1` is the git blob id: all that Hugging Face gives for small files."""

    name: str
    size: int
    sha256: str = ""
    git_sha1: str = ""


@dataclass(frozen=True)
class Listing:
    """A model or a data set at one hub.

    `revision`: the commit; `asked`: what the hub is asked for (ModelScope takes a branch).

    `reference` is the person's; the hub is asked under its own name for the model, where the catalogue knows one.
    """

    hub: str
    reference: str
    revision: str
    asked: str
    files: tuple[HubFile, ...]
    kind: Kind = "model"


def listing(hub: str, reference: str, revision: str | None, kind: Kind = "model") -> Listing:
    """Everything that it has at the hub. Raises HubFailure (none such, gated, out of reach); ApplianceError for
    hostile names."""
    try:
        found = (_list_huggingface if hub == "huggingface" else _list_modelscope)(reference, revision, kind)
    except Exception as error:
        raise told(hub, reference, error) from None
    check_names(
        (file.name for file in found.files),
        _("{hub} lists {model} with files that are refused.").format(hub=NAMES[hub], model=reference),
    )
    return found


def endpoint(hub: str) -> str:
    """The address that a hub is asked at: its own, or what HF_ENDPOINT and MODELSCOPE_ENDPOINT say."""
    if hub == "huggingface":
        return (settings.variable("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    _quiet()
    from modelscope_hub import HubConfig

    with TemporaryDirectory() as place:
        asked = settings.variable("MODELSCOPE_ENDPOINT") or None
        return str(HubConfig(endpoint=asked, token="", cache_dir=Path(place), config_dir=Path(place)).endpoint)


def secrets(hub: str) -> dict[str, str]:
    """The headers that say to a hub who its user is; {} without a token. For the hub's own origin only."""
    token = _token(hub)
    if not token:
        return {}
    headers = {"Authorization": f"Bearer {token}"}
    return headers if hub == "huggingface" else {**headers, "Cookie": f"m_session_id={token}"}


def addresses(found: Listing) -> Callable[[str], str]:
    """Where the hub is asked for a file, by the file's name."""
    name_there = _name(found.hub, found.reference, found.kind)
    if found.hub == "huggingface":
        from huggingface_hub import hf_hub_url

        place = endpoint("huggingface")
        return lambda name: str(
            hf_hub_url(name_there, name, repo_type=found.kind, revision=found.asked, endpoint=place)
        )
    with TemporaryDirectory() as folder:
        client = modelscope(Path(folder)).legacy
    return lambda name: str(client.get_download_url(name_there, found.kind, name, revision=found.asked))


def _name(hub: str, reference: str, kind: Kind) -> str:
    """What it is called at a hub, where a catalogue knows. Raises HubFailure where it knows that it is not there."""
    if kind == "model":
        return name_at(hub, reference)
    from appliance.data.catalogue import references

    name = references(reference).get(hub)
    if name is None:
        raise refused(hub, reference, 404, "")
    return name


def other(hub: str) -> str:
    """The hub that is not this one."""
    return next(name for name in NAMES if name != hub)


def _quiet() -> None:
    # Read by the clients when they are imported. Their bars would fill the job's log, and a user's machine is nobody's
    # statistics.
    for name, value in {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_XET": "1",
        "TQDM_DISABLE": "1",
        "MODELSCOPE_REPO_TREE_PAGE_MAX_ATTEMPTS": "2",
    }.items():
        os.environ.setdefault(name, value)


def _token(hub: str) -> str:
    """The user's token, "" where there is none or where the endpoint is a mirror: a stranger's machine."""
    token = settings.hub_token(hub)
    return token if token and is_own(hub, endpoint(hub)) else ""


def is_own(hub: str, address: str) -> bool:
    """Whether an address belongs to the hub itself, or to this machine or a private network: a company's own hub."""
    parts = urlsplit(address)
    host = (parts.hostname or "").lower()
    if not host:
        return False
    trusted = settings.variable("APPLIANCE_TOKEN_HOSTS").lower().replace(",", " ").split()
    if host in _OWN[hub] or host in trusted or parts.netloc.lower() in trusted or not set(host) & set(".:"):
        return True
    try:
        return ip_address(host).is_private
    except ValueError:
        return False


def huggingface() -> Any:
    """Its client."""
    _quiet()
    from huggingface_hub import HfApi

    return HfApi(endpoint=settings.variable("HF_ENDPOINT") or None, token=_token("huggingface") or False)


def _list_huggingface(reference: str, revision: str | None, kind: Kind) -> Listing:
    api = huggingface()
    ask = api.model_info if kind == "model" else api.dataset_info
    info = ask(_name("huggingface", reference, kind), revision=revision, files_metadata=True, timeout=15)
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
    return Listing("huggingface", reference, commit, commit, files, kind)


def modelscope(place: Path) -> Any:
    """Its client, which keeps what it keeps in `place`."""
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


def _list_modelscope(reference: str, revision: str | None, kind: Kind) -> Listing:
    asked = revision or "master"
    # The legacy client and not HubApi.list_repo_files: that one drops the commit.
    with TemporaryDirectory() as place:
        api = modelscope(Path(place))
        name = _name("modelscope", reference, kind)
        raw = api.legacy.list_repo_files(name, kind, revision=asked, recursive=True)
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
    return Listing("modelscope", reference, str(commit or asked), asked, files, kind)


def told(hub: str, reference: str, error: Exception) -> ApplianceError:
    """A client's error for a person. The libraries' messages carry addresses with signatures: scrubbed."""
    if isinstance(error, ApplianceError):
        return error
    if isinstance(error, OSError) and error.errno in _OF_THIS_MACHINE:
        return explain(error)
    names = {kind.__name__ for kind in type(error).__mro__}
    response = getattr(error, "response", None)
    status = getattr(error, "status_code", None) or getattr(response, "status_code", None)
    why = scrub(str(error).strip().split("\n")[0][:300]) or type(error).__name__
    if "GatedRepoError" in names:
        status = 403
    elif names & {"RepositoryNotFoundError", "RevisionNotFoundError", "EntryNotFoundError", "NotExistError"}:
        status = 404
    if status in (401, 403, 404):
        return refused(hub, reference, status, why)
    if "HFValidationError" in names:
        return HubFailure(
            _("{model} is no name of a model.").format(model=reference), why, _("Write it as owner/name.")
        )
    return unreachable(hub, why)


def refused(hub: str, reference: str, status: int, why: str) -> HubFailure:
    """The hub says no. `status`: of its HTTP answer."""
    values = {"hub": NAMES[hub], "model": reference, "token": settings.HUB_TOKENS[hub], "name": hub}
    if status == 401:
        return HubFailure(
            _("{hub} wants to know who you are before it gives {model}.").format(**values),
            why,
            _(
                "Give your token (or a valid one), unseen: appliance settings token {name} (or set {token}), and try"
                " again."
            ).format(**values),
            token_for=[hub],
        )
    if status == 403:
        return HubFailure(
            _("{model} is closed at {hub} until its owner lets you in.").format(**values),
            why,
            _(
                "Open its page at {hub} and accept the conditions. Then give your token, unseen: appliance settings"
                " token {name} (or set {token}), and try again."
            ).format(**values),
            token_for=[hub],
        )
    if status == 404:
        return HubFailure(
            _("{hub} has no {model} (or no such revision, or it is private).").format(**values),
            why,
            _(
                "Check the name (owner/name) and the revision. For a private one, give your token: appliance settings"
                " token {name}"
            ).format(**values),
        )
    return unreachable(hub, why)


def unreachable(hub: str, why: str) -> HubFailure:
    """No proper answer."""
    return HubFailure(
        _("{hub} could not be reached or gave no proper answer.").format(hub=NAMES[hub]),
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
