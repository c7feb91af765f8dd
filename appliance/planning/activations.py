"""What passes through the model: bytes kept for the backward pass, bytes alive for a moment, and the logits.

The counts are those of transformers' own layers under PyTorch, bytes a token in 16-bit arithmetic (`2` is one copy of a
tensor, `4` one in float32). Counted storage by storage under fake tensors, with one dimension changed at a time; see
docs/estimate.md.
"""

from __future__ import annotations

from appliance.planning.shape import Shape
from appliance.planning.training import Training
from appliance.planning.weights import HALF, unpacked_bytes

# A norm's input in float32.
NORM_KEPT = 4
# Eager attention: the scores' softmax in float32 and its 16-bit copy are kept (4 + 2), and where they are capped the
# hyperbolic tangent (2); their gradient passes by (4).
SCORES_KEPT, CAPPED_KEPT, SCORES_LIVE = 6, 2, 4
# A mask, which padded rows and windows need: of each pair of tokens once (1), and for each layer in 16 bits (2).
MASK_ONCE, MASK_KEPT = 1, 2
# For each token and head, the sum that attention without stored scores keeps in float32.
SUMS_KEPT = 4
# The backward pass of one layer, beside what it keeps, is at its worst in the MLP's activation: gradients of the hidden
# state and around the MLP; with adapters in float32 also those of the copies that they cast.
MLP_LIVE, HIDDEN_LIVE, MLP_LIVE_CAST, HIDDEN_LIVE_CAST = 4, 2, 6, 10
# A moment later or earlier, while a matrix is unpacked or a matrix's own gradient is made: before the activation's
# gradients (down), or after them (gate and up).
MLP_BEFORE, HIDDEN_BEFORE, HIDDEN_AFTER = 2, 2, 8
# The last norm: its input in float32; in its backward pass five values in float32, and in full training the product
# with its weight as well.
LAST_KEPT, LAST_LIVE, LAST_LIVE_TRAINED = 4, 20, 24
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
# in 16 bits on CUDA, where a kernel turns it into its gradient in place. On a processor torch does (TRL 1.16,
# kernels/chunked_logprob.py, _backward_tile), over all tokens and not only the learned ones: beside the tile seven
# float32 copies of it and a mask are alive at once; measured so. On Metal, not measured, with about four.
TILE_TOKENS, TILE_WORDS = 4096, 32768
TILE_CUDA, TILE_COPIES, TILE_ELSEWHERE = 2, 7 * 4 + 1, 4 + 4 * 4
# The hidden states of its tokens (2), their gradient in float32 (4) and in 16 bits (2); where the head is trained, the
# same for its matrix (4 + 2).
TILE_HIDDEN, TILE_HEAD = 8, 6


def working_bytes(shape: Shape, run: Training, quant: str | None, head: float) -> float:
    """Bytes of the forward and backward pass at their worst moment; `head` is what logit_bytes says.

    The head is done before the last norm's backward pass, and that before the last layer's. A head that is the
    embeddings' matrix has its gradient until theirs comes, at the very end.
    """
    held = float(HALF * shape.vocab * shape.hidden) if shape.tied and not run.adapted else 0.0
    last = (LAST_LIVE if run.adapted else LAST_LIVE_TRAINED) * run.tokens * shape.hidden
    return stored(shape, run, quant) + max(head, held + last, held + layer_live(shape, run, quant))


def stored(shape: Shape, run: Training, quant: str | None) -> float:
    """Bytes kept from the forward pass for the backward pass, all layers together."""
    masked = masked_layers(shape, run)
    kept = float(run.tokens * 2 * shape.head_dim * run.dtype_bytes)  # the positions' cosines and sines
    if run.checkpointing:  # each layer's input alone, and the mask
        kept += MASK_ONCE * run.tokens * run.length if masked else 0
        return kept + shape.layers * run.tokens * shape.hidden * run.dtype_bytes
    kept += masked * layer_kept(shape, run, masked=True) + (shape.layers - masked) * layer_kept(shape, run)
    if (quant or "").startswith("nf4") and not run.ours:
        inputs = shape.hidden * shape.mlp_matrices + shape.attention_width + mlp_width(shape)
        kept += shape.layers * PACKED_KEPT * inputs * run.tokens
    return kept


def layer_live(shape: Shape, run: Training, quant: str | None) -> float:
    """Bytes alive only while the backward pass is in one layer; with checkpointing also what it computes again."""
    inner, hidden = mlp_width(shape), shape.hidden
    scale = run.tokens * run.dtype_bytes / 2
    if _casts(run):
        live = (MLP_LIVE_CAST * inner + HIDDEN_LIVE_CAST * hidden) * scale
    else:
        live = (MLP_LIVE * inner + HIDDEN_LIVE * hidden) * scale
    passing = unpacked_bytes(shape, quant) if run.adapted else float(run.dtype_bytes * shape.largest_matrix)
    if passing:
        around = max(MLP_BEFORE * inner + HIDDEN_BEFORE * hidden, HIDDEN_AFTER * hidden) * scale
        live = max(live, around + passing)
    if attention_kind(shape, run) == "eager":
        live += _scores(shape, run) * SCORES_LIVE * run.dtype_bytes / 2
    if (quant or "").startswith("gptq"):
        live += GPTQ_KEPT * shape.linear_parameters / shape.layers + GPTQ_LIVE * shape.largest_matrix
    if run.method == "dora":
        widest = max((a for a, _b, _n in shape.linear_matrices), default=0)
        live += DORA_IDENTITY * widest**2 + DORA_MATRIX * shape.largest_matrix
    return live + (layer_kept(shape, run, masked=masked_layers(shape, run) > 0) if run.checkpointing else 0.0)


def layer_kept(shape: Shape, run: Training, *, masked: bool = False) -> float:
    """Bytes that one layer keeps for its backward pass, all tokens together."""
    hidden, wide, kv, half = shape.hidden, shape.attention_width, shape.kv_width, run.dtype_bytes
    kind, inner = attention_kind(shape, run), mlp_width(shape)
    # Norms; the normalised value too where the norm's own weight is trained.
    norm = NORM_KEPT + (0 if run.adapted else NORM_KEPT if shape.float_norms else half)
    kept = float(norm * shape.norms * hidden)
    if shape.qk_norm:
        kept += norm * (wide + kv)
    kept += _attention_kept(shape, run, kind, masked=masked)
    # The gate's activation needs the gate; its product with `up` needs both. A plain MLP keeps its activation's input.
    kept += half * inner * (3 if shape.mlp_matrices == 3 else 1)
    kept += half * _inputs_kept(shape, run, inner)
    if run.method == "dora":
        kept += DORA_KEPT * (wide + 2 * kv + 2 * hidden + (shape.mlp_matrices - 1) * inner)
    kept *= run.tokens
    if kind == "eager":
        kept += _scores(shape, run) * (SCORES_KEPT + (CAPPED_KEPT if shape.own_scores else 0)) * half / 2
    elif masked:
        kept += MASK_KEPT * run.tokens * run.length
    if _casts(run):  # autocast keeps 16-bit copies of the adapter
        kept += half * shape.lora_parameters(run.rank, run.targets) / shape.layers
    return kept


def _attention_kept(shape: Shape, run: Training, kind: str, *, masked: bool) -> float:
    """Bytes a token: queries, keys and values as attention gets them, and what it puts out.

    Keys and values of grouped heads stay as they are in flash attention, which PyTorch's own (sdpa) is where there is
    no mask; otherwise, and in older libraries, they are repeated for each head. A fused matrix's output is kept whole
    by the values that are a part of it; so is latent attention's, keys' and values' parts without a position.
    """
    half, wide, out, kv = run.dtype_bytes, shape.attention_width, shape.value_width, shape.kv_width
    repeated = kind == "eager" or (kind == "sdpa" and (masked or not run.ours))
    kept = half * (wide + out)
    if shape.latent:
        kept += half * (wide + shape.heads * shape.latent.plain + out)
        norm = NORM_KEPT + (0 if run.adapted else half)
        kept += norm * (shape.latent.queries + shape.latent.keys)
    elif repeated and 1 < shape.kv_heads < shape.heads:  # a single head is repeated as a view
        kept += half * 2 * wide
    else:
        kept += half * (2 * kv + (wide + kv if shape.fused_qkv and run.ours else 0))
    return kept + (SUMS_KEPT * shape.heads if kind != "eager" else 0)


def logit_bytes(shape: Shape, run: Training) -> float:
    """Bytes around the output head at its worst moment."""
    if run.task == "reward":  # one number a row instead of a word's probabilities
        return 0.0
    last = run.tokens * shape.hidden * LAST_KEPT
    if run.loss == "plain":
        return last + float(run.tokens * shape.vocab * (ENGINE_LOGIT if run.deepspeed else PLAIN_LOGIT))
    if run.loss == "chunked":
        return last + float(run.tokens * shape.vocab * CHUNKED_LOGIT)
    if run.device == "cuda":
        words = TILE_CUDA * TILE_WORDS
    elif run.device == "cpu":
        words = run.dtype_bytes * TILE_WORDS + TILE_COPIES * min(shape.vocab, TILE_WORDS)
    else:
        words = TILE_ELSEWHERE * TILE_WORDS
    tile = min(run.tokens, TILE_TOKENS) * words
    trained = 0 if run.adapted else TILE_HEAD * shape.vocab * shape.hidden
    return float(tile + trained + last + run.tokens * shape.hidden * TILE_HIDDEN)


def attention_kind(shape: Shape, run: Training) -> str:
    """Scores that the model caps or biases by itself are computed one by one, whatever was asked for."""
    return "eager" if shape.own_scores else run.attention


def masked_layers(shape: Shape, run: Training) -> int:
    """Layers whose attention gets a mask in our worker: all for padded rows, else those that look back only so far."""
    if not run.ours:
        return 0
    return shape.layers if run.tokens > run.length else shape.windowed if run.length > shape.window else 0


def mlp_width(shape: Shape) -> int:
    """Width of all MLPs that one token passes through in a layer."""
    if not shape.experts:
        return shape.intermediate
    return shape.experts_per_token * shape.expert_intermediate + shape.shared_intermediate


def _scores(shape: Shape, run: Training) -> int:
    return shape.heads * run.tokens * run.length


def _casts(run: Training) -> bool:
    """Are adapters in float32 beside 16-bit weights? Then each casts a copy of its input and of itself."""
    return run.adapted and not run.sixteen_bit_adapter and run.dtype_bytes == HALF


def _inputs_kept(shape: Shape, run: Training, inner: int) -> float:
    """Elements a token that linear layers keep of their inputs, for the gradient of what is trained in them.

    A trained matrix shares its input with its neighbours; adapters in float32 have a copy each. An adapter keeps its
    own inner values as well, `rank` of them.
    """
    everything = {"q", "k", "v", "o", "gate", "up", "down"} - ({"gate"} if shape.mlp_matrices == 2 else set())
    names = everything & set(run.targets) if run.adapted and run.targets is not None else everything
    matrices = {name: [a for a, _b, n in found if n] for name, found in shape.named_matrices.items() if name in names}
    copies = _casts(run)
    hidden = shape.hidden
    kept = 0
    for group in (("q", "k", "v"), ("gate", "up")):
        inputs = [width for name in group for width in matrices.get(name, ())]
        kept += sum(width for width in inputs if width != hidden)  # latent attention's second matrices
        kept += hidden * (inputs.count(hidden) if copies else min(1, inputs.count(hidden)))
    if copies and "o" in names:
        kept += shape.value_width
    if run.adapted:
        kept += run.rank * sum(len(inputs) for inputs in matrices.values())
    return float(kept + (inner if "down" in names else 0))
