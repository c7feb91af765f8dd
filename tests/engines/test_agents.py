"""An agent over the address: LangChain's `create_agent` and a model taught to call a tool. README's own lines."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from conftest import NAME, Server  # type: ignore[attr-defined]

ROOT = Path(__file__).resolve().parent.parent.parent


def lines(readme: str) -> str:
    """The block of Python that README shows for agents."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / readme).read_text(encoding="utf-8"), re.S)
    (block,) = [block for block in blocks if "create_agent" in block]
    assert len([line for line in block.splitlines() if line.strip()]) <= 10
    return block


@pytest.fixture
def said(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What README's lines leave behind, with this server's address, key file and model in place of the example's."""
    for variable in ("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    key_file = tmp_path / "key"
    key_file.write_text(server.key + "\n")
    code = lines("README.md")
    for example, here in {
        "http://127.0.0.1:8000/v1": f"{server.address}/v1", '"KEY_FILE"': repr(str(key_file)), '"NAME"': repr(NAME),
    }.items():  # fmt: skip
        assert code.count(example) == 1, example
        code = code.replace(example, here)
    left: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), left)
    return left


def test_the_agent_calls_its_tool_with_the_right_argument_and_uses_the_answer(
    said: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    asked, call, result, answer = said["answer"]["messages"]
    assert asked.content == "Weather in Paris?"
    assert [(each["name"], each["args"]) for each in call.tool_calls] == [("get_weather", {"city": "Paris"})]
    assert (result.type, result.content, result.tool_call_id) == ("tool", "sunny", call.tool_calls[0]["id"])
    assert answer.content == "It is sunny." and answer.usage_metadata["output_tokens"] > 0

    # The same agent, streaming: the call and the answer come piece by piece.
    pieces = list(said["agent"].stream({"messages": [("user", "Weather in Paris?")]}, stream_mode="messages"))
    spoken = [piece.content for piece, _facts in pieces if piece.type == "AIMessageChunk" and piece.content]
    called = [
        chunk for piece, _facts in pieces for chunk in getattr(piece, "tool_call_chunks", []) if chunk.get("name")
    ]
    assert "".join(spoken) == "It is sunny." and len(spoken) > 3
    assert [chunk["name"] for chunk in called] == ["get_weather"]
    assert any(piece.type == "tool" and piece.content == "sunny" for piece, _facts in pieces)


def test_both_readmes_show_the_same_lines() -> None:
    def code(readme: str) -> str:
        return re.sub(r" *#.*", "", lines(readme))

    assert code("README.md") == code("README_zh.md")
