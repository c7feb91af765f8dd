"""The whole surface of OpenAI's protocol through its official client, streaming and not: each engine that runs here."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

GREETING = [{"role": "user", "content": "你好, how are you?"}]
WEATHER = {"role": "user", "content": "Weather in Paris?"}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
OTHER = {
    "type": "function",
    "function": {
        "name": "set_alarm",
        "parameters": {
            "type": "object",
            "properties": {"hour": {"$ref": "#/$defs/hour"}, "on": {"type": "boolean"}},
            "required": ["hour", "on"],
            "$defs": {"hour": {"type": "integer", "minimum": 0, "maximum": 23}},
        },
    },
}
PERSON = {
    "type": "object",
    "properties": {"age": {"type": "integer", "minimum": 0, "maximum": 99}, "kind": {"enum": ["猫", "dog"]}},
    "required": ["age", "kind"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=f"{server.address}/v1", api_key=server.key, max_retries=0, timeout=120) as made:
        yield made


@pytest.fixture
def chat(client):
    def ask(messages=GREETING, **more):
        more = {"max_tokens": 24, "temperature": 0, **more}
        return client.chat.completions.create(model="my-model", messages=messages, **more)

    return ask


def joined(chunks):
    """(text, finish reason, calls as (name, arguments)) of a stream's first choice."""
    text, reason, calls = "", None, {}
    for chunk in chunks:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reason = choice.finish_reason or reason
            for call in choice.delta.tool_calls or []:
                name, arguments = calls.get(call.index, ("", ""))
                calls[call.index] = (name + (call.function.name or ""), arguments + (call.function.arguments or ""))
    return text, reason, list(calls.values())


def refused(ask, **more):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(**more)
    assert caught.value.body["type"] == "invalid_request_error" and caught.value.body["message"]
    return caught.value


def test_usage_comes_in_a_last_event_and_only_when_asked_for(chat):
    whole = chat().usage
    assert whole.total_tokens == whole.prompt_tokens + whole.completion_tokens and whole.completion_tokens == 24
    *before, last = chat(stream=True, stream_options={"include_usage": True})
    assert last.usage == whole and last.choices == []
    assert all(chunk.usage is None and chunk.choices for chunk in before)
    assert all(chunk.usage is None for chunk in chat(stream=True))


@pytest.mark.parametrize("stop", [" 1", ["zzz", "101", " 10"], "am well."])
def test_a_stop_text_ends_the_answer_and_is_not_in_it(chat, stop):
    uncut = chat(max_tokens=40).choices[0].message.content
    stops = [stop] if isinstance(stop, str) else stop
    expected = uncut[: min(at for each in stops if (at := uncut.find(each)) >= 0)]
    whole = chat(max_tokens=40, stop=stop)
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == (expected, "stop")
    assert whole.usage.completion_tokens < 40
    assert joined(chat(max_tokens=40, stop=stop, stream=True))[:2] == (expected, "stop")


def test_half_a_stop_text_at_the_end_is_told(chat):
    uncut = chat(max_tokens=5).choices[0].message.content
    assert chat(max_tokens=5, stop=uncut[-2:] + "never").choices[0].message.content == uncut


def test_the_same_seed_gives_the_same_answer_and_no_seed_another(chat):
    hot = {"temperature": 2.0, "max_tokens": 32}
    said = [chat(seed=7, **hot).choices[0].message.content for _ in range(2)]
    assert said[0] == said[1]
    assert joined(chat(seed=7, stream=True, **hot))[0] == said[0]
    assert len({chat(**hot).choices[0].message.content for _ in range(3)}) == 3
    assert chat(seed=8, **hot).choices[0].message.content != said[0]
    assert len({chat(seed=seed).choices[0].message.content for seed in (1, 2)}) == 1  # temperature 0


def test_seeds_hold_while_others_ask(chat):
    hot = {"temperature": 2.0, "max_tokens": 16}
    with ThreadPoolExecutor(6) as many:
        seeds = [1, 2, 3] * 4
        said = list(many.map(lambda seed: chat(seed=seed, **hot).choices[0].message.content, seeds))
    assert len(set(zip(seeds, said, strict=True))) == 3


def test_several_answers(chat, client):
    whole = chat(n=3, temperature=2.0, seed=1)
    assert [choice.index for choice in whole.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in whole.choices}) == 3
    assert whole.usage.completion_tokens <= 3 * 24
    by_index = {}
    for chunk in chat(n=3, temperature=2.0, seed=1, stream=True):
        for choice in chunk.choices:
            by_index[choice.index] = by_index.get(choice.index, "") + (choice.delta.content or "")
    assert by_index == {choice.index: choice.message.content for choice in whole.choices}
    two = client.completions.create(model="my-model", prompt=["a", "b"], n=2, max_tokens=3, seed=1, temperature=1)
    assert [choice.index for choice in two.choices] == [0, 1, 2, 3]


def test_the_longest_answer_under_both_names(chat):
    assert chat(max_tokens=None, max_completion_tokens=5).usage.completion_tokens == 5
    assert chat(max_tokens=3).choices[0].finish_reason == "length"
    to_its_end = chat(max_tokens=None)
    assert to_its_end.choices[0].finish_reason == "stop"
    assert to_its_end.choices[0].message.content.endswith("117")


def test_too_long_is_refused_before_anything_is_computed(chat, client, server):
    long = [{"role": "user", "content": "x" * 500}]
    too_long = [{"messages": long}, {"messages": long, "stream": True}]
    if server.engine == "transformers":
        too_long.append({"max_tokens": 400})
    else:  # vLLM gives what is left where too much is asked for: to the last token, as the end is never the next one
        all_there_is = chat(max_tokens=400, logit_bias={"258": -100})
        assert (all_there_is.choices[0].finish_reason, all_there_is.usage.total_tokens) == ("length", 400)
    for more in too_long:
        error = refused(chat, **more)
        assert error.code == "context_length_exceeded" and "400 tokens" in error.body["message"]
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="my-model", prompt="y" * 401)
    assert caught.value.code == "context_length_exceeded"


def test_logprobs(chat, client):
    whole = chat(logprobs=True, top_logprobs=3, max_tokens=6)
    entries = whole.choices[0].logprobs.content
    assert len(entries) == 6
    for entry in entries:
        assert entry.logprob <= 0 and len(entry.top_logprobs) == 3
        assert entry.top_logprobs[0].logprob == max(one.logprob for one in entry.top_logprobs) == entry.logprob
        assert math.fsum(math.exp(one.logprob) for one in entry.top_logprobs) <= 1.001
    assert b"".join(bytes(entry.bytes) for entry in entries).decode() == whole.choices[0].message.content
    streamed = [
        entry
        for chunk in chat(logprobs=True, top_logprobs=3, max_tokens=6, stream=True)
        for choice in chunk.choices
        if choice.logprobs
        for entry in choice.logprobs.content
    ]
    assert streamed == entries
    assert chat(max_tokens=2).choices[0].logprobs is None
    old = client.completions.create(model="my-model", prompt="a", max_tokens=4, logprobs=2, temperature=0)
    told = old.choices[0].logprobs
    assert len(told.tokens) == len(told.token_logprobs) == len(told.top_logprobs) == len(told.text_offset) == 4


def test_penalties_and_bias(chat, client):
    def plain(**more):
        return client.completions.create(model="my-model", prompt="1111", max_tokens=30, temperature=0, **more)

    usual = plain().choices[0].text
    assert plain(frequency_penalty=2.0, presence_penalty=2.0).choices[0].text != usual
    first = chat(max_tokens=1, logprobs=True, top_logprobs=1).choices[0].message.content
    assert first == "I"
    # A token of the tests' model is a byte; they are counted from "!" on.
    assert chat(max_tokens=4, logit_bias={"32": 100}).choices[0].message.content == "AAAA"
    assert chat(max_tokens=1, logit_bias={str(ord("I") - ord("!")): -100}).choices[0].message.content != "I"


def test_completions_stream_as_they_are(client):
    def ask(**more):
        return client.completions.create(model="my-model", prompt="I am", max_tokens=12, temperature=0, **more)

    whole = ask()
    chunks = list(ask(stream=True, stream_options={"include_usage": True}))
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == whole.choices[0].text
    assert chunks[-1].usage == whole.usage
    numbers = client.completions.create(model="my-model", prompt=[73, 32], max_tokens=2)
    assert numbers.usage.prompt_tokens == 2


# --- tools -----------------------------------------------------------------------------------------------------------


def test_a_model_that_was_taught_calls_by_itself_and_uses_the_answer(chat):
    asked = [WEATHER]
    for _way in ("whole", "streamed"):
        answer = chat(asked, tools=[TOOL], max_tokens=120).choices[0]
        assert answer.finish_reason == "tool_calls" and not answer.message.content
        (call,) = answer.message.tool_calls
        assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Paris"})
    _text, reason, calls = joined(chat(asked, tools=[TOOL], max_tokens=120, stream=True))
    assert (reason, calls) == ("tool_calls", [(call.function.name, call.function.arguments)])
    told = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    after = chat([WEATHER, answer.message.model_dump(), told], tools=[TOOL], max_tokens=60)
    assert after.choices[0].message.content == "It is sunny."
    assert after.choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("required", {"get_weather", "set_alarm"}),
        ({"type": "function", "function": {"name": "set_alarm"}}, {"set_alarm"}),
    ],
)
def test_a_call_that_must_be_made_is_made_and_fits_its_schema(chat, choice, names):
    for messages in (GREETING, [WEATHER]):
        more = {"tools": [TOOL, OTHER], "tool_choice": choice, "max_tokens": 100}
        answer = chat(messages, **more).choices[0]
        (call,) = answer.message.tool_calls
        ended = "tool_calls" if choice == "required" else "stop"  # as OpenAI says it
        assert call.function.name in names and answer.finish_reason == ended
        arguments = json.loads(call.function.arguments)
        if call.function.name == "set_alarm":
            assert arguments.keys() == {"hour", "on"} and 0 <= arguments["hour"] <= 23
            assert isinstance(arguments["on"], bool)
        _text, reason, ((name, streamed),) = joined(chat(messages, stream=True, **more))
        assert (name, json.loads(streamed), reason) == (call.function.name, arguments, ended)


def test_no_call_where_none_is_wanted_and_a_cut_one_is_told_as_text(chat):
    answer = chat([WEATHER], tools=[TOOL], tool_choice="none", max_tokens=60).choices[0]
    assert not answer.message.tool_calls
    cut = chat([WEATHER], tools=[TOOL], tool_choice="required", max_tokens=10).choices[0]
    assert cut.finish_reason == "length" and not cut.message.tool_calls and cut.message.content
    cut = chat([WEATHER], tools=[TOOL], max_tokens=10).choices[0]
    assert cut.finish_reason == "length" and not cut.message.tool_calls


def test_thoughts_are_told_apart(chat, server):
    answer = chat([{"role": "user", "content": "Think."}], max_tokens=60).choices[0].message
    if server.engine == "vllm":  # not with a model whose template knows no thoughts
        assert answer.content == "<think>\nWell.\n</think>\n\nDone."
        return
    assert answer.reasoning_content.strip() == "Well."
    assert answer.content.strip() == "Done."


# --- answers in a form -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("temperature", [0, 1.5])
def test_an_answer_held_to_a_schema(chat, stream, temperature):
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON, "strict": True}}
    answer = chat(response_format=form, max_tokens=60, temperature=temperature, seed=3, stream=stream)
    text = joined(answer)[0] if stream else answer.choices[0].message.content
    person = json.loads(text)
    assert person.keys() == {"age", "kind"} and 0 <= person["age"] <= 99 and person["kind"] in ("猫", "dog")


def test_any_json_object(chat):
    # Held to an object; a tiny model may not end it in time.
    answer = chat(response_format={"type": "json_object"}, max_tokens=100).choices[0]
    assert answer.message.content.startswith("{")
    if answer.finish_reason == "stop":
        assert isinstance(json.loads(answer.message.content), dict)


@pytest.mark.parametrize("schema", [{"type": "nonsense"}, {"$ref": "#/nowhere"}, {"type": "string", "pattern": "("}])
def test_a_schema_that_is_none_is_refused_in_words(chat, server, schema):
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    said = refused(chat, response_format=form).body["message"]
    assert "schema" in said


# --- what a model can't do is refused, never ignored -----------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        {"audio": {"voice": "alloy", "format": "wav"}, "modalities": ["text", "audio"]}, {"prediction": {}},
        {"web_search_options": {}}, {"functions": [{"name": "f"}]}, {"verbosity": "low"},
        {"tool_choice": "required"}, {"stop": []  + ["x"] * 17}, {"top_logprobs": 2}, {"n": 0},
        {"extra_body": {"guided_json": {}}}, {"extra_body": {"chat_template": "x"}},
    ],
)  # fmt: skip
def test_refused_in_words(chat, more):
    refused(chat, **more)


def test_completions_refuse_what_they_do_not_do(client):
    for more in ({"echo": True}, {"suffix": "x"}, {"best_of": 3}):
        with pytest.raises(openai.BadRequestError):
            client.completions.create(model="my-model", prompt="a", **more)


def test_a_template_that_refuses_is_a_bad_request(chat):
    assert refused(chat, messages=[{"role": "user", "content": "x", "tool_calls": [{"function": {"name": "f"}}]}])


def test_keys_and_names(server, client):
    wrong = client.with_options(api_key=server.key + "x")
    with pytest.raises(openai.AuthenticationError):
        wrong.models.list()
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("my-model")  # not one of the four routes
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt-4", messages=GREETING)
