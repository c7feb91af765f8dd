"""What passes through the model: bytes kept for the backward pass, bytes alive for a moment, and the logits.

The counts are those of transformers' own layers under PyTorch, bytes a token in 16-bit arithmetic (`2` is one copy of a
tensor, `4` one in float32). Counted storage by storage under fake tensors, with one dimension changed at a time; see
docs/estimate.md.
"""

from __future__ import annotations

from appliance.planning.shape import Shape
from appliance.planning.training import Training

# Eager attention: the scores' softmax in float32 and its 16-bit copy are kept (4 + 2); their gradient passes by (4).
SCORES_KEPT, SCORES_LIVE = 6, 4
# The backward pass of one layer, beside what it keeps: gradients around the MLP and of the hidden state.
MLP_LIVE, HIDDEN_LIVE = 6, 6
# Bytes a logit with all logits at once: kept in 16 bits, their float32 copy, its log-softmax, the gradient of it, and
# one more copy for shifting or counting right answers, as most trainers make.
PLAIN_LOGIT = 18
# DeepSpeed's engine computes in 16 bits throughout, the loss included.
ENGINE_LOGIT = 10
# In pieces: each piece and its log-softmax stay for the backward pass, in 16 bits.
CHUNKED_LOGIT = 8
# A fused loss goes over tiles of 4096 tokens × 32768 words and keeps one (TRL's; Liger's and others' are of its size):
# in 16 bits on CUDA, where a kernel turns it into its gradient in place; elsewhere with about four float32 copies.
TILE_TOKENS, TILE_WORDS = 4096, 32768
TILE_CUDA, TILE_ELSEWHERE = 2, 4 + 4 * 4


# Layers packed by bitsandbytes compute in float32 unless told otherwise, and keep the copy of their input.
PACKED_INPUT = 4


def layer_kept(shape: Shape, run: Training) -> float:
    """Bytes that one layer keeps for its backward pass, all tokens together."""
    hidden, wide, kv, half = shape.hidden, shape.attention_width, shape.kv_width, run.dtype_bytes
    trained = not run.adapted
    inner = mlp_width(shape)
    # Norms: the input in float32; the normalised value where the norm's own weight is trained.
    kept = 2.0 * hidden * (4 + (half if trained else 0))
    # Queries, keys, values and the output; flash attention keeps keys and values of grouped heads as they are.
    kept += half * (2 * wide + 2 * (kv if attention_kind(shape, run) == "flash" else wide))
    if shape.qk_norm:
        kept += 4 * (wide + kv) + (half * (wide + kv) if trained else 0)
    # The gate's activation needs the gate; its product with `up` needs both. A plain MLP keeps its activation's input.
    kept += half * inner * (3 if shape.mlp_matrices == 3 else 1)
    kept += half * _inputs_kept(shape, run, inner)
    if not run.checkpointing and (run.quant or "").startswith(("nf4", "fp4")):
        kept += PACKED_INPUT * (shape.hidden * (1 + shape.mlp_matrices - 1) + wide + inner)
    bytes_kept = kept * run.tokens
    if attention_kind(shape, run) == "eager":
        bytes_kept += _scores(shape, run) * SCORES_KEPT * half / 2
    return bytes_kept


def layer_live(shape: Shape, run: Training) -> float:
    """Bytes alive only while the backward pass is in one layer, all tokens together."""
    live = (MLP_LIVE * mlp_width(shape) + HIDDEN_LIVE * shape.hidden) * run.dtype_bytes / 2 * run.tokens
    if attention_kind(shape, run) == "eager":
        live += _scores(shape, run) * SCORES_LIVE * run.dtype_bytes / 2
    return live


def between_layers(shape: Shape, run: Training) -> float:
    """Bytes of what stays with checkpointing: each layer's input, and the last norm's input in float32."""
    return float(run.tokens * shape.hidden * (shape.layers * run.dtype_bytes + 4))


def logit_bytes(shape: Shape, run: Training) -> float:
    """Bytes around the output head at its worst moment."""
    if run.task == "reward":  # one number a row instead of a word's probabilities
        return 0.0
    if run.loss == "plain":
        return float(run.tokens * shape.vocab * (ENGINE_LOGIT if run.deepspeed else PLAIN_LOGIT))
    if run.loss == "chunked":
        return float(run.tokens * shape.vocab * CHUNKED_LOGIT)
    each = TILE_CUDA if run.device == "cuda" else TILE_ELSEWHERE
    tile = min(run.tokens, TILE_TOKENS) * min(shape.vocab, TILE_WORDS) * each
    return float(tile + run.tokens * shape.hidden * (4 + 2 * run.dtype_bytes))


def attention_kind(shape: Shape, run: Training) -> str:
    """Scores that the model caps or biases by itself are computed one by one, whatever was asked for."""
    return "eager" if shape.own_scores else run.attention


def mlp_width(shape: Shape) -> int:
    """Width of all MLPs that one token passes through in a layer."""
    if not shape.experts:
        return shape.intermediate
    return shape.experts_per_token * shape.expert_intermediate + shape.shared_intermediate


def _scores(shape: Shape, run: Training) -> int:
    return shape.heads * run.tokens * run.length


def _inputs_kept(shape: Shape, run: Training, inner: int) -> float:
    """Elements a token that linear layers keep of their inputs, for the gradient of what is trained in them.

    A trained matrix shares its input with its neighbours. PEFT's adapters are in float32 beside 16-bit weights, so that
    each casts a copy of its own; over 4-bit weights they are in 16 bits and share.
    """
    hidden, wide = shape.hidden, shape.attention_width
    names = (
        set(run.targets or ("q", "k", "v", "o", "gate", "up", "down")) if run.adapted else {"q", "gate", "o", "down"}
    )
    if shape.mlp_matrices == 2:
        names.discard("gate")
        if not run.adapted:
            names.add("up")
    copies = [names & {"q", "k", "v"}, names & {"gate", "up"}]
    own = run.method in ("lora", "dora") or (run.adapted and run.foreign)
    kept = sum(hidden * (len(group) if own else 1) for group in copies if group)
    kept += wide if own and "o" in names else 0
    return float(kept + (inner if "down" in names else 0))
