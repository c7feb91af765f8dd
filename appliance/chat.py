"""`appliance chat`: a conversation with a server in the terminal. Streaming, history, thumbs.

The key is read from its file and shown nowhere. Ctrl-C stops the answer that is being written; at the question it, and
Ctrl-D, ends the chat.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from appliance import output, settings
from appliance.data import feedback
from appliance.engines import keys
from appliance.errors import ApplianceError, UsageError
from appliance.jobs.folder import Job, all_jobs, find, serving
from appliance.locale import _


@dataclass
class Server:
    """Where to ask. `address` ends in /v1; `key` is empty where none is wanted."""

    address: str
    key: str = field(repr=False)
    model: str


def at(server: str | None, model: str | None = None, key_file: str | None = None) -> Server:
    """A server by its job, its address, or the newest that answers. Raises ApplianceError, UsageError."""
    if server is not None and server.startswith(("http://", "https://")):
        address = server.rstrip("/")
        address = address if address.endswith("/v1") else address + "/v1"
        known = next((job for job in running() if serving(job)["address"] == address), None)
        file = key_file or (serving(known)["key_file"] if known else None)
        key = keys.read_key(Path(file).expanduser()) if file else ""
        return Server(address, key, model or (serving(known)["model"] if known else _only_model(address, key)))
    if server is None:
        job = next(iter(running()), None)
        if job is None:
            raise ApplianceError(
                _("No server is running."), "", _("Start one: appliance serve M   or give an address: http://…/v1")
            )
    else:
        job = find(server)
    where = serving(job)
    if job.kind != "serve" or not job.state().active or not where["address"]:
        raise ApplianceError(
            _("The job {id} doesn't answer.").format(id=job.id),
            _("It is {state}.").format(state=job.state().word),
            _("See the jobs and their ids: appliance jobs list"),
        )
    names = [where["model"], *(where["adapters"] or [])]
    if model is not None and model not in names:
        raise UsageError(_("{name} is not served there.").format(name=model), "", ", ".join(names))
    file = key_file or where["key_file"]
    return Server(where["address"], keys.read_key(Path(file).expanduser()) if file else "", model or names[0])


def running() -> list[Job]:
    """The servers of this workspace that answer, newest first."""
    return [job for job in all_jobs() if job.kind == "serve" and job.state().active and serving(job)["address"]]


def _only_model(address: str, key: str) -> str:
    with _client(address, key) as client, _told(address):
        names = [model.id for model in client.models.list()]
    if len(names) != 1:
        raise UsageError(_("Several models are served there."), ", ".join(names), _("Choose one with --model."))
    return str(names[0])


def _client(address: str, key: str) -> Any:
    from openai import DefaultHttpxClient, OpenAI

    # A proxy has no business between this machine and its own server: it would hear the key.
    here = urlsplit(address).hostname in ("127.0.0.1", "localhost", "::1")
    wire = DefaultHttpxClient(trust_env=not here)
    return OpenAI(base_url=address, api_key=key or "none", max_retries=0, timeout=600, http_client=wire)


class _told:
    """The client's errors as ours."""

    def __init__(self, address: str):
        self.address = address

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: Any, error: BaseException | None, _trace: Any) -> None:
        from openai import APIConnectionError, APIStatusError, OpenAIError

        if isinstance(error, APIStatusError):
            body = error.body if isinstance(error.body, dict) else {}
            told = str(body.get("message") or error.message)
            fix = _("Give the right key with --key-file FILE.") if error.status_code == 401 else ""
            if body.get("code") == "context_length_exceeded":
                fix = _("Begin anew with /reset.")
            raise ApplianceError(_("The server refused ({code}).").format(code=error.status_code), told, fix) from error
        if isinstance(error, APIConnectionError):
            raise ApplianceError(
                _("{address} could not be reached.").format(address=self.address),
                str(error.__cause__ or error),
                _("See whether it still runs: appliance jobs list"),
            ) from error
        if isinstance(error, OpenAIError):
            raise ApplianceError(_("The server did not answer a question."), str(error)) from error


def talk(server: Server, system: str | None = None) -> None:
    """Ask and answer until the person leaves. Questions come from the terminal, or a line each from a pipe."""
    first: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    said = list(first)
    output.say(_("Talking to {model} at {address}.").format(model=server.model, address=server.address), "bold")
    output.note(_("/good and /bad judge the last answer, /reset begins anew, /quit ends. Ctrl-C stops an answer."))
    read = _reader()
    with _client(server.address, server.key) as client:
        while (question := read()) is not None:
            if question == "/quit":
                return
            if question == "/reset":
                said = list(first)
                output.note(_("Begun anew."))
            elif question in ("/good", "/bad"):
                _judge(server, said, question == "/good")
            elif question.startswith("/"):
                output.warn(_("There is no {word}. There are /good, /bad, /reset and /quit.").format(word=question))
            elif question:
                said.append({"role": "user", "content": question})
                if not _answer(client, server, said):
                    said.pop()


def _reader() -> Callable[[], str | None]:
    """The next line without its spaces; None at the end."""
    if not sys.stdin.isatty():

        def from_pipe() -> str | None:
            line = sys.stdin.readline()
            return line.strip() if line else None

        return from_pipe
    # Lines with Chinese, moved in and edited: the terminal's own line editing can't.
    from prompt_toolkit import PromptSession

    session: PromptSession[str] = PromptSession()
    session.app.renderer.cpr_not_supported_callback = None  # as in questions.py

    def from_terminal() -> str | None:
        try:
            return session.prompt("> ").strip()
        except (EOFError, KeyboardInterrupt):
            return None

    return from_terminal


def _answer(client: Any, server: Server, said: list[dict[str, Any]]) -> bool:
    """Write the answer as it comes and add it to what was said. False: there is none."""
    written = ""
    out = output.console().file
    waiting = ExitStack()
    try:
        with waiting, _told(server.address):
            if output.console().is_terminal:  # a large model thinks for seconds before its first word
                waiting.enter_context(output.waiting(_("waiting for the answer")))
            stream = client.chat.completions.create(model=server.model, messages=said, stream=True)
            with stream:
                for event in stream:
                    for choice in event.choices:
                        piece = choice.delta.content or ""
                        if piece:
                            waiting.close()
                        written += piece
                        out.write(_printable(piece))
                        out.flush()
    except KeyboardInterrupt:
        out.write("\n")
        output.note(_("Stopped."))
    except ApplianceError as error:
        if written:
            out.write("\n")
        output.error(error)
        return False
    else:
        out.write("\n")
        if not written:
            output.note(_("The answer is empty."))
    if written:
        said.append({"role": "assistant", "content": written})
    return bool(written)


def _printable(text: str) -> str:
    """Without what a terminal would obey: a model must not move the cursor or set the window's title."""
    return "".join(letter for letter in text if letter in "\n\t" or letter.isprintable())


def _judge(server: Server, said: list[dict[str, Any]], good: bool) -> None:
    if not said or said[-1]["role"] != "assistant":
        output.warn(_("There is no answer to judge yet."))
        return
    path = settings.feedback_file()
    feedback.add(path, server.model, said, good)
    output.note(_("Kept. Make a data set of it: appliance data from-feedback"))
