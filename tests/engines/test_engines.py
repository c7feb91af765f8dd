"""Choosing an engine, its command line, what its log means; keys and ports."""

from __future__ import annotations

import json
import socket
import subprocess
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import httpx2
import pytest

from appliance import engines, locale, settings
from appliance.engines import keys, ports
from appliance.errors import ApplianceError, UsageError


@pytest.fixture(autouse=True)
def english():
    locale.set_language("en")
    yield
    locale.set_language()


@pytest.fixture(autouse=True)
def on_linux(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")  # what the locks are for


def machine(*cards):
    return SimpleNamespace(
        accelerators=[SimpleNamespace(kind=k, name=n, compute_capability=c, free_gib=20.0) for k, n, c in cards]
    )


T4, V100, L4 = ("cuda", "T4", "7.5"), ("cuda", "V100", "7.0"), ("cuda", "L4", "8.9")
B200, APPLE, ASCEND = ("cuda", "B200", "10.0"), ("mps", "M3", None), ("npu", "910B", None)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    def install(*environments):
        monkeypatch.setenv("APPLIANCE_ENVS", str(tmp_path))
        for name in environments:
            (tmp_path / name / "bin").mkdir(parents=True)
            (tmp_path / name / "bin" / "python").touch()

    return install


@pytest.mark.parametrize(
    ("cards", "name"),
    [((), "transformers"), ((APPLE,), "transformers"), ((V100,), "transformers"), ((T4,), "vllm"), ((L4,), "vllm"),
     ((B200,), "vllm"), ((V100, L4), "vllm")],
)  # fmt: skip
def test_the_engine_follows_the_card(installed, cards, name):
    installed("train", "vllm")
    engine, reason = engines.choose(machine(*cards))
    assert engine.name == name
    assert name.lower() in reason.lower()


@pytest.mark.parametrize(("card", "better"), [(L4, "vllm"), (V100, "lmdeploy")])
def test_without_the_best_engine_transformers_serves_and_says_so(installed, card, better):
    installed("train")
    engine, reason = engines.choose(machine(card))
    assert engine.name == "transformers"
    assert "not installed" in reason and f"appliance install {better}" in reason
    assert engines.faster(machine(card))[0].name == better
    assert engines.faster(machine(APPLE)) is None


def test_lmdeploy_serves_where_vllm_has_no_code(installed):
    installed("train", "vllm", "lmdeploy", "sglang")
    assert engines.choose(machine(V100))[0].name == "lmdeploy"
    assert engines.choose(machine(L4))[0].name == "vllm"
    assert engines.choose(machine(L4), "sglang")[0].name == "sglang"
    assert engines.choose(machine(ASCEND), "lmdeploy")[0].name == "lmdeploy"
    assert engines.choose(machine(ASCEND))[0].name == "transformers"
    assert [card.name for card in engines.cards(engines.by_name("vllm"), machine(V100, L4))] == ["L4"]
    for card, wish in ((V100, "sglang"), (APPLE, "lmdeploy")):
        with pytest.raises(ApplianceError, match="can't run on this machine"):
            engines.choose(machine(card), wish)


def test_a_wish_is_kept_or_refused_with_the_next_step(installed):
    installed("train")
    assert engines.choose(machine(L4), "transformers")[0].name == "transformers"
    with pytest.raises(engines.NotInstalled) as missing:
        engines.choose(machine(L4), "vllm")
    assert "appliance install vllm" in missing.value.next_step and "GiB" in missing.value.why
    with pytest.raises(ApplianceError) as not_by_us:
        engines.choose(machine(ASCEND), "lmdeploy")
    assert not isinstance(not_by_us.value, engines.NotInstalled)
    with pytest.raises(ApplianceError) as no_card:
        engines.choose(machine(V100), "vllm")
    assert "7.5" in no_card.value.why
    with pytest.raises(UsageError):
        engines.choose(machine(), "nonsense")


def test_vllms_command_line():
    spec = {"name": "my-model", "options": {"dtype": "float16", "length": 4096, "memory_share": 0.8, "cards": 2}}
    words = engines.by_name("vllm").command(Path("/e/bin/python"), Path("/m"), "127.0.0.1", 8000, spec)
    after = dict(pairwise(words))
    assert after["serve"] == "/m"
    assert after["--middleware"] == "appliance.engines.guard.Guard"
    assert after["--served-model-name"] == "my-model"
    assert (after["--max-model-len"], after["--dtype"], after["--tensor-parallel-size"]) == ("4096", "float16", "2")
    assert after["--gpu-memory-utilization"] == "0.8"
    assert after["--load-format"] == "safetensors"
    assert "--api-key" not in words and "--trust-remote-code" not in words
    assert all(isinstance(word, str) for word in words)


def test_vllms_command_line_with_adapters_and_tools():
    adapters = [{"name": "a", "folder": "/a=1,2", "rank": 12}, {"name": "b", "folder": "/b", "rank": 4}]
    options = {"family": "qwen3_moe", "chat_template": "/a/chat_template.jinja"}
    spec = {"name": "m", "adapters": adapters, "options": options}
    words = engines.by_name("vllm").command(Path("/e/bin/python"), Path("/m"), "127.0.0.1", 8000, spec)
    after = dict(pairwise(words))
    assert "--enable-lora" in words and after["--max-lora-rank"] == "16" and after["--max-loras"] == "2"
    at = words.index("--lora-modules")
    assert [json.loads(word) for word in words[at + 1 : at + 3]] == [
        {"name": "a", "path": "/a=1,2"}, {"name": "b", "path": "/b"},
    ]  # fmt: skip
    assert after["--chat-template"] == "/a/chat_template.jinja"
    assert after["--tool-call-parser"] == "hermes" and "--enable-auto-tool-choice" in words
    assert "--reasoning-parser" not in words
    for family, parser in (("qwen3_moe", "qwen3"), ("llama", "deepseek_r1"), ("", "deepseek_r1")):
        spec["options"] = {"family": family, "thinks": True}
        words = engines.by_name("vllm").command(Path("/e/bin/python"), Path("/m"), "127.0.0.1", 8000, spec)
        assert words[words.index("--reasoning-parser") + 1] == parser


# What uvicorn is asked to serve by a program that knows nothing of us, as LMDeploy's and SGLang's servers are.
SERVER = """
import sys, uvicorn
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            event = (await receive())["type"]
            await send({"type": event + ".complete"})
            if event == "lifespan.shutdown": return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"open to all"})
if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]))
"""


def test_the_guard_stands_before_whatever_uvicorn_serves(tmp_path):
    (tmp_path / "anyserver.py").write_text(SERVER)
    (tmp_path / "key").write_text("sk-x\n")
    guard = tmp_path / "guard.json"
    guard.write_text(json.dumps({"keys": str(tmp_path / "key"), "names": ["m"], "instance": "ours"}))
    port = ports.free_port("127.0.0.1", 18000)
    environment = {**settings.child_environment(), "APPLIANCE_GUARD": str(guard)}
    environment["PYTHONPATH"] += f":{tmp_path}"
    command = [settings.python_of("train"), "-m", "appliance.engines.guarded", "anyserver", str(port)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as child:
        try:
            assert any("Uvicorn running" in line for line in child.stderr)
            with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as web:
                well = web.get("/health")
                assert (well.status_code, well.headers["x-appliance-instance"]) == (200, "ours")
                assert web.get("/v1/models").status_code == 401
                for path in ("/", "/generate", "/docs", "/update_weights"):
                    assert web.get(path).status_code == 404
        finally:
            child.terminate()


@pytest.mark.parametrize(
    ("log", "options", "changed"),
    [
        ("ValueError: Free memory on device cuda:0 (12.5/24.0 GiB) on startup is less than desired GPU memory "
         "utilization (0.9, 21.6 GiB).", {"memory_share": 0.9}, {"memory_share": 0.5}),
        ("(14.00 GiB KV cache is needed, which is larger than the available KV cache memory (9.97 GiB). Based on the "
         "available memory, the estimated maximum model length is 5136.", {"length": 8192, "parallel": 8},
         {"length": 5136, "parallel": 4}),
        ("torch.OutOfMemoryError: CUDA out of memory.", {"length": 8192}, {"length": 4096}),
        ("User-specified max_model_len (9000) is greater than the derived max_model_len (max_position_embeddings=4096",
         {"length": 9000, "parallel": 4}, {"length": 4096, "parallel": 4}),
        ("ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0.",
         {"dtype": "bfloat16"}, {"dtype": "float16"}),
        ("torch.OutOfMemoryError: CUDA out of memory.", {"length": 600}, None),
        ("KeyError: 'x'", {"length": 8192}, None),
    ],
)  # fmt: skip
def test_a_failed_start_is_tried_once_more_with_what_may_work(log, options, changed):
    remedy = engines.by_name("vllm").remedy(log, options)
    assert (remedy[0] if remedy else None) == changed
    assert remedy is None or remedy[1]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", "memory was not enough"),
        ("ValueError: Free memory on device (3.1/24 GiB) on startup is less than desired GPU memory utilization",
         "memory was not enough"),
        ("ValueError: To serve at least one request with the models's max seq len (131072), (14.00 GiB KV cache is "
         "needed, which is larger than the available KV cache memory (9.97 GiB).", "too small for this length"),
        ("ERROR:    [Errno 98] error while attempting to bind on address ('127.0.0.1', 8000): address already in use",
         "port is taken"),
        ("ValueError: The checkpoint you are trying to load has model type `x` but Transformers does not recognize "
         "this architecture.", "architecture"),
        ("ValueError: Cannot use chat template functions because tokenizer.chat_template is not set", "chat template"),
        ("OSError: Error no file named model.safetensors found in directory .", "safetensors"),
    ],
)  # fmt: skip
def test_known_failures_are_told_as_a_sentence(line, sentence):
    for name in engines.ENGINES:
        told = engines.by_name(name).failure(f"INFO: before\n{line}\nTraceback after\n")
        assert told and sentence in told.what
        assert told.why == line[:300]
        assert told.next_step
    assert engines.by_name("vllm").failure("INFO: all is well") is None


def test_a_real_bind_on_a_taken_port_is_recognised(server):
    """What uvicorn really prints, not what we remember of it."""
    python = settings.python_of("train")
    code = f"import uvicorn; uvicorn.run(None, host='127.0.0.1', port={server.port}, lifespan='off')"
    ended = subprocess.run([python, "-c", code], capture_output=True, text=True)
    told = engines.by_name("transformers").failure(ended.stdout + ended.stderr)
    assert told and "port" in told.what


def test_keys_are_long_random_and_private(tmp_path):
    path = tmp_path / "keys" / "key"
    shown, made = keys.ensure(path)
    key = keys.read_key(shown)
    assert made and shown == path
    assert key.startswith("sk-") and len(key) == 3 + 43
    assert path.stat().st_mode & 0o777 == 0o600
    assert keys.ensure(path) == (path, False) and keys.read_key(path) == key
    assert len({keys.new_key() for _ in range(100)}) == 100
    path.write_text("alice:sk-a\nsk-b\n")
    assert keys.read_key(path) == "sk-a"


def test_a_key_file_that_others_read_or_without_a_key_is_refused(tmp_path):
    path = tmp_path / "key"
    path.write_text("sk-x\n")
    path.chmod(0o644)
    with pytest.raises(ApplianceError, match="Others"):
        keys.ensure(path)
    path.write_text("\n")
    path.chmod(0o600)
    with pytest.raises(ApplianceError, match="no key"):
        keys.ensure(path)


def test_the_next_free_port():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        assert ports.taken("127.0.0.1", port)
        assert ports.taken("localhost", port)
        assert port < ports.free_port("127.0.0.1", port) <= port + 50
    assert not ports.taken("127.0.0.1", port)
    assert ports.free_port("127.0.0.1", port) == port


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(ApplianceError) as caught:
        ports.free_port("192.0.2.1", 8000)
    assert "192.0.2.1" in caught.value.what


def test_loopback():
    assert all(ports.is_loopback(host) for host in ("localhost", "127.0.0.1", "127.8.8.8", "::1"))
    assert not any(ports.is_loopback(host) for host in ("0.0.0.0", "::", "192.168.1.2", "example.org", ""))
