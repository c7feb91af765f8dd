"""A real engine behind the guard: OpenAI's client is served, everyone else meets a shut door."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import httpx2
import openai
import pytest

MESSAGES = [{"role": "user", "content": "你好, how are you?"}]
CHAT = "/v1/chat/completions"


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=f"{server.address}/v1", api_key=server.key, max_retries=0, timeout=120) as made:
        yield made


@pytest.fixture
def web(server):
    with httpx2.Client(base_url=server.address, trust_env=False, timeout=120) as made:
        yield made


def chat(client, **more):
    return client.chat.completions.create(model="my-model", messages=MESSAGES, max_tokens=12, temperature=0, **more)


def bearer(server):
    return {"authorization": f"Bearer {server.key}"}


def assert_refused(answer, *statuses):
    assert answer.status_code in statuses, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert "Traceback" not in answer.text


def test_a_chat_streamed_and_not_says_the_same(client, server):
    whole = chat(client)
    assert whole.model == "my-model"
    assert whole.usage.completion_tokens == 12
    chunks = list(chat(client, stream=True))
    assert {chunk.model for chunk in chunks} == {"my-model"}
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert streamed.strip() == whole.choices[0].message.content.strip()
    assert chunks[-1].choices[0].finish_reason == "length"


def test_a_stream_ends_as_openai_ends_it(web, server):
    body = {"model": "my-model", "messages": MESSAGES, "max_tokens": 3, "stream": True}
    answer = web.post(CHAT, json=body, headers=bearer(server))
    assert answer.text.endswith("data: [DONE]\n\n")
    assert "access-control-allow-origin" not in answer.headers


def test_plain_completions(client):
    answer = client.completions.create(model="my-model", prompt="hello", max_tokens=4, temperature=0)
    assert answer.model == "my-model"
    assert answer.usage.completion_tokens == 4


def test_models_are_listed_by_their_plain_name(client, server):
    assert [model.id for model in client.models.list()] == list(server.names)


def test_another_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="other", messages=MESSAGES)
    assert caught.value.code == "model_not_found"


def test_no_answer_tells_a_path(client, server):
    assert str(server.model.parent) not in chat(client).to_json() + "".join(
        c.to_json() for c in chat(client, stream=True)
    )


def test_the_start_is_told_in_phases(server):
    assert list(dict.fromkeys(server.phases)) == ["loading the weights", "answering"]


def test_health_needs_no_key_and_tells_nothing(web):
    answer = web.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_no_route_but_health_answers_without_a_key(web, server):
    own = {"transformers": ("/load_model", "/reset"), "vllm": ("/tokenize", "/invocations")}[server.engine]
    assert all(["POST", path] in server.routes for path in own)  # the list is really the engine's own
    for method, path in [*server.routes, ["OPTIONS", CHAT], ["HEAD", "/v1/models"], ["GET", "/metrics"]]:
        answer = web.request(method, path, json={} if method == "POST" else None)
        if (method, path) != ("GET", "/health"):
            assert answer.status_code in (401, 404), (method, path)


def test_no_route_beyond_the_list_even_with_the_key(web, server):
    open_routes = {("GET", "/health"), ("GET", "/v1/models"), ("POST", CHAT), ("POST", "/v1/completions")}
    for method, path in server.routes:
        if (method, path) not in open_routes:
            answer = web.request(method, path, headers=bearer(server), json={} if method == "POST" else None)
            assert answer.status_code == 404, (method, path)
    assert web.get("/health").status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        b"", b"Bearer", b"Bearer x", b"KEY", b"Basic KEY", b"Bearer KEYx", b"Bearer KE", b"Bearer \xff\xfe",
        "Bearer 钥匙".encode(), b"Bearer " + b"k" * 10_000, b"Bearer KEY KEY", b"Bearer key",
    ],
)  # fmt: skip
def test_a_wrong_key_is_refused(web, server, header):
    value = header.replace(b"KEY", server.key.encode()).replace(b"KE", server.key[:-1].encode())
    value = value.replace(b"Bearer key", b"Bearer " + server.key.swapcase().encode())
    for method, path in (("GET", "/v1/models"), ("POST", CHAT)):
        assert_refused(web.request(method, path, headers={b"authorization": value}), 401)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400), (b"{", 400), (b"[]", 400), (b"null", 400), (b"\xff\xfe", 400), (b"[" * 50_000, 400),
        (b'{"model": NaN}', 400), (b'{"model": "my-model"}', 400), (b'{"model": 1, "messages": []}', 400),
        (b'{"model": "my-model", "messages": []}', 400), (b'{"model": "my-model", "messages": "hi"}', 400),
        (b'{"model": "my-model", "messages": [{"content": "hi"}]}', 400),
        (b'{"model": "my-model", "messages": [{"role": "user", "content": 1}]}', 400),
        (b'{"model": "my-model", "messages": [{"role": "user", "content": "\\ud800"}]}', 400),
        (b'{"model": "my-model", "messages": [{"role": "user", "content": "hi"}], "temperature": "hot"}', 400),
        (b'{"model": "my-model", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1e999}', 400),
        (b'{"model": "my-model", "messages": [{"role": "user", "content": "hi"}], "no_such_field": 1}', 400),
        (b'{"model": "my-model", "messages": [{"role": "user", "content": "hi"}], "stop": [1]}', 400),
        (b'{"model": "my-model", "messages": [{"role": "user", "content":'
         b' [{"type": "image_url", "image_url": {"url": "/etc/passwd"}}]}]}', 400),
        (b" " * 100_001, 413),
    ],
)  # fmt: skip
def test_a_malformed_request_gets_an_error_and_the_server_lives(web, server, body, status):
    answer = web.post(CHAT, content=body, headers={**bearer(server), "content-type": "application/json"})
    assert_refused(answer, status)
    assert web.get("/health").status_code == 200


def test_a_body_without_a_length_is_limited_too(web, server):
    pieces = (b" " * 10_000 for _ in range(20))
    answer = web.post(CHAT, content=pieces, headers={**bearer(server), "content-type": "application/json"})
    assert_refused(answer, 413)


def test_a_slow_body_is_given_up(server):
    with socket.create_connection((server.host, server.port), timeout=120) as wire:
        head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {server.key}\r\n"
        wire.sendall((head + "content-type: application/json\r\ncontent-length: 100\r\n\r\n{").encode())
        answer = b"".join(iter(lambda: wire.recv(4096), b""))  # until the server closes
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_client_that_leaves_disturbs_nobody(client, server):
    for cut in (b"", b'{"model"'):
        with socket.create_connection((server.host, server.port)) as wire:
            head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {server.key}\r\n"
            wire.sendall((head + "content-type: application/json\r\ncontent-length: 100\r\n\r\n").encode() + cut)
    with client.chat.completions.create(model="my-model", messages=MESSAGES, max_tokens=300, stream=True) as stream:
        next(iter(stream))
    assert chat(client).usage.completion_tokens == 12


def test_the_weights_are_not_copied_nor_the_folder_written(server):
    assert {path.name for path in Path(server.model).iterdir()} == {
        "chat_template.jinja", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json",
    }  # fmt: skip
    assert json.loads((server.model / "config.json").read_text())["model_type"] == "qwen3"
