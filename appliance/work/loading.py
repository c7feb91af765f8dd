"""The base model and its tokenizer as the plan says; on top an earlier adapter, where training goes on from one."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

from appliance import files
from appliance.errors import ApplianceError
from appliance.locale import _
from appliance.planning.way import WHOLE
from appliance.work import seeing


def origin(base: Path, known: dict[str, Any]) -> dict[str, Any]:
    """What is known of a base (source, reference, revision, weights {file: sha256}); where nobody has taken its
    weights' sha256 yet, they are taken now."""
    if known.get("weights"):
        return known
    return {**known, "weights": {path.name: files.sha256(path) for path in sorted(base.glob("*.safetensors"))}}


def load_tokenizer(base: Path) -> Any:
    """The base model's tokenizer, with a padding token. Raises ApplianceError."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ApplianceError(
            _("The tokenizer in {folder} can't be loaded.").format(folder=base),
            str(error).strip().split("\n")[0],
            _("Download the model again, or choose another one."),
        ) from error
    if tokenizer.eos_token_id is None and (ends := _ends(base)) is not None:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(ends)
    if tokenizer.pad_token_id is None:
        # It is masked everywhere: which one it is does not matter, as long as it is no word.
        special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        tokenizer.pad_token = tokenizer.eos_token or next(iter(special), tokenizer.convert_ids_to_tokens(0))
    return tokenizer


def _ends(base: Path) -> int | None:
    """The token that ends an answer, where the tokenizer names none but the model does."""
    for name in ("generation_config.json", "config.json"):
        if (base / name).exists():
            named = files.read_json(base / name).get("eos_token_id")
            named = next(iter(named), None) if isinstance(named, list) else named
            if isinstance(named, int):
                return named
    return None


def load_model(base: Path, plan: dict[str, Any], task: str, earlier: Path | None = None, *, sees: bool = False) -> Any:
    """The model in the plan's dtype, 4-bit for QLoRA; for `reward` with a head that gives one number.

    earlier  an adapter to go on training from: the model comes back with it, to be trained further
    sees     it takes pictures as well: what sees is frozen, and stays in 16 bits for QLoRA
    """
    import torch
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
        AutoModelForSequenceClassification,
        BitsAndBytesConfig,
    )

    # Weights that learn move by less than 16 bits can hold.
    dtype = torch.float32 if plan["method"] in WHOLE else getattr(torch, plan["dtype"])
    options: dict[str, Any] = {}
    if plan["method"] == "qlora":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
            llm_int8_skip_modules=seeing.not_packed(base) if sees else None,
        )
    if plan.get("sharding") == "fsdp":
        # FSDP2 at loading: no process ever holds the whole model. The adapters, which come later, are whole in each.
        from transformers.distributed import DistributedConfig

        options["distributed_config"] = DistributedConfig(fsdp_size=plan["gpus"])
    elif plan.get("device") == "cuda":
        # Of the cards that this job sees, its own; the only one where it works alone.
        options["device_map"] = {"": int(os.environ.get("LOCAL_RANK", 0))}
    if task == "reward":
        options["num_labels"] = 1
    kind = AutoModelForImageTextToText if sees else AutoModelForCausalLM
    kind = AutoModelForSequenceClassification if task == "reward" else kind
    try:
        model = kind.from_pretrained(
            base, dtype=dtype, local_files_only=True, trust_remote_code=False, use_safetensors=True, **options
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ApplianceError(
            _("The model in {folder} can't be loaded.").format(folder=base),
            str(error).strip().split("\n")[0],
            _("Download the model again, or choose another one."),
        ) from error
    model.config.get_text_config().use_cache = False
    if sees:
        seeing.freeze(model)
    return _with_adapter(model, earlier) if earlier else model


# TRL's own head goes over the words' scores in tiles, for every task; Liger's would take its place.
LIGER = {"cross_entropy": False, "fused_linear_cross_entropy": False}


def use_liger(model: Any) -> str:
    """Put Liger's kernels into the model's layers. "" when done, else the sentence why not."""
    if importlib.util.find_spec("liger_kernel") is None:
        return _("liger-kernel is not installed")
    from transformers.integrations.liger import apply_liger_kernel

    apply_liger_kernel(model, LIGER)
    return ""


def _with_adapter(model: Any, earlier: Path) -> Any:
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, str(earlier), is_trainable=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ApplianceError(
            _("The adapter in {folder} can't be used for this model.").format(folder=earlier),
            str(error).strip().split("\n")[0],
            _("Give an adapter that was trained on this very model."),
        ) from error
