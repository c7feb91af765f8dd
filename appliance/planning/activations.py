"""What passes through the model: bytes kept for the backward pass, bytes alive for a moment, and the logits.

The counts are those of transformers' own layers under PyTorch, bytes a token in 16-bit arithmetic (`2` is one copy of a
tensor, `4` one in float32). Counted storage by storage under fake tensors, with one dimension changed at a time; see
docs/estimate.md.
"""

from __future__ import annotations

from appliance.planning.shape import Shape
from appliance.planning.training import Training
from appliance.planning.weights import unpacked_bytes

# A norm's input in float32.
NORM_KEPT = 4
# Eager attention: the scores' softmax in float32 and its 16-bit copy are kept (4 + 2); their gradient passes by (4).
SCORES_KEPT, SCORES_LIVE = 6, 4
# The backward pass of one layer, beside what it keeps: gradients around the MLP and of the hidden state.
MLP_LIVE, HIDDEN_LIVE = 6, 6
# bitsandbytes computes in float32 unless told otherwise, and older versions keep that copy of each layer's input.
PACKED_KEPT = 4
# GPTQ's layers have no backward of their own: the unpacked weights of a layer are kept for it (2 bytes a weight), and
# while one is unpacked it exists as 32-bit integers as well (4).
GPTQ_KEPT, GPTQ_LIVE = 2, 4
# DoRA multiplies its adapter with an identity matrix (4 + 2 bytes an entry) and the largest matrix in float32 (4), and
# keeps each adapted matrix's output in float32 (4).
DORA_IDENTITY, DORA_MATRIX, DORA_KEPT = 6, 4, 4
# Bytes a logit with all logits at once: in 16 bits until they are copied to float32, that copy, its log-softmax, and
# the gradient: 12 at the worst moment, counted under fake tensors.
PLAIN_LOGIT = 12
# DeepSpeed's engine computes in 16 bits throughout, the loss included: five copies.
ENGINE_LOGIT = 10
# In pieces, as LitGPT does: the pieces (2), their log-softmax (4) and gradient (4) are all alive.
CHUNKED_LOGIT = 10
# A fused loss goes over tiles of 4096 tokens × 32768 words and keeps one (TRL's; Liger's and others' are of its size):
# in 16 bits on CUDA, where a kernel turns it into its gradient in place; elsewhere with about four float32 copies.
TILE_TOKENS, TILE_WORDS = 4096, 32768
TILE_CUDA, TILE_ELSEWHERE = 2, 4 + 4 * 4


def stored(shape: Shape, run: Training, quant: str | None) -> float:
    """Bytes kept from the forward pass for the backward pass, all layers together."""
    last_norm = run.tokens * shape.hidden * 4
    if run.checkpointing:  # each layer's input alone
        return float(last_norm + shape.layers * run.tokens * shape.hidden * run.dtype_bytes)
    kept = layer_kept(shape, run)
    if (quant or "").startswith("nf4") and not run.ours:
        inputs = shape.hidden * shape.mlp_matrices + shape.attention_width + mlp_width(shape)
        kept += PACKED_KEPT * inputs * run.tokens
    return last_norm + shape.layers * kept


def layer_live(shape: Shape, run: Training, quant: str | None) -> float:
    """Bytes alive only while the backward pass is in one layer; with checkpointing also what it computes again."""
    live = (MLP_LIVE * mlp_width(shape) + HIDDEN_LIVE * shape.hidden) * run.dtype_bytes / 2 * run.tokens
    if attention_kind(shape, run) == "eager":
        live += _scores(shape, run) * SCORES_LIVE * run.dtype_bytes / 2
    live += unpacked_bytes(shape, quant)
    if (quant or "").startswith("gptq"):
        live += GPTQ_KEPT * shape.linear_parameters / shape.layers + GPTQ_LIVE * shape.largest_matrix
    if run.method == "dora":
        widest = max((a for a, _b, _n in shape.linear_matrices), default=0)
        live += DORA_IDENTITY * widest**2 + DORA_MATRIX * shape.largest_matrix
    return live + (layer_kept(shape, run) if run.checkpointing else 0.0)


def layer_kept(shape: Shape, run: Training) -> float:
    """Bytes that one layer keeps for its backward pass, all tokens together."""
    hidden, wide, kv, half = shape.hidden, shape.attention_width, shape.kv_width, run.dtype_bytes
    kind, inner, trained = attention_kind(shape, run), mlp_width(shape), not run.adapted
    # Norms; the normalised value too where the norm's own weight is trained.
    kept = 2.0 * hidden * (NORM_KEPT + (half if trained else 0))
    # Queries, keys, values and the output; flash attention keeps keys and values of grouped heads as they are.
    kept += half * (2 * wide + 2 * (kv if kind == "flash" else wide))
    if shape.qk_norm:
        kept += (NORM_KEPT + (half if trained else 0)) * (wide + kv)
    # The gate's activation needs the gate; its product with `up` needs both. A plain MLP keeps its activation's input.
    kept += half * inner * (3 if shape.mlp_matrices == 3 else 1)
    kept += half * _inputs_kept(shape, run, inner)
    if run.method == "dora":
        kept += DORA_KEPT * (wide + 2 * kv + 2 * hidden + (shape.mlp_matrices - 1) * inner)
    scores = _scores(shape, run) * SCORES_KEPT * half / 2 if kind == "eager" else 0.0
    return kept * run.tokens + scores


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
    each casts a copy of its own; adapters in 16 bits share.
    """
    everything = {"q", "k", "v", "o", "gate", "up", "down"} - ({"gate"} if shape.mlp_matrices == 2 else set())
    names = everything & set(run.targets) if run.adapted and run.targets is not None else everything
    copies = run.adapted and not run.sixteen_bit_adapter
    kept = 0
    for group in (names & {"q", "k", "v"}, names & {"gate", "up"}):
        kept += shape.hidden * (len(group) if copies else min(1, len(group)))
    if copies and "o" in names:
        kept += shape.attention_width
    return float(kept + (inner if "down" in names else 0))
