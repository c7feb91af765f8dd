"""A handful of typical shapes, by size: what a machine's memory means in models, before any model is chosen."""

from __future__ import annotations

from appliance.planning.estimate import estimate
from appliance.planning.shape import Shape

# Tokens in the row that "fits" is promised for.
USUAL_LENGTH = {"cuda": 1024, "mps": 512, "cpu": 256}


def _shape(layers: int, hidden: int, heads: int, kv_heads: int, intermediate: int, vocab: int, tied: bool) -> Shape:
    return Shape("", layers, hidden, heads, kv_heads, 128, intermediate, vocab, tied)


# The usual proportions of dense models of that size (grouped attention, gated MLP, a vocabulary of 150 thousand).
SHAPES = {
    "0.6B": _shape(28, 1024, 16, 8, 3072, 151936, True),
    "1.7B": _shape(28, 2048, 16, 8, 6144, 151936, True),
    "4B": _shape(36, 2560, 32, 8, 9728, 151936, True),
    "8B": _shape(36, 4096, 32, 8, 12288, 151936, False),
    "14B": _shape(40, 5120, 40, 8, 17408, 151936, False),
    "32B": _shape(64, 5120, 64, 8, 25600, 151936, False),
    "72B": _shape(80, 8192, 64, 8, 29568, 152064, False),
}


def largest(method: str, memory_gib: float, device: str) -> str | None:
    """The largest size that one row at a time of a usual length can be trained on; None when not even the smallest."""
    found = None
    for name, shape in SHAPES.items():
        need = estimate(
            shape,
            method=method,
            rank=16,
            micro_batch=1,
            length=USUAL_LENGTH[device],
            dtype_bytes=4 if device == "cpu" else 2,
            optimizer="paged_adamw_8bit" if method == "qlora" else "adamw_torch",
            device=device,
        )
        if need.total_gib <= memory_gib:
            found = name
    return found
