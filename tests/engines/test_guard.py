"""The guard as a pure ASGI app, without a server: what reaches the engine, and what of the engine gets out."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from appliance.engines import guard as guard_module
from appliance.engines.guard import ROUTES, Guard
from appliance.engines.request_log import RequestLog

KEY = "sk-right"
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
BODY = {"model": "plain", "messages": [{"role": "user", "content": "hi"}]}
JSON = (b"content-type", b"application/json")
BEARER = (b"authorization", f"Bearer {KEY}".encode())

ROOT = guard_module.__file__.removesuffix("/appliance/engines/guard.py")

relaxed = hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


class Engine:
    """An ASGI app that keeps what reached it and answers what it is told."""

    def __init__(self, status=200, body=b'{"model":"own"}', kind=b"application/json", headers=(), fails=None):
        self.reached = []
        self.scopes = []
        self.status, self.parts, self.kind, self.headers, self.fails = status, body, kind, headers, fails

    async def __call__(self, scope, receive, send):
        self.scopes.append(scope)
        if scope["type"] == "lifespan":
            return
        message = await receive() if scope["method"] == "POST" else {"body": b""}
        self.reached.append(message["body"])
        if self.fails == "before":
            raise RuntimeError("secret inside")
        headers = [(b"content-type", self.kind), *self.headers]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        parts = [self.parts] if isinstance(self.parts, bytes) else self.parts
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        if self.fails == "middle":
            raise RuntimeError("secret inside")
        await send({"type": "http.response.body", "body": b"", "more_body": False})


@pytest.fixture
def door(tmp_path, monkeypatch):
    """Makes a guard in front of an engine."""

    def make(engine, keys=KEY + "\n", **more):
        key_file = tmp_path / "key"
        if isinstance(keys, Path):
            key_file = keys
        elif keys is not None:
            key_file.write_text(keys)
        path = tmp_path / "guard.json"
        names = ["plain"]
        path.write_text(json.dumps({"keys": None if keys is None else str(key_file), "names": names, **more}))
        monkeypatch.setenv("APPLIANCE_GUARD", str(path))
        return Guard(engine)

    return make


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


def nested(levels):
    return {"a": nested(levels - 1)} if levels else {}


DEEP = {"type": "json_schema", "json_schema": {"name": "x", "schema": nested(400)}}


def scope_of(method, path, headers, server=("127.0.0.1", 8000)):
    return {"type": "http", "method": method, "path": path, "headers": headers, "server": server}


def ask(guard, method="POST", path=CHAT, headers=(BEARER, JSON), body=BODY, chunks=None, server=("127.0.0.1", 8000)):
    """(status, headers, body) of one request; `chunks` instead of `body` sends pieces as they are."""
    if chunks is None:
        chunks = [body if isinstance(body, bytes) else json.dumps(body).encode()]
    inbox = [
        {"type": "http.request", "body": chunk, "more_body": number < len(chunks)}
        for number, chunk in enumerate(chunks, 1)
    ]
    sent = []

    async def receive():
        return inbox.pop(0) if inbox else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    asyncio.run(guard(scope_of(method, path, list(headers), server), receive, send))
    if not sent:
        return None, {}, b""
    assert [message["type"] for message in sent].count("http.response.start") == 1
    whole = b"".join(message["body"] for message in sent[1:])
    headers = dict(sent[0]["headers"])
    if b"content-length" in headers:
        assert int(headers[b"content-length"]) == len(whole)
    return sent[0]["status"], headers, whole


def error(answer):
    value = json.loads(answer[2])["error"]
    assert set(value) == {"message", "type", "param", "code"}
    return value


# What may come in


@relaxed
@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "get", "TRACE"]),
    path=st.sampled_from([path for _method, path in sorted(ROUTES)]).flatmap(
        lambda path: st.sampled_from([path, path + "/", "/" + path, path.upper(), path[:-1], path + "\0", path + ";"])
    )
    | st.text(),
)
@example(method="OPTIONS", path=CHAT)
@example(method="HEAD", path="/health")
@example(method="POST", path="/load_model")
def test_only_the_listed_routes_reach_the_engine(door, method, path):
    engine = Engine()
    body = {"model": "plain", "prompt": "hi"} if path == COMPLETIONS else BODY
    status, *_rest = ask(door(engine), method, path, body=body)
    if (method, path) not in ROUTES:
        assert status == 404
        assert not engine.scopes
    else:
        assert status == 200


@relaxed
@given(token=st.binary(max_size=80) | st.text(max_size=20).map(str.encode))
@example(token=b"")
@example(token=KEY.upper().encode())
@example(token=KEY.encode() + b"\0")
@example(token=KEY.encode()[:-1])
def test_no_other_key_opens(door, token):
    engine = Engine()
    answer = ask(door(engine), headers=[(b"authorization", b"Bearer " + token), JSON])
    if token.strip() != KEY.encode():
        assert answer[0] == 401
        assert error(answer)["code"] == "invalid_api_key"
        assert not engine.scopes


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [BEARER, BEARER],
        [(b"authorization", KEY.encode())],
        [(b"authorization", b"Basic " + KEY.encode())],
        [(b"x-api-key", KEY.encode())],
    ],
)
def test_the_key_comes_once_and_as_a_bearer(door, headers):
    assert ask(door(Engine()), headers=[*headers, JSON])[0] == 401


def test_several_named_keys_each_open(door):
    guard = door(Engine(), keys="alice:sk-a\n\nbob:sk-b\nsk-c\n")
    for key in (b"sk-a", b"sk-b", b"sk-c"):
        assert ask(guard, headers=[(b"authorization", b"bearer " + key), JSON])[0] == 200
    for key in (b"alice:sk-a", b"alice", b"sk-d", b""):
        assert ask(guard, headers=[(b"authorization", b"Bearer " + key), JSON])[0] == 401


def with_key(guard, key):
    return ask(guard, headers=[(b"authorization", b"Bearer " + key.encode()), JSON])[0]


def test_keys_are_added_and_revoked_while_the_server_runs(door, tmp_path):
    folder = tmp_path / "keys"
    folder.mkdir()

    def write(name, key, mode=0o600):
        (folder / ".new").write_text(key + "\n")
        (folder / ".new").chmod(mode)
        os.rename(folder / ".new", folder / f"{name}.key")

    write("alice", "sk-a")
    guard = door(Engine(), keys=folder)
    assert (with_key(guard, "sk-a"), with_key(guard, "sk-b")) == (200, 401)
    write("bob", "sk-b")  # within the same tick of the clock: no sleep here
    assert (with_key(guard, "sk-a"), with_key(guard, "sk-b")) == (200, 200)
    write("bob", "sk-c")  # replaced
    assert (with_key(guard, "sk-b"), with_key(guard, "sk-c")) == (401, 200)
    (folder / "alice.key").write_text("sk-d\n")  # in place, same size
    assert (with_key(guard, "sk-a"), with_key(guard, "sk-d")) == (401, 200)
    (folder / "alice.key").unlink()
    assert (with_key(guard, "sk-d"), with_key(guard, "sk-c")) == (401, 200)
    write("carol", "sk-e", mode=0o644)  # others could have read it
    assert with_key(guard, "sk-e") == 401
    (folder / "bob.key").unlink()
    (folder / "carol.key").unlink()
    assert (with_key(guard, "sk-c"), with_key(guard, "")) == (401, 401)  # all revoked: shut, not open
    folder.rmdir()
    assert with_key(guard, "sk-c") == 401


def test_the_key_itself_is_not_kept_nor_handed_on(door):
    engine = Engine()
    guard = door(engine)
    ask(guard)
    assert KEY not in repr(vars(guard)) and KEY not in repr(vars(guard.keys))
    assert KEY not in repr(engine.scopes)


def test_an_empty_key_file_keeps_the_engine_from_starting(door):
    for keys in ("", "\n \n", "alice:\n"):
        with pytest.raises(ValueError, match="there is no key"):
            door(Engine(), keys=keys)


@pytest.mark.parametrize(
    ("server", "host", "status"),
    [
        ("127.0.0.1", b"127.0.0.1:8000", 200), ("127.0.0.1", b"localhost", 200), ("::1", b"[::1]:8000", 200),
        ("127.0.0.1", b"evil.example:8000", 403), ("127.0.0.1", b"", 403), ("192.168.1.2", b"localhost", 403),
        ("0.0.0.0", b"localhost", 403),
    ],
)  # fmt: skip
def test_without_a_key_only_this_machine_is_served(door, server, host, status):
    guard = door(Engine(), keys=None)
    assert ask(guard, headers=[(b"host", host), JSON], server=(server, 8000))[0] == status


def test_websockets_are_refused_and_lifespan_passes(door):
    engine = Engine()
    guard = door(engine)
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(guard({"type": "websocket", "path": CHAT, "headers": [BEARER]}, None, send))
    assert [message["type"] for message in sent] == ["websocket.close"]
    assert sent[0]["code"] == 1008
    assert not engine.scopes
    asyncio.run(guard({"type": "lifespan"}, None, send))
    assert engine.scopes == [{"type": "lifespan"}]


def test_limits_of_body_and_headers(door):
    engine = Engine()
    guard = door(engine, body_limit=100, header_limit=300)
    assert ask(guard, headers=[BEARER, JSON, (b"content-length", b"101")])[0] == 413
    assert ask(guard, headers=[BEARER, JSON, (b"content-length", b"9" * 200)])[0] == 413
    assert ask(guard, chunks=[b" " * 60, b" " * 60])[0] == 413
    assert ask(guard, headers=[BEARER, JSON, (b"x", b"y" * 300)])[0] == 431
    assert not engine.scopes
    assert ask(guard)[0] == 200


def test_a_body_that_never_comes_is_given_up(door):
    guard = door(Engine(), body_seconds=0.02)
    sent = []

    async def send(message):
        sent.append(message)

    async def scenario():
        await guard(scope_of("POST", CHAT, [BEARER, JSON]), asyncio.Event().wait, send)

    asyncio.run(scenario())
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]


def test_a_client_that_leaves_midway_gets_nothing_and_reaches_nothing(door):
    engine = Engine()
    assert ask(door(engine), chunks=[])[0] is None
    assert not engine.scopes


@relaxed
@given(
    body=st.binary(max_size=40)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    ).map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries(
        {"model": st.just("plain")},
        optional={
            name: st.none() | st.booleans() | st.floats() | st.text() | st.lists(st.dictionaries(st.text(), st.text()))
            for name in ("messages", "temperature", "max_tokens", "stop", "stream", "seed", "chat_template_kwargs")
        },
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_body_is_either_refused_or_whole_json(door, body):
    engine = Engine()
    answer = ask(door(engine), body=body)
    if engine.reached:
        json.loads(engine.reached[0])
    else:
        assert 400 <= answer[0] < 500
        error(answer)


@pytest.mark.parametrize(
    "more",
    [
        {"generation_config": "{}"}, {"chat_template": "x"}, {"chat_template_kwargs": {"chat_template": "x"}},
        {"chat_template_kwargs": {"enable_thinking": {}}}, {"temperature": True}, {"max_tokens": 0},
        {"max_tokens": 1.5}, {"seed": 2**70}, {"stop": [""]}, {"stream": "yes"}, {"model": None}, {"tools": {}},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]},
        {"messages": ["hi"]}, {"messages": [{"role": "user", "content": [{"type": "input_audio", "text": "x"}]}]},
        {"echo": True}, {"best_of": 1},
        {"no_such_field": 1}, {"guided_json": {}}, {"logits_processors": ["os.system"]}, {"prompt_embeds": "x"},
        {"functions": []}, {"messages": [{"role": "user", "content": "x", "prefix": True}]}, {"store\0": 1},
        {"messages": [{"role": "root", "content": "x"}]}, {"messages": [{"role": "user", "name": 1}]},
        {"tools": [{"type": "function"}]}, {"tools": [{"type": "function", "function": {"name": "a b"}}]},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
        {"tool_choice": "required"}, {"tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
        {"response_format": {"type": "json_schema"}}, {"response_format": "json"}, {"response_format": DEEP},
        {"logit_bias": {"x": 1}}, {"logit_bias": {"1": 101}}, {"stream_options": {"include_usage": True}},
        {"stream": True, "stream_options": {"other": 1}}, {"top_logprobs": 3}, {"logprobs": 2},
        {"modalities": ["audio"]}, {"stop": ["x"] * 17}, {"n": 0}, {"reasoning_effort": "all"},
    ],
)  # fmt: skip
def test_fields_that_no_engine_may_see(door, more):
    engine = Engine()
    answer = ask(door(engine), body={**BODY, **more})
    assert answer[0] == 400
    assert error(answer)["param"]
    assert not engine.scopes


@pytest.mark.parametrize(
    "more",
    [
        {"chat_template_kwargs": {"enable_thinking": False}}, {"temperature": 0, "stop": "x"}, {"top_k": -1},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}], "stream": True},
        {"messages": [{"role": "assistant", "content": "", "tool_calls": [
            {"function": {"name": "f", "arguments": "{}"}}]}, {"role": "tool", "content": "1", "tool_call_id": "c"}]},
        {"seed": -1, "stop": ["a", "b"], "tools": [], "reasoning_effort": "low", "logit_bias": {"5": -100}},
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}, "n": 3},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": nested(20)}}},
        {"logprobs": True, "top_logprobs": 20, "stream": True, "stream_options": {"include_usage": True}},
    ],
)  # fmt: skip
def test_fields_that_pass_as_they_are(door, more):
    engine = Engine()
    assert ask(door(engine), body={**BODY, **more})[0] == 200
    assert json.loads(engine.reached[0]) == {**BODY, **more}


def test_fields_that_clients_send_and_no_engine_needs(door):
    engine = Engine()
    extra = {"user": "me", "metadata": {}, "store": False, "max_tokens": None, "modalities": ["text"]}
    told = {"role": "assistant", "content": None, "refusal": None, "annotations": [], "tool_calls": []}
    assert ask(door(engine), body={**BODY, **extra, "messages": [told, *BODY["messages"]]})[0] == 200
    left = [{"role": "assistant", "content": ""}, *BODY["messages"]]
    assert json.loads(engine.reached[0]) == {"model": "plain", "messages": left}


@pytest.mark.parametrize("prompt", ["hi", ["a", "b"], [1, 2], [[1], [2, 3]]])
def test_prompts_that_pass(door, prompt):
    assert ask(door(Engine()), path=COMPLETIONS, body={"model": "plain", "prompt": prompt})[0] == 200


@pytest.mark.parametrize("prompt", ["", [], None, [""], [[]], [1, "a"], [-1], [True], {"a": 1}, ["a"] * 129])
def test_prompts_that_do_not(door, prompt):
    answer = ask(door(Engine()), path=COMPLETIONS, body={"model": "plain", "prompt": prompt})
    assert (answer[0], error(answer)["param"]) == (400, "prompt")


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"model": "plain", "x": NaN}', b'{"model": "\\ud800"}', b"\xff"])
def test_what_is_no_json_for_every_parser(door, body):
    answer = ask(door(Engine()), body=body)
    assert (answer[0], error(answer)["code"]) == (400, "invalid_json")


def test_the_engine_reads_what_was_checked(door):
    engine = Engine()
    twice = b'{"model": "own", "messages": 1, "messages": [{"role": "user", "content": "\\u4f60"}], "model": "plain"}'
    headers = [BEARER, JSON, (b"content-length", str(len(twice)).encode()), (b"transfer-encoding", b"chunked")]
    ask(door(engine), body=twice, headers=headers)
    assert engine.reached[0].count(b"model") == 1
    handed = dict(engine.scopes[0]["headers"])
    assert int(handed[b"content-length"]) == len(engine.reached[0])
    assert b"transfer-encoding" not in handed


def test_another_name_is_not_served(door):
    answer = ask(door(Engine()), body={**BODY, "model": "own"})
    assert (answer[0], error(answer)["code"]) == (404, "model_not_found")


def test_a_form_is_no_request(door):
    for kind in (b"text/plain", b"application/x-www-form-urlencoded"):
        assert ask(door(Engine()), headers=[BEARER, (b"content-type", kind)])[0] == 415


# What may get out


def test_models_are_the_guards_own_answer(door):
    engine = Engine(status=500)
    status, _headers, body = ask(door(engine), "GET", "/v1/models")
    assert status == 200
    assert [entry["id"] for entry in json.loads(body)["data"]] == ["plain"]
    assert not engine.scopes


@pytest.mark.parametrize(("engine", "status"), [(200, 200), (503, 503), (500, 503), (404, 503)])
def test_health_is_the_engines_but_tells_only_yes_or_no(door, engine, status):
    answer = ask(door(Engine(engine, b"secret inside")), "GET", "/health", headers=[])
    assert answer[0] == status
    assert b"secret" not in answer[2]
    assert ask(door(Engine(fails="before")), "GET", "/health", headers=[])[0] == 503


@pytest.mark.parametrize("engine", [Engine(500, b"Traceback: secret inside"), Engine(503, b'{"error": "secret"}')])
def test_a_failing_engine_tells_nothing_of_its_inside(door, engine):
    answer = ask(door(engine))
    assert answer[0] == engine.status
    assert error(answer)["type"] == "server_error"
    assert b"secret" not in answer[2]


def test_an_exception_in_the_engine_is_an_error_in_openais_form(door, caplog):
    answer = ask(door(Engine(fails="before")))
    assert (answer[0], error(answer)["code"]) == (500, "server_error")
    assert b"secret" not in answer[2]
    assert "the engine failed" in caplog.text


def test_half_a_stream_is_cut_rather_than_made_to_look_whole(door):
    with pytest.raises(RuntimeError):
        ask(door(Engine(kind=b"text/event-stream", body=b"data: {}\n\n", fails="middle")))


@pytest.mark.parametrize(
    ("status", "body", "told", "message"),
    [
        (422, {"detail": [{"loc": ["body", "n"], "msg": "too big", "input": "secret"}]}, 400, "body.n: too big"),
        (422, {"detail": "Unexpected fields"}, 400, "Unexpected fields"),
        (400, {"error": {"message": "too long", "param": "prompt", "code": 400}}, 400, "too long"),
        (429, {"error": "slow down"}, 429, "slow down"),
        (400, [1], 400, "The request was refused."),
    ],
)
def test_the_engines_refusals_get_openais_form(door, status, body, told, message):
    answer = ask(door(Engine(status, json.dumps(body).encode())))
    assert answer[0] == told
    assert error(answer)["message"] == message
    assert b"secret" not in answer[2]


def test_no_other_site_may_read_answers(door):
    cors = [(b"access-control-allow-origin", b"*"), (b"x-request-id", b"1")]
    for engine in (Engine(headers=cors), Engine(headers=cors, kind=b"text/event-stream", body=b"data: {}\n\n")):
        headers = ask(door(engine))[1]
        assert b"access-control-allow-origin" not in headers
        assert headers[b"x-request-id"] == b"1"


@relaxed
@given(text=st.text(), stream=st.booleans())
@example(text='data: {"error": "x"}\n\n', stream=True)
def test_what_the_model_wrote_stays(door, text, stream):
    value = {"id": "1", "choices": [{"delta": {"content": text}}], "model": "plain"}
    body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")
    wrote = json.loads(body)["choices"]
    if stream:
        answer = ask(door(Engine(kind=b"text/event-stream; charset=utf-8", body=[b"data: " + body + b"\n\n"] * 2)))
        events = answer[2].split(b"\n\n")
        assert events[2:] == [b"data: [DONE]", b""]
        told = [json.loads(event.removeprefix(b"data: ")) for event in events[:2]]
    else:
        told = [json.loads(ask(door(Engine(body=[body[:20], body[20:]])))[2])]
    assert all(entry == {"id": "1", "choices": wrote, "model": "plain"} for entry in told)


@pytest.mark.parametrize("stream", [False, True])
def test_thoughts_have_one_name_whatever_the_engine(door, stream):
    wrote = {"content": 'I wrote {"reasoning": 1}, "reasoning":', "reasoning": "so"}
    body = json.dumps({"choices": [{"delta": wrote}]}, separators=(",", ":")).encode()
    body, kind = (b"data: " + body + b"\n\n", b"text/event-stream") if stream else (body, b"application/json")
    answer = ask(door(Engine(kind=kind, body=body)))[2]
    told = json.loads(answer.split(b"\n\n")[0].removeprefix(b"data: "))["choices"][0]["delta"]
    assert told == {"content": wrote["content"], "reasoning_content": "so"}


def test_an_error_within_a_stream_tells_nothing(door):
    parts = [b'data: {"model":"plain"}\n\ndata: {"error": "secret "inside"}\n\n']
    body = ask(door(Engine(kind=b"text/event-stream", body=parts)))[2]
    assert b"secret" not in body
    assert body.startswith(b'data: {"model":"plain"}\n\ndata: {"error": {')


def test_openais_own_end_of_a_stream_is_not_doubled(door):
    body = ask(door(Engine(kind=b"text/event-stream", body=[b"data: {}\n\n", b"data: [DONE]\n\n"])))[2]
    assert body.count(b"[DONE]") == 1


def test_a_stream_is_not_held_back_and_the_engine_learns_of_a_client_that_leaves(door):
    async def scenario():
        seen, left = asyncio.Event(), asyncio.Event()

        async def engine(scope, receive, send):
            await receive()
            head = [(b"content-type", b"text/event-stream")]
            await send({"type": "http.response.start", "status": 200, "headers": head})
            await send({"type": "http.response.body", "body": b"data: {}\n\n", "more_body": True})
            await asyncio.wait_for(seen.wait(), 5)  # the client has the first event before the second exists
            assert (await receive())["type"] == "http.disconnect"
            left.set()

        inbox = [{"type": "http.request", "body": json.dumps(BODY).encode()}, {"type": "http.disconnect"}]

        async def receive():
            return inbox.pop(0)

        async def send(message):
            if message.get("body"):
                seen.set()

        await door(engine)(scope_of("POST", CHAT, [BEARER, JSON]), receive, send)
        assert left.is_set()

    asyncio.run(scenario())


def test_it_brings_nothing_but_the_standard_library():
    code = (
        "import sys; import appliance.engines.guard;"
        "print({name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names) - {'__main__'})"
    )
    brought = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert brought.stdout.strip() == "{'appliance'}"


# The request log


def logged(door, tmp_path, engine, *requests, **more):
    guard = door(engine, keys="alice:" + KEY, log=str(tmp_path / "log" / "r.jsonl"), **more)
    for request in requests:
        ask(guard, **request)
    guard.log.close()
    path = tmp_path / "log" / "r.jsonl"
    assert path.stat().st_mode & 0o777 == 0o600
    assert KEY not in path.read_text()
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_requests_and_answers_are_logged_with_the_keys_name(door, tmp_path):
    told = {
        "model": "own",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "你好"}}],
        "usage": {"total_tokens": 3},
    }
    (row,) = logged(door, tmp_path, Engine(body=json.dumps(told).encode()), {})
    assert row["messages"] == [*BODY["messages"], {"role": "assistant", "content": "你好"}]
    assert (row["key"], row["model"], row["status"], row["finish_reason"]) == ("alice", "plain", 200, "stop")


def test_a_streamed_answer_is_put_together(door, tmp_path):
    def event(**delta):
        return {"model": "own", "choices": [{"index": 0, "delta": delta}]}

    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a"'}}
    rest = {"index": 0, "function": {"arguments": ": 1}"}}
    events = [event(role="assistant"), event(content="a\nb"), event(content=" c"), event(tool_calls=[call])]
    events += [event(tool_calls=[rest]), {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}]
    events += [{"choices": [], "usage": {"total_tokens": 9}}]
    whole = b"".join(b"data: " + json.dumps(value).encode() + b"\n\n" for value in events)
    parts = [whole[start : start + 7] for start in range(0, len(whole), 7)]  # cut anywhere
    engine = Engine(kind=b"text/event-stream", body=parts)
    (row,) = logged(door, tmp_path, engine, {"body": {**BODY, "stream": True, "tools": [TOOL]}})
    said = row["messages"][-1]
    assert said["content"] == "a\nb c"
    assert said["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a": 1}'}
    assert (row["usage"], row["finish_reason"], row["tools"]) == ({"total_tokens": 9}, "tool_calls", [TOOL])


def test_the_log_is_rows_to_train_on(door, tmp_path):
    from appliance import data

    told = json.dumps({"choices": [{"message": {"role": "assistant", "content": "an answer"}}]}).encode()
    bodies = [{**BODY, "messages": [{"role": "user", "content": f"question {i}"}]} for i in range(20)]
    logged(door, tmp_path, Engine(body=told), *({"body": body} for body in bodies))
    report = data.check(tmp_path / "log" / "r.jsonl")
    assert (report.task, report.kept) == ("sft", 20)


def test_a_refused_request_is_not_logged_and_a_failed_one_has_no_answer(door, tmp_path):
    rows = logged(door, tmp_path, Engine(500, b"secret"), {"headers": [JSON]}, {"body": b"{"}, {})
    assert [(row["status"], row["messages"]) for row in rows] == [(500, BODY["messages"])]


def test_the_supervisors_own_questions_are_not_logged(door, tmp_path):
    def asked(secret):
        return {"headers": (BEARER, JSON, (b"x-appliance-unlogged", secret))}

    rows = logged(door, tmp_path, Engine(body=b"{}"), asked(b"s3cret"), asked(b""), asked(b"guess"), unlogged="s3cret")
    assert len(rows) == 2


def test_a_full_log_is_put_aside(tmp_path):
    log = RequestLog(tmp_path / "r.jsonl", full_bytes=2000)
    for number in range(100):
        log.add({"number": number}, {"messages": [{"role": "user", "content": "x" * 50}]}, [b"{}"], False)
    log.close()
    rows = []
    for path in tmp_path.iterdir():
        assert path.stat().st_size <= 2000
        rows += [json.loads(line)["number"] for line in path.read_text().splitlines()]
    assert sorted(rows) == list(range(100))[-len(rows) :] and len(rows) > 90
