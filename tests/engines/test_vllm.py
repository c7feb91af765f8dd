"""What only vLLM has: adapters by name, several processes; each of them killed in turn."""

from __future__ import annotations

import os
import signal
import time

import httpx2
import openai
import psutil
import pytest
from test_openai_surface import GREETING
from workers import until

from appliance.jobs import process
from appliance.jobs.folder import serving

pytestmark = [
    pytest.mark.engines,
    pytest.mark.parametrize("server", [pytest.param("vllm", marks=pytest.mark.engines)], indirect=True),
]


def ask(server, name, **more):
    client = openai.OpenAI(base_url=f"{server.address}/v1", api_key=server.key, max_retries=0, timeout=120)
    return client.chat.completions.create(model=name, messages=GREETING, max_tokens=24, temperature=0, **more)


def test_an_adapter_answers_under_its_own_name(server):
    base, beside = (ask(server, name) for name in server.names)
    assert base.choices[0].message.content.startswith("I am well.")
    assert (beside.choices[0].message.content, beside.model) == ("Adapted.", server.names[1])
    streamed = "".join(c.choices[0].delta.content or "" for c in ask(server, server.names[1], stream=True) if c.choices)
    assert streamed == "Adapted."


def test_each_of_its_processes_killed_in_turn(server):
    """Last in this file: the server of this session is another one afterwards."""
    job = server.job
    worker = psutil.Process(job.state().pid)

    def engine_processes():
        return {one for one in worker.children(recursive=True) if one.status() != psutil.STATUS_ZOMBIE}

    def ready():
        at = serving(job)
        return at["address"] is not None

    # The names that vLLM gives its processes; its API server is the one that we started.
    kinds = ["Worker", "EngineCore", "api server"]
    for number, kind in enumerate(kinds):
        before = engine_processes()
        if kind == "api server":
            victim = next(one for one in worker.children() if one in before)
        else:
            victim = next(one for one in before if kind in " ".join(one.cmdline()))
        assert ready()
        os.kill(victim.pid, signal.SIGKILL)
        gone, alive = psutil.wait_procs(before, timeout=60)
        assert not alive, alive  # nothing of that engine is left, wherever it stood
        assert not ready() or not engine_processes() <= gone
        if number < len(kinds) - 1:
            began = time.monotonic()
            until(job, lambda _events: ready())
            assert ask(server, server.names[0]).choices[0].message.content.startswith("I am well.")
            assert httpx2.get(f"{server.address}/health", trust_env=False).status_code == 200
            assert time.monotonic() - began < 150
    # The last one is stopped while it starts again, by the fixture.
    assert process.group_members(worker.pid)
