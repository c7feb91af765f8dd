"""What a family's decoder layers do otherwise than the usual one, by `model_type` and config.json.

The usual layer: two norms, separate q, k, v, gate, up and down, attention over all tokens before. What differs is read
from the families' own classes in transformers 5; docs/estimate.md says what each of it costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Families whose configuration leaves `tie_word_embeddings` out and means "tied".
_TIED_BY_DEFAULT = ("gemma", "gpt2", "gpt_neo", "opt", "bloom")
# Families that normalise queries and keys, each head by itself.
_QK_NORMED = ("qwen3", "gemma3", "olmo2", "glm4_moe")
# Families that cap their attention scores or add to them.
_OWN_SCORES = ("gemma2", "baichuan")
# Families whose MLP has no gate.
_PLAIN_MLP = (
    "gpt2", "phi", "phi-msft", "gpt_neox", "gptj", "opt", "bloom", "starcoder2", "falcon", "RefinedWeb",
    "RefinedWebModel", "nemotron", "apertus",
)  # fmt: skip
# Families that normalise what attention and MLP put out as well.
_FOUR_NORMS = ("gemma2", "gemma3", "glm4", "glm4v_text")
# Families whose norms multiply with their weight in float32.
_FLOAT_NORMS = ("gemma",)
# Families with one matrix for gate and up; and for queries, keys and values.
_FUSED_MLP = ("phi3", "glm4", "glm4v_text", "chatglm")
_FUSED_QKV = ("phi3", "chatglm")
# Families in which some layers look back only so far: the window that is meant where the configuration has none, and
# every how many layers one looks back to the start (0: none does).
_WINDOWS = {"gemma2": (4096, 2), "gemma3_text": (4096, 6), "mistral": (4096, 0)}


@dataclass(frozen=True)
class Latent:
    """Multi-head latent attention (DeepSeek-V2, section 2.1): queries, keys and values through narrow matrices.

    queries, keys  width of the narrow ones (queries 0: none) · plain, rotated  of a head's keys, without and with a
    position; the latter are shared by all heads
    """

    queries: int
    keys: int
    plain: int
    rotated: int


def traits(model_type: str, text: dict[str, Any], layers: int) -> dict[str, Any]:
    """The fields of `Shape` that a family decides; `text` is the language model's part of config.json."""
    tied = text.get("tie_word_embeddings")
    window, windowed = _window(model_type, text, layers)
    return {
        "tied": tied if isinstance(tied, bool) else model_type.startswith(_TIED_BY_DEFAULT),
        "mlp_matrices": 2 if model_type in _PLAIN_MLP or text.get("mlp_matrices") == 2 else 3,
        "qk_norm": model_type.startswith(_QK_NORMED) and "kv_lora_rank" not in text,
        "own_scores": bool(text.get("attn_logit_softcapping")) or model_type in _OWN_SCORES,
        "norms": 4 if model_type.startswith(_FOUR_NORMS) and "moe" not in model_type else 2,
        "float_norms": model_type.startswith(_FLOAT_NORMS),
        "fused_qkv": model_type in _FUSED_QKV,
        "fused_mlp": model_type in _FUSED_MLP,
        "window": window,
        "windowed": windowed,
        "latent": _latent(text),
    }


def _window(model_type: str, text: dict[str, Any], layers: int) -> tuple[int, int]:
    """(tokens that a layer looks back, layers that do so); zeros where all look back to the start."""
    if model_type not in _WINDOWS:
        return 0, 0
    default, every = _WINDOWS[model_type]
    window = text.get("sliding_window", default)
    if not isinstance(window, int) or isinstance(window, bool) or window <= 0:
        return 0, 0
    kinds = text.get("layer_types")
    if isinstance(kinds, list):
        return window, min(layers, kinds.count("sliding_attention"))
    every = text.get("sliding_window_pattern") or every
    return window, layers - (layers // every if isinstance(every, int) and every else 0)


def _latent(text: dict[str, Any]) -> Latent | None:
    def width(name: str) -> int:
        value = text.get(name)
        return value if isinstance(value, int) and 0 < value < 10**6 else 0

    keys, plain, rotated = width("kv_lora_rank"), width("qk_nope_head_dim"), width("qk_rope_head_dim")
    return Latent(width("q_lora_rank"), keys, plain, rotated) if keys and plain and rotated else None
