"""Parameters from a config.json's facts, matrix by matrix: another way to the number than the planning room's."""

from __future__ import annotations

from typing import Any


def parameters(config: dict[str, Any]) -> int:
    """All matrices of the language model and of the part that sees; norms and biases are too small to matter."""
    text = config.get("text_config", config)
    hidden, layers = text["hidden_size"], text["num_hidden_layers"]
    tied = text.get("tie_word_embeddings", config.get("tie_word_embeddings"))
    total = text["vocab_size"] * hidden * (1 if tied else 2)
    for layer in range(layers):
        total += _attention(text, layer) + _mlp(text, layer)
    return total + (_vision(config["vision_config"], hidden) if "vision_config" in config else 0)


def _attention(text: dict[str, Any], layer: int) -> int:
    hidden, heads = text["hidden_size"], text["num_attention_heads"]
    if "kv_lora_rank" in text:  # multi-head latent attention
        plain, rotated, value = text["qk_nope_head_dim"], text["qk_rope_head_dim"], text["v_head_dim"]
        queries = hidden * text["q_lora_rank"] + text["q_lora_rank"] * heads * (plain + rotated)
        latent = hidden * (text["kv_lora_rank"] + rotated) + text["kv_lora_rank"] * heads * (plain + value)
        return queries + latent + heads * value * hidden
    interval = text.get("full_attention_interval")
    if interval and (layer + 1) % interval:  # gated delta net
        keys = text["linear_num_key_heads"] * text["linear_key_head_dim"]
        values = text["linear_num_value_heads"] * text["linear_value_head_dim"]
        return hidden * (2 * keys + 3 * values + 2 * text["linear_num_value_heads"])
    size = text.get("head_dim", hidden // heads)
    gate = 2 if interval else 1  # these families gate what attention puts out
    return hidden * size * (gate * heads + heads + 2 * text["num_key_value_heads"])


def _mlp(text: dict[str, Any], layer: int) -> int:
    hidden = text["hidden_size"]
    experts = next((text[n] for n in ("num_experts", "num_local_experts", "n_routed_experts") if n in text), 0)
    if not experts or layer < text.get("first_k_dense_replace", 0):
        return 3 * hidden * int(text["intermediate_size"])
    width = text.get("moe_intermediate_size") or text["intermediate_size"]
    shared = text.get("shared_expert_intermediate_size") or text.get("n_shared_experts", 0) * width
    return 3 * hidden * (experts * width + shared) + hidden * experts


def _vision(seen: dict[str, Any], hidden: int) -> int:
    kind, wide, inner = seen["model_type"], seen["hidden_size"], seen["intermediate_size"]
    layers = seen.get("depth") or seen["num_hidden_layers"]
    out, four = seen.get("out_hidden_size", hidden), 4 * wide
    if kind == "glm4v":  # the towers' MLP is as wide as the language model, the merger's as wide as is said
        return layers * (4 * wide * wide + 3 * wide * out) + four * out + out * out + 3 * out * inner
    if kind == "pixtral":
        return layers * (4 * wide * wide + 3 * wide * inner) + four * wide + wide * out + out * out
    if kind == "qwen2_5_vl":
        return layers * (4 * wide * wide + 3 * wide * inner) + four * four + four * out
    plain = layers * (4 * wide * wide + 2 * wide * inner)
    if kind == "siglip_vision_model":
        return plain + wide * out
    if kind == "internvl_vision":
        return plain + four * out + out * out
    mergers = 1 + len(seen.get("deepstack_visual_indexes", []))
    return plain + mergers * (four * four + four * out) + seen["num_position_embeddings"] * wide
