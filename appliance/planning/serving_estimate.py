"""How much memory a server takes: weights, keys and values, the work of reading the questions. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.planning.activations import mlp_width
from appliance.planning.estimate import Estimate, readings
from appliance.planning.shape import Shape
from appliance.planning.weights import packed_kind, unpacked_bytes, weight_bytes

# Reading a question, one layer at a time: gate, up and their product; the residual and the norm's float32 copy.
MLP_LIVE, HIDDEN_LIVE = 3, 3
# All logits of the question, in 16 bits and in float32: what `loss="plain"` means for a server.
ALL_LOGITS = 2 + 4
# The last layer's hidden states, their float32 copy in the last norm, and its result.
LAST_HIDDEN = 2 + 4 + 2


# Room for an answer in a conversation: 2048 tokens, the usual limit of models' own generation settings, or most of it.
ANSWER, QUESTION_SHARE = 2048, 4


def usual_prompt(length: int) -> int:
    """Tokens of the question in a conversation of that length, where nobody says it: all but the answer."""
    return max(1, length // QUESTION_SHARE, length - ANSWER)


@dataclass(frozen=True)
class Serving:
    """A server that holds `parallel` conversations of `length` tokens each, of which `prompt` are read at once.

    logits  last: of each conversation's last token (all current servers); all: of the whole question
    """

    length: int
    parallel: int = 1
    prompt: int | None = None
    dtype_bytes: int = 2
    quant: str | None = None
    logits: str = "last"
    gpus: int = 1
    device: str = "cuda"
    figure: str = "device"


def serving_estimate(
    shape: Shape, length: int, parallel: int = 1, dtype_bytes: int = 2, device: str = "cuda"
) -> Estimate:
    """Memory of a server that holds `parallel` conversations of `length` tokens."""
    return estimate_serving(shape, Serving(length, parallel, dtype_bytes=dtype_bytes, device=device))


def estimate_serving(shape: Shape, server: Serving) -> Estimate:
    """Memory of a server on each of its cards; several cards split weights, keys and values between them."""
    quant = server.quant or packed_kind(shape)
    share, half = 1 / server.gpus, server.dtype_bytes
    each = min(server.prompt or server.length, server.length)
    prompt = each * server.parallel
    rows = prompt if server.logits == "all" else server.parallel
    logits = rows * (shape.vocab * ALL_LOGITS + shape.hidden * LAST_HIDDEN)
    # The layers are done when the logits come: what is larger counts.
    layer = prompt * half * (MLP_LIVE * mlp_width(shape) + HIDDEN_LIVE * shape.hidden) + unpacked_bytes(shape, quant)
    reading = max(layer, float(logits))
    kept, asked = (half * share * server.parallel * shape.cached(tokens) for tokens in (server.length, each))
    # While a question is read, keys and values of its answer are not there yet.
    moving = max(0.0, reading - (kept - asked))
    parts = {
        "weights": weight_bytes(shape, quant, half) * share,
        "kv_cache": float(kept),
        "activations": moving if layer >= logits else 0.0,
        "logits": 0.0 if layer >= logits else moving,
    }
    return readings(parts, server.figure, server.device, moving=moving)
