"""Tiny models of real architectures, adapters of every kind for them, and what peft merges of each.

`make(folder, cases)` runs this file once in the training environment. A case is `architecture-kind-precision-shards`;
it becomes a folder with `base`, `adapter` (`adapter2` …), `merged` and `case.json`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from appliance import settings

SHAPE = {
    "vocab_size": 96, "hidden_size": 32, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
LINEAR = [*ATTENTION, "gate_proj", "up_proj", "down_proj"]

# The ordinary cases: every kind, every architecture, every precision, one shard and four.
LLAMA = (
    "lora", "rslora", "dora", "doraodd", "patterns", "pissa", "biasall", "biaslora", "lorabias", "savedhead",
    "savedheadfree", "savedembed", "savedboth", "savednorm", "embed", "embedtied", "head", "headtied", "bothtied",
    "tiedtogether", "several", "severalembed",
)  # fmt: skip
MIXTURE = ("lora", "experts", "expertsdown", "router", "oldexperts")
VISION = ("lora", "vision", "savedproj")
STREAMED = [
    *(f"llama-{kind}-bfloat16-{1 + 3 * (number % 2)}" for number, kind in enumerate(LLAMA)),
    "llama-lora-float32-1", "llama-dora-float32-4", "llama-lora-float16-4", "llama-embedtied-float32-1",
    "qwen3-lora-float32-4", "qwen3-dora-bfloat16-1", "qwen3-several-float16-1", "gemma-lora-bfloat16-4",
    "gemma-dora-float32-1", "gemma-savedhead-float16-4", "glm-lora-float16-1", "glm-dora-bfloat16-4",
    "gpt2-lora-float32-1", "gpt2-lora-bfloat16-4",
    *(f"qwen3moe-{kind}-bfloat16-{1 + 3 * (number % 2)}" for number, kind in enumerate(MIXTURE)),
    "qwen3moe-every-bfloat16-1", "qwen3next-every-bfloat16-4",
    "qwen3moe-experts-float32-4", "qwen3moe-oldexperts-float32-1", "qwen3moe-experts-float16-1",
    *(f"mixtral-{kind}-bfloat16-4" for kind in MIXTURE), "gptoss-experts-bfloat16-1", "gptoss-lora-bfloat16-4",
    *(f"gemma3vl-{kind}-bfloat16-{1 + 3 * (number % 2)}" for number, kind in enumerate(VISION)),
    *(f"qwen25vl-{kind}-float16-{1 + 3 * (number % 2)}" for number, kind in enumerate(VISION)),
]  # fmt: skip
BY_PEFT = ["gpt2-dora-float32-1", "llama-pissaraw-bfloat16-1", "llama-loha-bfloat16-1", "llama-tokens-bfloat16-1"]


def make(folder: Path, cases: list[str]) -> Path:
    """A folder for each case."""
    variables = {**settings.child_environment(), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [settings.python_of("train"), __file__, folder, *cases], env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def _config(architecture: str, tied: bool) -> Any:
    import transformers as t

    shape = {**SHAPE, "tie_word_embeddings": tied}
    if architecture == "llama":
        return t.LlamaConfig(**shape, attention_bias=True, mlp_bias=True)
    if architecture == "qwen3":
        return t.Qwen3Config(**shape, head_dim=8)
    if architecture == "gemma":
        return t.Gemma3TextConfig(**shape, head_dim=8, sliding_window=64)
    if architecture == "glm":
        return t.Glm4Config(**shape, head_dim=8)
    if architecture == "qwen3moe":
        return t.Qwen3MoeConfig(
            **shape, head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24, decoder_sparse_step=1
        )
    if architecture == "qwen3next":  # has layers whose names end like those of parameters that are adapted
        return t.Qwen3NextConfig(
            **shape, head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24,
            shared_expert_intermediate_size=24, linear_num_value_heads=4, linear_num_key_heads=2,
            linear_key_head_dim=8, linear_value_head_dim=8, layer_types=["linear_attention", "full_attention"],
        )  # fmt: skip
    if architecture == "mixtral":
        return t.MixtralConfig(**{**shape, "intermediate_size": 24}, num_local_experts=4)
    if architecture == "gptoss":
        return t.GptOssConfig(
            **{**shape, "intermediate_size": 24}, head_dim=8, num_local_experts=4, num_experts_per_tok=2,
            layer_types=["full_attention"] * 2,
        )  # fmt: skip
    if architecture == "gpt2":
        return t.GPT2Config(vocab_size=96, n_embd=32, n_layer=2, n_head=4, n_positions=128, tie_word_embeddings=tied)
    vision = {
        "hidden_size": 16, "intermediate_size": 40, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
        "patch_size": 14,
    }  # fmt: skip
    if architecture == "gemma3vl":
        text = _config("gemma", tied).to_dict()
        return t.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, tie_word_embeddings=tied)
    if architecture == "qwen25vl":
        text = {**shape, "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]}}
        vision = {
            "depth": 1, "hidden_size": 16, "intermediate_size": 40, "num_heads": 2, "out_hidden_size": 32,
            "patch_size": 14, "fullatt_block_indexes": [0],
        }  # fmt: skip
        return t.Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=tied)
    raise ValueError(architecture)


def _model(config: Any) -> Any:
    import transformers as t

    kinds = {
        "llama": t.LlamaForCausalLM, "qwen3": t.Qwen3ForCausalLM, "gemma3_text": t.Gemma3ForCausalLM,
        "glm4": t.Glm4ForCausalLM, "qwen3_moe": t.Qwen3MoeForCausalLM, "mixtral": t.MixtralForCausalLM,
        "gpt_oss": t.GptOssForCausalLM, "gpt2": t.GPT2LMHeadModel, "gemma3": t.Gemma3ForConditionalGeneration,
        "qwen2_5_vl": t.Qwen2_5_VLForConditionalGeneration, "qwen3_next": t.Qwen3NextForCausalLM,
    }  # fmt: skip
    return kinds[config.model_type](config)


# kind → (tied embeddings?, LoraConfig's words). Targets that an architecture has otherwise named stand in _TARGETS.
KINDS: dict[str, tuple[bool, dict[str, Any]]] = {
    "lora": (True, {}),
    "rslora": (True, {"use_rslora": True, "r": 6}),
    "dora": (True, {"use_dora": True}),
    "doraodd": (False, {"use_dora": True, "r": 3, "target_modules": ["down_proj", "o_proj"]}),
    "patterns": (True, {"rank_pattern": {"q_proj": 2, "layers.1.mlp.up_proj": 5}, "alpha_pattern": {"k_proj": 3}}),
    "pissa": (True, {"init_lora_weights": "pissa"}),
    "pissaraw": (True, {"init_lora_weights": "pissa"}),
    "biasall": (True, {"bias": "all"}),
    "biaslora": (True, {"bias": "lora_only"}),
    "lorabias": (True, {"lora_bias": True}),
    "savedhead": (True, {"modules_to_save": ["lm_head"]}),
    "savedheadfree": (False, {"modules_to_save": ["lm_head"]}),
    "savedembed": (True, {"modules_to_save": ["embed_tokens"]}),
    "savedboth": (False, {"modules_to_save": ["embed_tokens", "lm_head"]}),
    "savednorm": (True, {"modules_to_save": ["norm"]}),
    "embed": (False, {"target_modules": [*LINEAR, "embed_tokens"]}),
    "embedtied": (True, {"target_modules": [*LINEAR, "embed_tokens"]}),
    "head": (False, {"target_modules": [*LINEAR, "lm_head"]}),
    "headtied": (True, {"target_modules": [*LINEAR, "lm_head"]}),
    "bothtied": (True, {"target_modules": ["embed_tokens", "lm_head"]}),
    "tiedtogether": (True, {"target_modules": ["q_proj", "embed_tokens", "lm_head"], "ensure_weight_tying": True}),
    "experts": (False, {"target_modules": ATTENTION, "target_parameters": [
        "mlp.experts.gate_up_proj", "mlp.experts.down_proj"]}),
    "expertsdown": (False, {
        "target_modules": ATTENTION, "target_parameters": ["mlp.experts.down_proj"], "use_rslora": True}),
    "every": (False, {"target_modules": "all-linear"}),  # as a fine-tune asks for; peft makes parameters of the experts
    "router": (False, {"target_modules": ATTENTION, "target_parameters": ["mlp.gate.weight"]}),
    "oldexperts": (False, {}),
    "several": (True, {}),
    "severalembed": (False, {"target_modules": ["q_proj", "embed_tokens"]}),
    "loha": (True, {"type": "loha"}),
    "tokens": (False, {"trainable_token_indices": [3, 7]}),
    "vision": (True, {"target_modules": r".*(visual|vision_tower).*(q_proj|v_proj|qkv|fc1|gate_proj|down_proj).*"
                                        r"|.*language_model.*(q_proj|v_proj|down_proj)"}),
    "savedproj": (True, {"target_modules": r".*language_model.*q_proj", "modules_to_save": ["multi_modal_projector"]}),
}  # fmt: skip


def _adapter(model: Any, kind: str, seed: int = 0) -> Any:
    import torch
    from peft import LoHaConfig, LoraConfig, get_peft_model

    _tied, words = KINDS[kind]
    words = dict(words)
    if words.pop("type", "") == "loha":
        config: Any = LoHaConfig(r=4, alpha=8, target_modules=ATTENTION)
    else:
        targets = ["c_attn", "c_proj", "c_fc"] if model.config.model_type == "gpt2" else LINEAR
        if model.config.model_type in ("qwen3_moe", "mixtral", "gpt_oss"):
            targets = ATTENTION
        if model.config.model_type == "glm4":
            targets = [*ATTENTION, "gate_up_proj", "down_proj"]
            if isinstance(words.get("target_modules"), list):
                words["target_modules"] = [
                    "gate_up_proj" if name == "up_proj" else name
                    for name in words["target_modules"]
                    if name != "gate_proj"
                ]
        config = LoraConfig(**{"r": 4, "lora_alpha": 8 + 3 * seed, "target_modules": targets, **words})
    torch.manual_seed(seed + 1)
    return get_peft_model(model, config)


def _stir(adapted: Any) -> None:
    """As if it had learned."""
    import torch

    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.05)


def _old_experts(folder: Path, model: Any) -> None:
    """An adapter as transformers 4 wrote them: a pair of halves for every single expert's linear layer."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(3)
    old = model.config.model_type == "mixtral"
    block, words = ("block_sparse_moe", ("w1", "w3", "w2")) if old else ("mlp", ("gate_proj", "up_proj", "down_proj"))
    width = model.config.intermediate_size if old else model.config.moe_intermediate_size
    tensors = {}
    for layer in range(2):
        for expert in range(4):
            for word in words:
                into, out = (width, 32) if word == words[2] else (32, width)
                name = f"base_model.model.model.layers.{layer}.{block}.experts.{expert}.{word}"
                tensors[f"{name}.lora_A.weight"] = torch.randn(4, into) * 0.1
                tensors[f"{name}.lora_B.weight"] = torch.randn(out, 4) * 0.1
        gate = f"base_model.model.model.layers.{layer}.{block}.gate"
        tensors[f"{gate}.lora_A.weight"] = torch.randn(4, 32) * 0.1
        tensors[f"{gate}.lora_B.weight"] = torch.randn(4, 4) * 0.1
        query = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        tensors[f"{query}.lora_A.weight"] = torch.randn(4, 32) * 0.1
        tensors[f"{query}.lora_B.weight"] = torch.randn(32, 4) * 0.1
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA", "r": 4, "lora_alpha": 12, "target_modules": [*words, "gate", "q_proj"], "task_type": None,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))


def _case(folder: Path, case: str) -> None:
    import torch
    from peft import PeftModel

    architecture, kind, precision, shards = case.split("-")
    dtype = getattr(torch, precision)
    folder.mkdir()
    torch.manual_seed(0)
    original = _model(_config(architecture, KINDS[kind][0])).to(dtype)
    with torch.no_grad():
        for name, parameter in original.named_parameters():
            if name.endswith("bias"):
                parameter.add_(torch.randn_like(parameter) * 0.1)
    whole = sum(tensor.numel() * tensor.element_size() for tensor in original.parameters())
    size = whole * 2 if shards == "1" else max(1, whole // 5)
    original.save_pretrained(folder / "base", max_shard_size=size)

    def load() -> Any:
        return type(original).from_pretrained(folder / "base", dtype=dtype)

    adapters = [folder / "adapter"]
    weights = [1.0]
    if kind == "oldexperts":
        _old_experts(folder / "adapter", original)
    elif kind.startswith("several"):
        adapters.append(folder / "adapter2")
        weights = [0.7, -0.3]
        for number, target in enumerate(adapters):
            adapted = _adapter(load(), kind, number)
            _stir(adapted)
            adapted.save_pretrained(target)
    else:
        adapted = _adapter(load(), kind)
        if kind == "pissa":
            adapted.peft_config["default"].init_lora_weights = True
            adapted.save_pretrained(folder / "begun")
            _stir(adapted)
            adapted.peft_config["default"].init_lora_weights = "pissa"
            adapted.save_pretrained(folder / "adapter", path_initial_model_for_weight_conversion=folder / "begun")
        else:
            _stir(adapted)
            adapted.save_pretrained(folder / "adapter")
    whole_adapter = adapters[0]
    if kind.startswith("several"):
        # In float32: onto a 16-bit model, peft would round the combined adapter itself to 16 bits.
        both = PeftModel.from_pretrained(
            type(original).from_pretrained(folder / "base", dtype=torch.float32), adapters[0]
        )
        both.load_adapter(adapters[1], "second")
        both.add_weighted_adapter(["default", "second"], weights, "together", combination_type="cat")
        both.save_pretrained(folder / "both", selected_adapters=["together"])
        whole_adapter = folder / "both" / "together"
    merged = PeftModel.from_pretrained(load(), whole_adapter).merge_and_unload()
    merged.save_pretrained(folder / "merged")
    (folder / "case.json").write_text(json.dumps({"weights": weights}))


def main(folder: Path, cases: list[str]) -> None:
    import warnings

    warnings.simplefilter("ignore")
    for case in cases:
        try:
            _case(folder / case, case)
        except Exception as error:
            if os.environ.get("GO_ON"):
                print(case, type(error).__name__, str(error)[:300])
                continue
            raise RuntimeError(case) from error


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
