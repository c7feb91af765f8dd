"""A real `transformers serve` behind the guard, once per session."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from appliance import engines, locale, settings
from appliance.engines import keys

NAME = "my-model"


@dataclass
class Server:
    host: str
    port: int
    key: str
    model: Path
    pid: int
    routes: list[list[str]]
    phases: list[str]
    log: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"http://{self.host}:{self.port}"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    python = settings.python_of("train")
    if not python.exists():
        pytest.skip("the training environment is not installed")
    folder = tmp_path_factory.mktemp("serving")
    model = folder / "a model@v1:α"  # "@" and ":" mean something to transformers; a path may hold them all the same
    variables = {**settings.child_environment(), "OMP_NUM_THREADS": "1"}
    script = Path(__file__).with_name("tiny_model.py")
    built = subprocess.run([python, script, model], env=variables, stdout=subprocess.PIPE, check=True)

    locale.set_language("en")
    engine = engines.by_name("transformers")
    key_file = folder / "key"
    key = keys.read_key(keys.ensure(key_file)[0])
    guard = folder / "guard.json"
    guard.write_text(json.dumps({"keys": str(key_file), "names": [NAME], "body_limit": 100_000, "body_seconds": 1}))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables |= {**engine.variables({}), "APPLIANCE_GUARD": str(guard)}
    command = engine.command(python, model, "127.0.0.1", port, {"name": NAME})
    assert key not in " ".join(command) and key not in str(variables)
    child = subprocess.Popen(
        command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert child.stdout
    running = Server("127.0.0.1", port, key, model, child.pid, json.loads(built.stdout), [])
    for line in child.stdout:
        running.log.append(line)
        phase = engine.phase(line)
        if phase:
            running.phases.append(phase)
        if "Uvicorn running" in line:
            break
    else:
        pytest.fail("the server ended: " + "".join(running.log))
    locale.set_language()
    drain = threading.Thread(target=running.log.extend, args=(child.stdout,))
    drain.start()
    yield running
    mine = [psutil.Process(child.pid), *psutil.Process(child.pid).children(recursive=True)]
    child.terminate()
    child.wait(10)
    drain.join()
    assert not [one for one in mine if one.is_running()]
    assert key not in "".join(running.log)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
