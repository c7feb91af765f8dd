"""What runs otherwise on a GPU than on a processor, as modules and functions that take the memory it takes there.

Fake tensors can't be on CUDA where PyTorch was built without it, so that they are on the processor; where its kernels
take other memory than CUDA's, these stand in. Nothing is computed: only shapes, types and lifetimes are right.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from bitsandbytes.nn import Linear4bit
from torch.autograd import Function

# A block of 4-bit weights, and of their scales under double quantisation (Dettmers et al. 2023, section 3).
BLOCK, SCALES_BLOCK = 64, 256
# FlashAttention's backward pass works in float32 on so many rows and columns at a time.
FLASH_ROWS, FLASH_COLUMNS = 128, 32
# Moments in 8 bits share a float32 scale in blocks; smaller tensors stay in float32 (bitsandbytes' defaults).
MOMENTS_BLOCK, MOMENTS_LEAST = 256, 4096


def _up(value: int, step: int) -> int:
    return -(-value // step) * step


class _PackedProduct(Function):  # type: ignore[misc]
    """bitsandbytes' MatMul4Bit on CUDA for many tokens: keeps the packed weights alone, unpacks them each way."""

    @staticmethod
    def forward(context: Any, x: Any, layer: Any) -> Any:
        context.layer = layer
        return torch.nn.functional.linear(x, _unpacked(layer, x.dtype))

    @staticmethod
    def backward(context: Any, gradient: Any) -> tuple[Any, None]:
        return torch.matmul(gradient, _unpacked(context.layer, gradient.dtype)), None


def _unpacked(layer: Any, dtype: Any) -> Any:
    scales = torch.empty(layer.scales.numel(), dtype=torch.float32)
    scales = scales + layer.offset
    return torch.empty(layer.out_features, layer.in_features, dtype=dtype)


class Packed(Linear4bit):  # type: ignore[misc]
    """A linear layer in NF4; a Linear4bit, so that PEFT puts its own 4-bit adapter around it.

    weight  two values a byte · scales, scales_of_scales, offset  double quantisation's · codes  the two tables
    """

    def __init__(self, linear: Any, *, double: bool) -> None:
        torch.nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        count = linear.in_features * linear.out_features
        self.weight = torch.nn.Parameter(torch.empty(_up(count, 2) // 2, 1, dtype=torch.uint8), requires_grad=False)
        self.weight.compress_statistics, self.weight.quant_type = double, "nf4"
        self.bias = linear.bias
        self.compute_dtype = linear.weight.dtype
        blocks = _up(count, BLOCK) // BLOCK
        self.register_buffer("scales", torch.empty(blocks, dtype=torch.uint8 if double else torch.float32))
        self.register_buffer("offset", torch.empty(()))
        self.register_buffer("codes", torch.empty(16))
        if double:
            self.register_buffer("scales_of_scales", torch.empty(_up(blocks, SCALES_BLOCK) // SCALES_BLOCK))
            self.register_buffer("codes_of_scales", torch.empty(SCALES_BLOCK))

    def forward(self, x: Any) -> Any:
        kind = x.dtype
        made = _PackedProduct.apply(x.to(self.compute_dtype), self)
        return (made if self.bias is None else made + self.bias).to(kind)


def pack(model: Any, *, double: bool) -> None:
    """Every linear layer but the output head, as transformers' loader does it."""
    head = model.get_output_embeddings()
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is torch.nn.Linear and child is not head:
                setattr(parent, name, Packed(child, double=double))
    model.is_loaded_in_4bit = True


class _Attention(Function):  # type: ignore[misc]
    """FlashAttention 2, or with a mask the memory-efficient kernel: scores are never stored."""

    @staticmethod
    def forward(context: Any, query: Any, key: Any, value: Any, bias: Any) -> Any:
        rows, heads, tokens, _width = query.shape
        out = query.new_empty(rows, tokens, heads, value.shape[-1]).transpose(1, 2)
        sums = torch.empty(rows, heads, tokens, dtype=torch.float32)
        context.save_for_backward(query, key, value, out, sums, bias)
        return out

    @staticmethod
    def backward(context: Any, gradient: Any) -> tuple[Any, Any, Any, None]:
        query, key, value, _out, _sums, _bias = context.saved_tensors
        rows, heads, tokens, width = query.shape
        # torch._flash_attention_backward: float32 sums of the queries' gradient, and grouped heads one by one.
        long, wide = _up(tokens, FLASH_ROWS), _up(width, FLASH_COLUMNS)
        work = [torch.empty(rows, heads, long, dtype=torch.float32)]
        work += [torch.empty(rows, heads, long, wide, dtype=torch.float32)]
        given = [torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)]
        if key.shape[1] != heads:
            work += [key.new_empty(rows, tokens, heads, width), value.new_empty(rows, tokens, heads, value.shape[-1])]
        del work
        return given[0], given[1], given[2], None


def attention(query: Any, key: Any, value: Any, attn_mask: Any = None, **_options: Any) -> Any:
    """scaled_dot_product_attention as CUDA does it in 16 bits, autocast's casts included."""
    kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else query.dtype
    query, key, value = query.to(kind), key.to(kind), value.to(kind)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = torch.where(attn_mask, 0.0, torch.full((), -torch.inf, dtype=kind))
    return _Attention.apply(query, key, value, attn_mask)


class _Learned(Function):  # type: ignore[misc]
    """`hidden[mask]` with every token learned: a copy, and in the backward pass one into zeros."""

    @staticmethod
    def forward(context: Any, hidden: Any) -> Any:
        return hidden.clone()

    @staticmethod
    def backward(context: Any, gradient: Any) -> Any:
        return torch.zeros_like(gradient)


class _LogProbs:
    """TRL's fused head as on CUDA, where only learned tokens go in."""

    @staticmethod
    def apply(hidden: Any, *others: Any) -> Any:
        from trl.kernels.chunked_logprob import ChunkedLogProbFunction

        return ChunkedLogProbFunction.apply(_Learned.apply(hidden), *others)


def _nothing(*_args: Any, **_options: Any) -> None:
    """A kernel that works in place: Triton's for a tile of logits, cuBLAS's with its own sum as the output; or None."""


@contextmanager
def installed() -> Iterator[None]:
    """While inside, attention and TRL's fused head take the memory they take on CUDA."""
    from transformers import masking_utils
    from trl.kernels import chunked_logprob
    from trl.trainer import utils

    places = [
        # Fake positions can't be looked at, so that they would be taken for packed rows, which need a mask.
        (masking_utils, "find_packed_sequence_indices", _nothing),
        (torch.nn.functional, "scaled_dot_product_attention", attention),
        (utils, "_ChunkedLogProbFunction", _LogProbs),
        (chunked_logprob, "_forward_tile", _nothing),
        (chunked_logprob, "_backward_tile", _nothing),
        (chunked_logprob, "_addmm_fp32", _nothing),
    ]
    before = [getattr(place, name) for place, name, _new in places]
    for place, name, new in places:
        setattr(place, name, new)
    try:
        yield
    finally:
        for (place, name, _new), old in zip(places, before, strict=True):
            setattr(place, name, old)


class EightBit:
    """bitsandbytes' AdamW, whose step works in place: only its moments take memory. Paged ones count on the card."""

    def __init__(self, parameters: list[Any], bits: int) -> None:
        self.parameters, self.bits = parameters, bits
        self.state: dict[Any, dict[str, Any]] = {}

    def step(self) -> None:
        """The moments are made at the first step."""
        for parameter in self.parameters:
            if parameter in self.state:
                continue
            small = self.bits == 32 or parameter.numel() < MOMENTS_LEAST
            kind = torch.float32 if small else torch.uint8
            moments = {name: torch.empty(parameter.shape, dtype=kind) for name in ("state1", "state2")}
            if not small:
                blocks = _up(parameter.numel(), MOMENTS_BLOCK) // MOMENTS_BLOCK
                moments |= {name: torch.empty(blocks) for name in ("absmax1", "absmax2")}
            self.state[parameter] = moments


def optimizer(name: str, parameters: list[Any]) -> Any:
    """The optimizer as transformers makes it on CUDA; KeyError for one that can't be counted."""
    if name == "adamw_torch":  # PyTorch chooses "foreach" for parameters on CUDA
        return torch.optim.AdamW(parameters, foreach=True)
    if name == "sgd":
        return torch.optim.SGD(parameters, foreach=True)
    bits = {"adamw_8bit": 8, "paged_adamw_8bit": 8, "paged_adamw_32bit": 32, "adamw_torch_fused": 0}[name]
    return EightBit(parameters, bits) if bits else torch.optim.AdamW(parameters, fused=True)
