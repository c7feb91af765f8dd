"""Hand a model or an adapter on: into a repository at a hub, which nobody else sees unless a person said otherwise.

The bytes go by the hubs' own clients. What has arrived is not sent again by a further try: a hub knows every large file
by its sha256. ModelScope gets a commit for each file, config.json in the last one; Hugging Face gets one for all.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from appliance import settings
from appliance.errors import ApplianceError, Stopped, UsageError
from appliance.files import sha256
from appliance.hub import hubs, manifest
from appliance.hub.verify import how_to_mend, no_manifest
from appliance.locale import _

_SHORT = {"hf": "huggingface", "huggingface": "huggingface", "modelscope": "modelscope"}
# Neither code, nor what a person's rows have left behind (the answers), nor what only this machine needs.
_SENT = re.compile(r".*\.(safetensors|json|jinja|model|txt|tiktoken)$|LICENSE.*|NOTICE.*|README\.md$", re.I)
_KEPT = re.compile(r"(.*/)?(\.|appliance-.*\.json$|trained-answers\.json$)")
_MESSAGE = "Add model"


@dataclass(frozen=True)
class Item:
    """A file that is sent: its name there, and what the manifest says of it ("" where there is none)."""

    name: str
    path: Path
    size: int
    sha256: str


def parse(to: str) -> tuple[str, str]:
    """(hub, owner/name) of `hf:owner/name` or `modelscope:owner/name`. Raises UsageError."""
    short, _colon, reference = to.partition(":")
    if short not in _SHORT or not re.fullmatch(r"[\w.-]+/[\w.-]+", reference, re.ASCII) or ".." in reference:
        raise UsageError(
            _("{name} is no place at a hub.").format(name=to),
            _("It takes the hub, your name there, and a name for the model."),
            "hf:me/my-model | modelscope:me/my-model",
        )
    return _SHORT[short], reference


def look(folder: Path) -> list[Item]:
    """What would be sent, config.json last. Raises ApplianceError for what is not whole."""
    written = manifest.read(folder) or {"files": {}}
    if not written["files"] and not manifest.is_adapter(folder):
        raise no_manifest(folder)
    wrong = manifest.differences(folder, written)
    if wrong:
        raise _damaged(folder, written, wrong)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    items = [
        Item(name, folder / name, (folder / name).stat().st_size, written["files"].get(name, {}).get("sha256") or "")
        for name in names
        if _SENT.fullmatch(Path(name).name) and not _KEPT.match(name)
    ]
    return sorted(items, key=lambda item: (not item.name.endswith(".safetensors"), item.name == "config.json"))


def push(
    folder: Path,
    hub: str,
    reference: str,
    *,
    public: bool,
    progress: Callable[[int, int, str], None],
    check_stopped: Callable[[], None],
) -> dict[str, Any]:
    """Send the model. Returns {pushed, page, private, revision, files, bytes}.

    progress  called with (done bytes, total bytes, file)
    Raises ApplianceError: not whole, no token, a public place that nobody allowed, another model there, no connection.
    """
    items = look(folder)
    if not hubs.secrets(hub):
        raise _no_token(hub)
    written = manifest.read(folder) or {"files": {}}
    for item in items:
        check_stopped()
        known = item.sha256 and not manifest.unchanged(folder, item.name, written["files"][item.name])
        if known and sha256(item.path) != item.sha256:
            raise _damaged(folder, written, [item.name])
    total = sum(item.size for item in items)
    with TemporaryDirectory() as place:
        door = (_HuggingFace if hub == "huggingface" else _ModelScope)(reference, Path(place))
        try:
            private = door.is_private()
            if private is None:
                door.create(public)
                private = not public
            elif not private and not public:
                raise _seen_by_all(hub, reference)
            there = {file.name: file.sha256 for file in hubs.listing(hub, reference, None).files}
            _refuse_another(items, there, hub, reference)
            done = 0
            for item in items:
                check_stopped()
                progress(done, total, item.name)
                if not item.sha256 or there.get(item.name) != item.sha256:
                    door.send(item, partial(_moved, progress, check_stopped, done, total, item.name))
                done += item.size
                progress(done, total, item.name)
            revision = door.finish()
        except (ApplianceError, Stopped):
            raise
        except Exception as error:
            raise _told(hub, reference, error) from None
    return {
        "pushed": f"{hub}:{reference}",
        "page": door.page,
        "private": private,
        "revision": revision,
        "files": len(items),
        "bytes": total,
    }


def _moved(
    progress: Callable[[int, int, str], None],
    check_stopped: Callable[[], None],
    before: int,
    total: int,
    name: str,
    count: int,
) -> None:
    check_stopped()
    progress(before + count, total, name)


class _HuggingFace:
    """One repository. Large files go one by one, then a commit makes all of them appear at once."""

    def __init__(self, reference: str, _place: Path):
        self._api, self._name = hubs.huggingface(), reference
        self._additions: list[Any] = []
        self.page = f"{hubs.endpoint('huggingface')}/{reference}"

    def is_private(self) -> bool | None:
        """None where there is no such repository."""
        if not self._api.repo_exists(self._name):
            return None
        return bool(self._api.model_info(self._name).private)

    def create(self, public: bool) -> None:
        """An empty one."""
        self._api.create_repo(self._name, private=not public)

    def send(self, item: Item, seen: Callable[[int], None]) -> None:
        """`seen` is told how many bytes of the file have gone."""
        from huggingface_hub import CommitOperationAdd

        # The client takes an open file's sha256 at once, and reads it again when it sends it.
        file = _Told(io.FileIO(item.path))
        addition = CommitOperationAdd(path_in_repo=item.name, path_or_fileobj=file)
        file.seen = seen
        self._api.preupload_lfs_files(self._name, [addition], num_threads=1)
        self._additions.append(addition)

    def finish(self) -> str:
        """The commit."""
        if not self._additions:
            return str(self._api.model_info(self._name).sha)
        return str(self._api.create_commit(self._name, self._additions, commit_message=_MESSAGE).oid)


class _Told(io.BufferedReader):
    """A file that tells how far it was read."""

    seen: Callable[[int], None] | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        """As the one that it is."""
        found = super().read(size)
        if self.seen is not None:
            self.seen(self.tell())
        return found


class _ModelScope:
    """One repository; each file is a commit."""

    def __init__(self, reference: str, place: Path):
        self._api, self._name = hubs.modelscope(place), reference
        self.page = f"{hubs.endpoint('modelscope')}/models/{reference}"

    def is_private(self) -> bool | None:
        """None where there is no such repository."""
        from modelscope_hub.errors import NotExistError

        try:
            found = self._api.legacy.get_repo_info(self._name, "model")
        except NotExistError:
            return None
        # 5 is public, 1 private, 3 seen by an organisation.
        return int(found.get("Visibility") or 5) != 5

    def create(self, public: bool) -> None:
        """An empty one."""
        self._api.create_repo(self._name, "model", visibility="public" if public else "private")

    def send(self, item: Item, seen: Callable[[int], None]) -> None:
        """`seen` is told when all of it has gone: this client tells of nothing before."""
        self._api.upload_file(self._name, "model", item.path, item.name, commit_message=_MESSAGE, disable_tqdm=True)
        seen(item.size)

    def finish(self) -> str:
        """Everything is there already."""
        return hubs.listing("modelscope", self._name, None).revision


def _refuse_another(items: list[Item], there: dict[str, str], hub: str, reference: str) -> None:
    """A repository with other weights is another model; half of each would be none."""
    ours = {item.name: item.sha256 for item in items}
    others = [
        name
        for name, digest in there.items()
        if name.endswith(".safetensors") and (name not in ours or (ours[name] or digest) != digest)
    ]
    if others:
        raise ApplianceError(
            _("Another model is at {hub} under {name}.").format(hub=hubs.NAMES[hub], name=reference),
            _("Its files: {files}.").format(files=", ".join(sorted(others)[:5])),
            _("Choose another name, or remove it on its page at the hub first."),
        )


def _no_token(hub: str) -> ApplianceError:
    """Nothing can be sent without one."""
    return ApplianceError(
        _("{hub} takes nothing from strangers.").format(hub=hubs.NAMES[hub]),
        _("There is no token for it here, or the address in use is not the hub's own."),
        _("Give a token that may write, unseen: appliance settings token {name} (or set {token}).").format(
            name=hub, token=settings.HUB_TOKENS[hub]
        ),
        token_for=[hub],
    )


def _seen_by_all(hub: str, reference: str) -> ApplianceError:
    return ApplianceError(
        _("{name} at {hub} is seen by everyone.").format(name=reference, hub=hubs.NAMES[hub]),
        _("You did not say that your model may be."),
        _("Say so with --public, choose another name, or make that one private on its page."),
    )


def _damaged(folder: Path, written: dict[str, Any], wrong: list[str]) -> ApplianceError:
    return ApplianceError(
        _("{name} is damaged, so it is not sent.").format(name=folder.name),
        _("These files are not what they were: {files}.").format(files=", ".join(wrong[:5])),
        how_to_mend(folder, written),
    )


def _told(hub: str, reference: str, error: Exception) -> ApplianceError:
    """What a client says, for a person who sends something."""
    status = getattr(getattr(error, "response", None), "status_code", None) or getattr(error, "status_code", None)
    cause = error.__cause__
    if status is None and isinstance(cause, Exception):  # Hugging Face's client wraps what befell one file
        return _told(hub, reference, cause)
    if status not in (401, 403):
        return hubs.told(hub, reference, error)
    return ApplianceError(
        _("{hub} does not let you write to {name}.").format(hub=hubs.NAMES[hub], name=reference),
        hubs.scrub(str(error).strip().split("\n")[0][:300]) or type(error).__name__,
        _("Give a token that may write, unseen: appliance settings token {name} (or set {token}).").format(
            name=hub, token=settings.HUB_TOKENS[hub]
        ),
        token_for=[hub],
    )
