"""Serve: start an engine with the guard inside, say when it answers, look after it, end it clean.

Runs in the front's environment; the engine runs in its own. `serving.json` says where it answers and how it is:

    starting     the engine loads (its phase is in the events), or starts again after a crash; no address
    ready        it answers, at `address`
    silent       it runs but doesn't answer just now; no address
    failed       it ended and is not started again
    stopped      a person ended it
"""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Any

from appliance import engines, files, settings
from appliance.engines import keys, ports
from appliance.errors import ApplianceError, Stopped
from appliance.jobs import leftovers, process
from appliance.jobs.folder import all_jobs
from appliance.locale import _
from appliance.work import same_answers
from appliance.work.context import Context
from appliance.work.engine_process import EngineEnded, EngineProcess, adopt_orphans, health_address, reachable
from appliance.work.page_process import PageProcess

_MOST_RESTARTS = 5
_FIRST_PAUSE_SECONDS = 1.0
_PAGE_PORT = 7860
# One that has been well for this long has got over its last crash.
_WELL_SECONDS = 3600.0


def run(context: Context) -> dict[str, Any]:
    """Spec: model (folder), name, host, port, engine, options, adapters, keys (or null), log, page; guard: limits."""
    spec = context.spec
    made = False
    key_file = None
    if spec["keys"]:
        key_file, made = keys.ensure(Path(spec["keys"]))
    elif not ports.is_loopback(spec["host"]):
        raise ApplianceError(
            _("Serving on {host} without a key is refused.").format(host=spec["host"]),
            _("Anyone who reaches this machine could use the model."),
            _("Leave --no-key away, or serve on 127.0.0.1."),
        )
    adopt_orphans()
    _end_orphans(context)
    server = _Server(context, key_file)
    server.say("starting", new_key=made)
    context.progress("starting", 0, 1)
    try:
        server.serve()
    except Stopped:
        server.say("stopped", address=None)
        raise
    except BaseException:
        server.say("failed", address=None)
        raise
    raise AssertionError("a server ends by being stopped or by failing")


def _end_orphans(context: Context) -> None:
    """What killed servers of this workspace left would hold the card and the port."""
    for job in all_jobs():
        over = job.kind == "serve" and job.id != context.id and not job.state().active
        if over and (left := leftovers.end(job)):
            names = ", ".join(map(str, left))
            context.note(_("Ended what the killed server {id} had left: {names}").format(id=job.id, names=names))


class _Server:
    """The engine of this job, over all of its tries."""

    def __init__(self, context: Context, key_file: Path | None):
        self.context, self.spec = context, context.spec
        self.engine = engines.by_name(self.spec["engine"])
        self.options = dict(self.spec.get("options") or {})
        self.key_file = key_file
        self.serving: dict[str, Any] = {
            "address": None,
            "key_file": str(key_file) if key_file else None,
            "engine": self.engine.name,
            "model": self.spec["name"],
            "adapters": [each["name"] for each in self.spec.get("adapters") or []],
            "log": self.spec.get("log"),
            "page": None,
        }
        self.port, self.page_port = self.spec["port"], _PAGE_PORT
        self.page: PageProcess | None = None
        self.held: set[int] = set()
        self.was_ready = False

    def say(self, phase: str, **changes: Any) -> None:
        """Replace serving.json."""
        self.serving.update(changes, phase=phase)
        if self.serving["address"] is None:
            self.serving["page"] = None
        files.write_json(self.context.folder / "serving.json", self.serving)

    def serve(self) -> None:
        """Raises Stopped, or ApplianceError when it can't go on."""
        crashes, tried_again = 0, False
        while True:
            began = time.monotonic()
            engine = self._start()
            try:
                engine.wait_until_ready()
                self._ready(engine)
                engine.watch(self._silent, self._look_at_page)
            except EngineEnded as ended:
                failure = ended
            finally:
                self.say("starting", address=None)
                engine.end()
            self.context.check_stopped()
            # Someone else took the port between our look and the engine's: the next free one, then.
            if not self.was_ready and ports.taken(self.spec["host"], self.port):
                continue
            if not self.was_ready:
                changed = None if tried_again else self.engine.remedy(failure.log, self.options)
                if changed is None:
                    raise failure.error
                tried_again = True
                self.options, sentence = changed
                self.context.warn(f"{failure.error.what} {sentence}")
                continue
            crashes = 1 if time.monotonic() - began > _WELL_SECONDS else crashes + 1
            if crashes > _MOST_RESTARTS:
                raise ApplianceError(
                    _("The engine ended {n} times and is not started again.").format(n=crashes),
                    f"{failure.error.what} {failure.error.why}".strip(),
                    failure.error.next_step,
                )
            self._pause(crashes, failure.error)

    def _pause(self, crashes: int, error: ApplianceError) -> None:
        pause = self.spec.get("pause", _FIRST_PAUSE_SECONDS) * 2 ** (crashes - 1)
        self.context.warn(
            _("{what} It is started again in {seconds:.0f} s (restart {n} of {all}).").format(
                what=error.what, seconds=pause, n=crashes, all=_MOST_RESTARTS
            )
        )
        self.context.stopping.wait(pause)
        self.context.check_stopped()

    def _start(self) -> EngineProcess:
        """The engine on the first free port from the wished one on. Raises ApplianceError when none is free."""
        host = self.spec["host"]
        port = self._free_port(self.port)
        if port != self.port:
            self.context.note(_("Port {wanted} is taken: serving on {port}.").format(wanted=self.port, port=port))
        self.port = port
        spec = {**self.spec, "options": self.options}
        python = settings.python_of(self.engine.environment)
        command = self.engine.command(python, Path(self.spec["model"]), host, port, spec)
        # A new name for each start: what answers under it is this engine and no earlier one.
        instance = secrets.token_hex(8)
        guard = self.context.folder / "guard.json"
        names = [self.spec["name"], *self.serving["adapters"]]
        log = self.spec.get("log")
        self.unlogged = secrets.token_hex(16)
        described = {**self.spec.get("guard", {}), "keys": self.spec["keys"], "names": names, "log": log}
        described["instance"] = instance
        described["unlogged"] = self.unlogged
        files.write_json(guard, described, mode=0o600)
        variables = {**self.engine.variables(spec), "APPLIANCE_GUARD": str(guard), "APPLIANCE_INSTANCE": instance}
        engine = EngineProcess(self.engine, self.context, command, variables, health_address(host, port))
        if self.spec.get("page"):  # beside the engine, which loads meanwhile
            self.page_port = self._free_port(self.page_port)
            told = {"address": self._address(), "names": names, "keys": self.spec["keys"], "host": host}
            told["rows"] = str(settings.feedback_file())
            self.page = PageProcess(self.context, self.page_port, told)
        return engine

    def _free_port(self, wanted: int) -> int:
        port = ports.free_port(self.spec["host"], wanted)
        while port not in self.held and not self.context.take_port(port):
            port = ports.free_port(self.spec["host"], port + 1)
        self.held.add(port)
        return port

    def _address(self) -> str:
        return f"http://{reachable(self.spec['host'])}:{self.port}/v1"

    def _ready(self, engine: EngineProcess) -> None:
        address = self._address()
        if not self.was_ready:
            headers = {"X-Appliance-Unlogged": self.unlogged}
            if self.key_file:
                headers["Authorization"] = f"Bearer {keys.read_key(self.key_file)}"
            same_answers.compare(self.context, address, headers, self.spec, self.options)
            if engine.child.poll() is not None:
                engine.wait_until_ready()  # it ended over the questions: raises
        page = self.page.wait() if self.page else None
        self.was_ready = True
        pid = engine.child.pid
        self.say("ready", address=address, page=page, process={"pid": pid, "mark": process.start_mark(pid)})
        self.context.progress("starting", 1, 1)
        self.context.event("ready", attempt=self.context.attempt, **self.serving)

    def _silent(self, well: bool) -> None:
        if well:
            self.say("ready", address=self._address())
            self.context.note(_("The engine answers again."))
        else:
            self.say("silent", address=None)
            self.context.warn(_("The engine does not answer."))

    def _look_at_page(self) -> None:
        if self.page and self.serving["phase"] == "ready":
            where = self.page.look()
            if where != self.serving["page"]:
                self.say("ready", page=where)
