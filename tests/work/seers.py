"""Tiny models that see, of the real architectures, made on the spot: `python seers.py FOLDER [NAME…]` in the training
environment. Each has a tokenizer, a short template of our own in its family's style, and its processor's files.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

CHATML = """
{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' }}
{%- if m.content is string %}{{- m.content }}{% else %}
{%- for part in m.content %}{% if part.type == 'image' %}{{- 'PICTURE' }}{% else %}{{- part.text }}{% endif %}
{%- endfor %}
{%- endif %}{{- '<|im_end|>\\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{% endif %}
"""
GEMMA = """
{{- '<bos>' }}{% for m in messages %}
{{- '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' }}
{%- if m.content is string %}{{- m.content | trim }}{% else %}
{%- for part in m.content %}{% if part.type == 'image' %}{{- '<start_of_image>' }}{% else %}
{{- part.text | trim }}{% endif %}{%- endfor %}{% endif %}{{- '<end_of_turn>\\n' }}
{%- endfor %}{%- if add_generation_prompt %}{{- '<start_of_turn>model\\n' }}{% endif %}
"""
PATCH = 8  # pixels
SIZE = 32  # pixels that every picture is brought to, or nearly
HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def tokenizer_of(folder: Path, template: str, special: dict[str, str], end: str, pad: str) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([end, pad, "<|im_start|>", "<start_of_turn>", "<bos>", *special.values()])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token=end, pad_token=pad, chat_template=template.strip(),
        extra_special_tokens={name: value for name, value in special.items() if name.endswith("_token")},
    )  # fmt: skip
    fast.save_pretrained(folder)
    return fast


def words(tokenizer: Any) -> dict[str, Any]:
    """What all language parts have."""
    return {
        "vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 512,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None,
        "initializer_range": 0.1,  # a head so small as usual could not tell 260 letters apart
    }  # fmt: skip


def write(folder: Path, name: str, content: dict[str, Any]) -> None:
    (folder / name).write_text(json.dumps(content))


def qwen(folder: Path, kind: str) -> Any:
    import transformers

    special = {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"}
    special |= {"start": "<|vision_start|>", "stop": "<|vision_end|>"}
    template = CHATML.replace("PICTURE", "<|vision_start|><|image_pad|><|vision_end|>")
    tokenizer = tokenizer_of(folder, template, special, "<|im_end|>", "<|endoftext|>")
    seen = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "patch_size": PATCH,
            "out_hidden_size": 64, "spatial_merge_size": 2}  # fmt: skip
    if kind == "Qwen3VL":
        seen |= {"deepstack_visual_indexes": [0], "num_position_embeddings": 16}
        more = {"head_dim": 32, "rope_parameters": {"rope_type": "default", "mrope_section": [8, 4, 4],
                                                    "rope_theta": 1e4, "mrope_interleaved": True}}  # fmt: skip
    else:
        seen |= {"window_size": 4 * PATCH, "fullatt_block_indexes": [1]}
        more = {"rope_parameters": {"rope_type": "default", "mrope_section": [8, 4, 4], "rope_theta": 1e4}}
    ids = {f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{sign}|>")
           for name, sign in (("image", "image_pad"), ("video", "video_pad"), ("vision_start", "vision_start"),
                              ("vision_end", "vision_end"))}  # fmt: skip
    config = getattr(transformers, f"{kind}Config")(
        text_config={**words(tokenizer), **more}, vision_config=seen, tie_word_embeddings=True, **ids
    )
    write(folder, "preprocessor_config.json", {
        "image_processor_type": "Qwen2VLImageProcessor", "processor_class": f"{kind}Processor", "patch_size": PATCH,
        "temporal_patch_size": 2, "merge_size": 2, **HALF,
        "size": {"shortest_edge": SIZE * SIZE, "longest_edge": 2 * SIZE * SIZE}})  # fmt: skip
    return getattr(transformers, f"{kind}ForConditionalGeneration")(config)


def internvl(folder: Path) -> Any:
    from transformers import InternVLConfig, InternVLForConditionalGeneration

    special = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>",
               "video_token": "<video>"}  # fmt: skip
    template = CHATML.replace("PICTURE", "<IMG_CONTEXT>\\n")
    tokenizer = tokenizer_of(folder, template, special, "<|im_end|>", "<|endoftext|>")
    seen = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": [SIZE, SIZE], "patch_size": [PATCH, PATCH]}  # fmt: skip
    config = InternVLConfig(
        text_config={"model_type": "qwen2", **words(tokenizer)}, vision_config=seen, image_seq_length=4,
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"), tie_word_embeddings=True,
    )  # fmt: skip
    write(folder, "preprocessor_config.json", {
        "image_processor_type": "GotOcr2ImageProcessor", "size": {"height": SIZE, "width": SIZE},
        "crop_to_patches": True, "min_patches": 1, "max_patches": 2, **HALF})  # fmt: skip
    write(folder, "processor_config.json", {"processor_class": "InternVLProcessor", "image_seq_length": 4})
    return InternVLForConditionalGeneration(config)


def gemma(folder: Path) -> Any:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    special = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    tokenizer = tokenizer_of(folder, GEMMA, special, "<end_of_turn>", "<pad>")
    seen = {"model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 2, "image_size": SIZE, "patch_size": PATCH,
            "vision_use_head": False}  # fmt: skip
    config = Gemma3Config(
        text_config={**words(tokenizer), "head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 512},
        vision_config=seen, mm_tokens_per_image=4, tie_word_embeddings=True,
        boi_token_index=tokenizer.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=tokenizer.convert_tokens_to_ids("<end_of_image>"),
        image_token_index=tokenizer.convert_tokens_to_ids("<image_soft_token>"),
    )  # fmt: skip
    write(folder, "preprocessor_config.json", {
        "image_processor_type": "Gemma3ImageProcessor", "size": {"height": SIZE, "width": SIZE}, **HALF,
        "do_convert_rgb": None, "do_pan_and_scan": None})  # fmt: skip
    write(folder, "processor_config.json", {"processor_class": "Gemma3Processor", "image_seq_length": 4})
    return Gemma3ForConditionalGeneration(config)


MAKERS = {
    "qwen2.5-vl": lambda folder: qwen(folder, "Qwen2_5_VL"),
    "qwen3-vl": lambda folder: qwen(folder, "Qwen3VL"),
    "internvl": internvl,
    "gemma3": gemma,
}


def main(folder: Path, names: list[str]) -> None:
    import torch

    for name in names or list(MAKERS):
        torch.manual_seed(0)
        (folder / name).mkdir(parents=True, exist_ok=True)
        model = MAKERS[name](folder / name)
        with torch.no_grad():  # what sees is not trained: it must pass on what it sees
            for place, parameter in model.named_parameters():
                if "language_model" not in place and "lm_head" not in place and parameter.ndim > 1:
                    if not parameter.any():  # Gemma's projector begins with nothing
                        parameter.normal_(std=0.1)
                    parameter.mul_(40 if "patch_embed" in place else 4)
        model.save_pretrained(folder / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
