"""ApplianceError (what happened, why, what to do next) and the one map from other libraries' errors to it."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

from appliance.locale import _


class ApplianceError(Exception):
    """A failure told to a person: three sentences in their language, and every further problem found.

    what       what happened
    why        the reason, as far as it is known
    next_step  what to do now; where a command helps, the command itself
    problems   more lines, when one file has several things wrong: all of them at once
    token_for  the hubs (huggingface, modelscope) whose token would open what was closed
    """

    def __init__(
        self,
        what: str,
        why: str = "",
        next_step: str = "",
        problems: Sequence[str] = (),
        token_for: Sequence[str] = (),
    ):
        super().__init__(what)
        self.what, self.why, self.next_step, self.problems = what, why, next_step, list(problems)
        self.token_for = list(token_for)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`, state.json and events."""
        value = {"what": self.what, "why": self.why, "next": self.next_step, "problems": self.problems}
        return {**value, "token_for": self.token_for} if self.token_for else value

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> ApplianceError:
        """The opposite of as_dict."""
        return cls(
            value.get("what", ""),
            value.get("why", ""),
            value.get("next", ""),
            value.get("problems") or (),
            value.get("token_for") or (),
        )


class UsageError(ApplianceError):
    """Wrong words on the command line or in a recipe: exit code 2."""


class Stopped(BaseException):
    """A worker was asked to stop (SIGTERM). Not an Exception, so that no library's `except Exception` eats it."""


def explain(error: BaseException) -> ApplianceError:
    """Any exception as an ApplianceError. Library errors are recognised by name: nothing is imported for it."""
    if isinstance(error, ApplianceError):
        return error
    for kind in type(error).__mro__:
        maker = _KNOWN.get(kind.__name__)
        if maker:
            return maker(error)
    return _inside(error)


def _from_os_error(error: BaseException) -> ApplianceError:
    assert isinstance(error, OSError)
    name = str(error.filename or "")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ApplianceError(
            _("The disk is full."),
            _("There was no room to write {name}.").format(name=name or _("a file")),
            _("Free some space (`appliance jobs remove ID` removes finished jobs), then resume the job."),
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return ApplianceError(
            _("No permission for {name}.").format(name=name),
            error.strerror or "",
            _("Make it readable and writable for you, or choose another folder (APPLIANCE_HOME for the workspace)."),
        )
    if error.errno == errno.EROFS:
        return ApplianceError(
            _("{name} is on a read-only disk.").format(name=name),
            error.strerror or "",
            _(
                "Choose a folder that can be written "
                "(APPLIANCE_HOME for the workspace; in Docker, mount a volume at /data)."
            ),
        )
    if error.errno == errno.ENOENT:
        return ApplianceError(
            _("{name} is not there.").format(name=name),
            error.strerror or "",
            _("Check the spelling and that the disk or volume is mounted."),
        )
    return ApplianceError(
        _("The system refused something."),
        f"{error.strerror or error}{': ' + name if name else ''}",
        _("See `appliance doctor` for what is wrong with this machine."),
    )


def _connection(error: BaseException) -> ApplianceError:
    return ApplianceError(
        _("The other side could not be reached."),
        str(error) or type(error).__name__,
        _("Check the network and proxy settings, then try again; finished parts are kept."),
    )


def _out_of_memory(error: BaseException) -> ApplianceError:
    return ApplianceError(
        _("The memory was not enough."),
        str(error).split("\n")[0] or type(error).__name__,
        _("Use a smaller model, QLoRA, or a shorter length; `appliance plan` shows what fits."),
    )


def _not_found_at_hub(error: BaseException) -> ApplianceError:
    return ApplianceError(
        _("The hub has no such model, or it is private."),
        str(error).strip().split("\n")[0],
        _("Check the name (owner/name). For a private model, set HF_TOKEN or MODELSCOPE_API_TOKEN."),
    )


def _gated(error: BaseException) -> ApplianceError:
    return ApplianceError(
        _("This model's owner asks you to accept conditions first."),
        str(error).strip().split("\n")[0],
        _("Open the model's page at the hub, accept the conditions, then set HF_TOKEN to your token and try again."),
    )


def _weights_unreadable(error: BaseException) -> ApplianceError:
    return ApplianceError(
        _("A weights file can't be read."),
        str(error),
        _("It is probably incomplete. Download or import the model again."),
    )


def _runtime(error: BaseException) -> ApplianceError:
    if "home directory" in str(error):  # what pathlib says of ~name
        return ApplianceError(
            _("There is no such user."), str(error), _("Write the whole path instead of one that begins with ~.")
        )
    return _inside(error)


def _inside(error: BaseException) -> ApplianceError:
    return ApplianceError(
        _("Something inside the appliance failed."),
        f"{type(error).__name__}: {error}",
        _("Run the same again with APPLIANCE_DEBUG=1 to see where, and please report it."),
    )


_KNOWN = {
    "RuntimeError": _runtime,
    "OutOfMemoryError": _out_of_memory,
    "MemoryError": _out_of_memory,
    "GatedRepoError": _gated,
    "RepositoryNotFoundError": _not_found_at_hub,
    "RevisionNotFoundError": _not_found_at_hub,
    "NotExistError": _not_found_at_hub,
    "SafetensorError": _weights_unreadable,
    "ConnectError": _connection,
    "ConnectTimeout": _connection,
    "TransportError": _connection,
    "LocalEntryNotFoundError": _connection,
    "ConnectionError": _connection,
    "TimeoutError": _connection,
    "OSError": _from_os_error,
}
