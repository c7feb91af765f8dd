"""Bytes of a model's weights: in 16 bits, or packed in one of the usual ways."""

from __future__ import annotations

from appliance.planning.shape import Shape

# Bytes a weight of a packed linear layer.
#   nf4, fp4      half a byte, and a float32 scale for each block of 64 (Dettmers et al. 2023, section 3)
#   nf4-dq        those scales in 8 bits, with a float32 for each 256 of them ("double quantisation")
#   int8          a byte, and two float32 a row, which do not count (Dettmers et al. 2022)
#   fp8           a byte, and a float32 scale for each block of 128 × 128
#   mxfp4         half a byte, and an 8-bit scale for each block of 32 (OCP Microscaling Formats 2023)
#   gptq, awq     4 (or 8) bits, and for each group of 128 a 16-bit scale and a zero of 4 (or 8) bits
KINDS = {
    "nf4": 0.5 + 4 / 64,
    "nf4-dq": 0.5 + 1 / 64 + 4 / (64 * 256),
    "int8": 1.0,
    "fp8": 1.0 + 4 / 128**2,
    "gptq-int4": 0.5 + (2 + 0.5) / 128,
    "gptq-int8": 1.0 + (2 + 1) / 128,
    "awq": 0.5 + (2 + 0.5) / 128,
    "mxfp4": 0.5 + 1 / 32,
}
# Embeddings, head and norms stay in 16 bits whatever the linear layers are.
HALF = 2


def packed_kind(shape: Shape) -> str | None:
    """How a model's own files are packed, of KINDS, by its config.json; None: they are not."""
    if not shape.quantised:
        return None
    wide = shape.quantised_bits == 8
    known = {
        "bitsandbytes": "int8" if wide else "nf4-dq",
        "awq": "awq",
        "mxfp4": "mxfp4",
        "fp8": "fp8",
        "fbgemm_fp8": "fp8",
    }
    return known.get(shape.quantised, "gptq-int8" if wide else "gptq-int4")


def weight_bytes(shape: Shape, quant: str | None, dtype_bytes: int, *, experts: bool = True) -> float:
    """Bytes of all weights. Packing reaches the linear layers, and the experts where the loader knows them.

    Raises KeyError for a kind that is none of KINDS.
    """
    if quant is None:
        return float(shape.parameters * dtype_bytes)
    packed = shape.linear_parameters + (shape.expert_parameters if experts else 0)
    packed = min(packed, shape.parameters)
    # Published fp8 files hold the head as a matrix of its own, also where it is the embeddings' (Qwen3's do).
    again = shape.vocab * shape.hidden if quant == "fp8" and shape.tied else 0
    return packed * KINDS[quant] + (shape.parameters - packed + again) * HALF


def unpacked_bytes(shape: Shape, quant: str | None) -> float:
    """The 16-bit copy of the largest packed matrix, which lives while that matrix is used."""
    return float(HALF * shape.largest_matrix) if quant else 0.0


def gathered_bytes(shape: Shape, dtype_bytes: int, *, sharding: str, gpus: int) -> float:
    """What FSDP gathers from the other cards: the layer at work and the next, or embeddings and head."""
    if sharding != "fsdp":
        return 0.0
    inside = (shape.linear_parameters + shape.expert_parameters) / shape.layers
    return dtype_bytes * max(2 * inside, shape.embedding_parameters) * (1 - 1 / gpus)
