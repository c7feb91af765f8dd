"""The chat page beside an engine (`appliance.page`): started with it, looked after, ended with it.

A page that can't be had never takes the server with it: the screen says so, and the address answers all the same.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from typing import Any

from appliance import files, settings
from appliance.locale import _
from appliance.work.context import Context
from appliance.work.engine_process import answers_as, health_address, reachable

_START_SECONDS = 90.0
_MOST_STARTS = 6


class PageProcess:
    """Started when made. In our own process group and a child of ours, so EngineProcess.end ends it too."""

    def __init__(self, context: Context, port: int, told: dict[str, Any]):
        self.context, self.port = context, port
        self.instance = secrets.token_hex(8)
        self.settings = context.folder / "page.json"
        host = told["host"]
        self.where = f"http://{reachable(host)}:{port}/"
        self.health = health_address(host, port)
        files.write_json(self.settings, {**told, "port": port, "instance": self.instance}, mode=0o600)
        self.starts = 0
        self.child = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        self.starts += 1
        environment = {**settings.child_environment(), "APPLIANCE_PARENT": str(os.getpid())}
        page = [str(settings.python_of("page")), "-P", "-m", "appliance.page", str(self.settings)]
        words = [str(settings.python_of("core")), "-P", "-m", "appliance.engines.tether", *page]
        # A log of its own: the engine's is searched for reasons why the engine failed.
        with (self.context.folder / "page.log").open("ab") as log:
            return subprocess.Popen(
                words, cwd=self.context.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def look(self) -> str | None:
        """The address where it answers just now; None: it doesn't. One that has ended is started again."""
        if self.child.poll() is not None:
            if self.starts < _MOST_STARTS:
                self.child = self._start()
            return None
        return self.where if answers_as(self.health, self.instance) else None

    def wait(self) -> str | None:
        """The address once it answers; None, and a warning, when it can't be had."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and (self.child.poll() is None or self.starts < _MOST_STARTS):
            if where := self.look():
                return where
            time.sleep(0.1)
        log = self.context.folder / "page.log"
        self.context.warn(
            _("The chat page could not be started; the server answers all the same. See {log}").format(log=log)
        )
        return None
