"""How a family of models writes its calls and its thoughts, in each engine's own words for the parser that reads them.

By config.json's model_type, by its beginning, the longer ones first. Names are those that the engines of the locks
register; `make test-engines` asks the engines themselves.
"""

from __future__ import annotations

_CALLS = {
    "vllm": {
        "qwen3_5": "qwen3_coder", "qwen": "hermes", "llama4": "llama4_pythonic", "llama": "llama3_json",
        "mistral": "mistral", "ministral": "mistral", "internlm": "internlm", "granite": "granite",
        "deepseek_v3": "deepseek_v3", "glm4_moe": "glm45", "gemma4": "gemma4", "gpt_oss": "openai",
    },
    "lmdeploy": {
        "qwen3_5": "qwen3coder", "qwen3": "qwen3", "qwen": "qwen2d5", "llama": "llama3", "internlm": "internlm",
        "glm4_moe": "glm47",
    },
    "sglang": {
        "qwen3_5": "qwen3_coder", "qwen": "qwen25", "llama": "llama3", "mistral": "mistral", "internlm": "interns1",
        "deepseek_v3": "deepseekv3", "glm4_moe": "glm45", "gpt_oss": "gpt-oss",
    },
}  # fmt: skip
# For models whose template knows <think>. "": every other family, such as those taught to think as DeepSeek R1 does.
_THOUGHTS = {
    "vllm": {"qwen3": "qwen3", "glm4_moe": "glm45", "": "deepseek_r1"},
    "lmdeploy": {"": "default"},
    "sglang": {"qwen3": "qwen3", "glm4_moe": "glm45", "": "deepseek-r1"},
}


def call_parser(engine: str, family: str) -> str | None:
    """The engine's parser for the calls of this family; None where it knows none (it refuses `tools: auto` then)."""
    return _longest(_CALLS[engine], family)


def thought_parser(engine: str, family: str) -> str:
    """The engine's parser for thoughts between <think> and </think>."""
    return _longest(_THOUGHTS[engine], family) or ""


def _longest(parsers: dict[str, str], family: str) -> str | None:
    fitting = [start for start in parsers if family.startswith(start)] if family else [s for s in parsers if not s]
    return parsers[max(fitting, key=len)] if fitting else None
