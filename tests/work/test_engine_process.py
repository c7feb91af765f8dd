"""Everything that an engine had started ends with it, wherever it stands: as vLLM's workers, which hold the card."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ENGINE = """
import subprocess, sys, time
child = [sys.executable, "-c", "import time; print('worker', flush=True); time.sleep(300)"]
first = subprocess.Popen(child)                                    # in our group
second = subprocess.Popen(child, start_new_session=True)           # in a group of its own
middle = subprocess.Popen([sys.executable, "-c", "import subprocess, sys;"
    "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'], start_new_session=True).pid)"],
    stdout=subprocess.PIPE, text=True)                             # its child has no parent any more
third = int(middle.stdout.readline())
print("pids", first.pid, second.pid, third, flush=True)
time.sleep(300)
"""

SUPERVISOR = """
import json, os, signal, sys, threading, time
from pathlib import Path
from types import SimpleNamespace
from appliance import engines
from appliance.jobs import leftovers
from appliance.jobs.folder import Job
from appliance.work.engine_process import EngineEnded, EngineProcess, adopt_orphans
os.setsid()
folder, script, way = sys.argv[1:]
job = Job(Path(folder))
context = SimpleNamespace(job=job, folder=job.folder, id="x", warn=print, event=print,
    stopping=threading.Event())
adopt_orphans()
engine = EngineProcess(engines.by_name("vllm"), context, [sys.executable, "-c", script],
    {"APPLIANCE_INSTANCE": "i"}, "http://127.0.0.1:9/health")
while "pids" not in job.log.read_text():
    time.sleep(0.02)
engine._remember()
known = [left["pid"] for left in json.loads((job.folder / "processes.json").read_text())]
print(json.dumps(known), flush=True)
if way == "kill":
    engine.child.kill()
    engine.child.wait()
elif way == "workers":
    for pid in known:
        if pid != engine.child.pid:
            os.kill(pid, signal.SIGKILL)
elif way == "supervisor":
    os.kill(os.getpid(), signal.SIGKILL)
elif way == "asked":  # to stop, while it ends
    look = engine._processes
    engine._processes = lambda: (os.kill(os.getpid(), signal.SIGTERM), look())[1]
engine.end()
assert context.stopping.is_set() == (way == "asked")
print(json.dumps([str(left) for left in leftovers.find(job)]))
"""


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can adopt orphans")
@pytest.mark.parametrize("way", ["stop", "asked", "kill", "workers", "supervisor"])
def test_nothing_of_an_engine_is_left(tmp_path: Path, way: str) -> None:
    from appliance.jobs import leftovers
    from appliance.jobs.folder import Job

    command = [sys.executable, "-c", SUPERVISOR, str(tmp_path), ENGINE, way]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    lines = done.stdout.splitlines()
    known = json.loads(lines[0])
    assert len(known) >= 4, done.stderr
    if way == "supervisor":
        # The kernel ends the engine's first process; what that had started is found by the list, and ended.
        job = Job(tmp_path)
        assert {left.pid for left in leftovers.end(job)} <= set(known)
        assert not (tmp_path / "processes.json").exists()
    else:
        assert done.returncode == 0, done.stderr
        assert json.loads(lines[-1]) == []
    assert not [pid for pid in known if alive(pid)]
