"""Rows that go through the model end to end, without padding, and do not see each other.

transformers tells such rows apart by their positions and masks every pair of tokens of different rows: what is computed
grows with the square of all rows together, and a mask keeps the fast kernels away. Here each row is a call of its own
without a mask, which PyTorch answers with the kernels of FlashAttention on NVIDIA cards, and with its own elsewhere.
"""

from __future__ import annotations

import importlib.util
from itertools import pairwise
from typing import Any

from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from appliance.locale import _

NAME, FLASH = "rows_apart", "flash_attention_2"
# The oldest silicon for which the flash_attn package has kernels (Ampere).
_FLASH_CAPABILITY = (8, 0)
_PROBE_TOKENS = 7
# What rounding may do, as a share: in 16 bits kernels for other shapes add up in another order.
_SAME, _NEARLY_SAME = 1e-4, 0.05


def _attend(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, row_bounds: tuple[int, ...] = (), **options: Any
) -> Any:
    """Shapes as transformers' own: (1, heads, tokens, width). `row_bounds`: where rows begin, and the end."""
    if not row_bounds:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    import torch

    made = []
    for begin, end in pairwise(row_bounds):
        row = slice(begin, end)
        mask = attention_mask if attention_mask is None else attention_mask[..., row, row]
        made.append(
            sdpa_attention_forward(module, query[:, :, row], key[:, :, row], value[:, :, row], mask, **options)[0]
        )
    return torch.cat(made, dim=1), None


def _mask(**options: Any) -> Any:
    """None for rows end to end, unless they look back only so far; else what transformers makes."""
    packed = options.get("attention_mask") is None and not options.get("allow_is_causal_skip", True)
    if packed and options.get("local_size") is None:
        return None
    return sdpa_mask(**options)


class EndToEnd(DataCollatorForLanguageModeling):  # type: ignore[misc]
    """TRL's collator for rows without padding, with the places where rows begin as plain numbers: read from a card,
    they would make it wait in every layer."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """One long row of all: input_ids, labels, position_ids (1, tokens), row_bounds and what kernels want."""
        made: dict[str, Any] = super().torch_call(examples)
        return {**made, "row_bounds": tuple(made["cu_seq_lens_q"].tolist())}


def collator_of(padding: int) -> Any:
    """Rows of {input_ids, labels}, and packs of them with {seq_lengths}, as one long row. `padding`: a token's id."""
    return EndToEnd(pad_token_id=padding, padding_free=True)


def use(model: Any, flash: bool = True) -> str:
    """Let the model take rows end to end. "" when it can; else the sentence why not, and it stays as it was.

    flash  by the flash_attn package, where that is possible
    """
    before = model.config._attn_implementation
    if before != "sdpa":
        return _("its attention is computed its own way ({name})").format(name=before)
    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, _mask)
    model.set_attn_implementation(FLASH if flash and _has_flash(model) else NAME)
    if _keeps_apart(model):
        return ""
    model.set_attn_implementation(before)
    return _("its layers carry something over from one row to the next")


def _has_flash(model: Any) -> bool:
    """Whether the flash_attn package is there and has kernels for this card and model."""
    import torch

    return (
        model.device.type == "cuda"
        and importlib.util.find_spec("flash_attn") is not None
        and torch.cuda.get_device_capability(model.device) >= _FLASH_CAPABILITY
        and bool(getattr(model, "_supports_flash_attn", False))
        and model.dtype != torch.float32
    )


def _keeps_apart(model: Any) -> bool:
    """Whether a row's words come out the same alone, behind another row, and behind yet another one."""
    import torch

    count = model.config.get_text_config().vocab_size
    first, other, row = (
        [(start + 37 * step) % count for step in range(_PROBE_TOKENS)] for start in (1, 11 + count // 3, 5 + count // 2)
    )

    def said(*rows: list[int]) -> Any:
        batch = collator_of(0)([{"input_ids": ids, "labels": ids} for ids in rows])
        del batch["labels"]
        there = {name: value.to(model.device) if torch.is_tensor(value) else value for name, value in batch.items()}
        return model(**there, use_cache=False).logits[0, -_PROBE_TOKENS:].float()

    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            alone, behind, behind_other = said(row), said(first, row), said(other, row)
    except (TypeError, ValueError):  # an older family, which is not told where rows begin
        return False
    finally:
        model.train(training)
    size = alone.norm()
    exact = model.dtype == torch.float32
    return bool(
        (behind - behind_other).norm() <= _SAME * size
        and (alone - behind).norm() <= (_SAME if exact else _NEARLY_SAME) * size
    )
