"""Which way of quantising suits the card and the engine that will serve the model, what it gains and what it takes.

Where vLLM runs what, by compute capability (its pages on FP8, INT8 W8A8, INT4 W4A16 and supported hardware, 0.32):
FP8 arithmetic from 8.9, FP8 weights alone from 7.5; 4-bit weights from 7.5; INT8 arithmetic from 7.5 to below 10.0.
transformers runs bitsandbytes from 7.0, and unpacks everything else when it loads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from appliance import output
from appliance.errors import ApplianceError, UsageError
from appliance.hardware.types import Accelerator, Hardware
from appliance.locale import _
from appliance.planning import possible
from appliance.planning.card import best_card
from appliance.planning.shape import Shape
from appliance.planning.weights import HALF, weight_bytes

SCHEMES = ("fp8", "gptq", "awq", "int8", "bnb4")
NAMES = {
    "fp8": "FP8 dynamic",
    "gptq": "GPTQ W4A16",
    "awq": "AWQ W4A16",
    "int8": "INT8 W8A8 (SmoothQuant + GPTQ)",
    "bnb4": "bitsandbytes NF4",
}
# The capabilities that serve it: from, and below which (None: all newer ones).
_SERVED: dict[str, tuple[tuple[int, int], tuple[int, int] | None]] = {
    "fp8": ((7, 5), None),
    "gptq": ((7, 5), None),
    "awq": ((7, 5), None),
    "int8": ((7, 5), (10, 0)),
    "bnb4": ((7, 0), None),
}
_FP8_ARITHMETIC = (8, 9)
_VLLM = (7, 5)
CALIBRATED = ("gptq", "awq", "int8")
_IN_GROUPS = ("gptq", "awq")
# More rows say little more (llm-compressor's examples take 256 to 512; AWQ's 256 at most, and it keeps more of each).
_SAMPLES = {"gptq": 256, "awq": 128, "int8": 256}
_SAMPLES_WITHOUT_A_CARD = 64
_LENGTH = 2048
_GROUPS = (128, 64, 32)
_LMDEPLOY_GROUPS = (128, 32)
_GIB = 2**30
_LIBRARIES_GIB = 2.0
# Weights stored the other way round, as layers of a kind that llm-compressor passes over (transformers' Conv1D).
_TURNED = ("gpt2", "openai-gpt")
# Bytes of a picture for each token that it becomes, as the processor puts it out: four patches of 2 × 14 × 14 pixels in
# three colours (Qwen-VL's), in 32 bits. Others take less.
_PICTURE_BYTES = 4 * 2 * 14 * 14 * 3 * 4
# Answers need room beside the weights.
_SHARE_FOR_WEIGHTS = 0.75


@dataclass(frozen=True)
class Quantising:
    """A way of quantising, decided.

    group       weights that share a scale; 0 where it is a whole row
    samples     rows that it is calibrated on; 0: it needs none. length in tokens
    before_gib, after_gib   the model's weights
    memory_gib  of the machine while it is done
    device      cuda | cpu: where layers are worked on. measure_on: where perplexity is measured
    engines     that serve it
    others      the other schemes that this card and this model take, with their weights in GiB
    """

    scheme: str
    reason: str
    group: int
    samples: int
    length: int
    before_gib: float
    after_gib: float
    memory_gib: float
    device: str
    measure_on: str
    card: Accelerator | None
    warnings: list[str] = field(default_factory=list)
    engines: tuple[str, ...] = ()
    others: dict[str, float] = field(default_factory=dict)

    @property
    def shrinks(self) -> str:
        """For a person: by how much."""
        return _("from {before} to about {after}, {times:.1f} times smaller").format(
            before=output.size(self.before_gib * _GIB),
            after=output.size(self.after_gib * _GIB),
            times=self.before_gib / self.after_gib,
        )

    def as_dict(self) -> dict[str, Any]:
        """For job.json and --json."""
        names = (
            "scheme", "reason", "group", "samples", "length", "before_gib", "after_gib", "memory_gib", "device",
            "measure_on", "engines", "others",
        )  # fmt: skip
        return {name: round(v, 3) if isinstance(v := getattr(self, name), float) else v for name in names}


def quantising(
    hardware: Hardware,
    shape: Shape,
    *,
    scheme: str = "auto",
    samples: int | None = None,
    length: int | None = None,
    serving: Hardware | None = None,
    images: int = 0,
) -> Quantising:
    """The plan. Raises ApplianceError where nothing suits, UsageError for words that mean nothing.

    hardware  the machine that does it; `serving`: the one that will serve it, where it is another
    images    how many pictures the rows show
    """
    possible.check_seen(shape, images)
    if scheme not in ("auto", *SCHEMES):
        raise UsageError(_("There is no scheme {name}.").format(name=scheme), "", " | ".join(("auto", *SCHEMES)))
    warnings: list[str] = []
    card, why_not = best_card(serving or hardware)
    if scheme == "auto":
        scheme, reason = _chosen(card, shape, why_not)
    else:
        reason = _("You asked for {name}.").format(name=NAMES[scheme])
        warnings += _check_served(scheme, card)
    _check_model(scheme, shape)
    if scheme == "fp8" and card is not None and card.kind == "cuda" and card.capability() < _FP8_ARITHMETIC:
        warnings.append(
            _("{card} computes no FP8: it saves memory there but no time. GPTQ would save more.").format(card=card.name)
        )
    group = _group(shape) if scheme in _IN_GROUPS else 0
    here, _why = best_card(hardware)
    before = weight_bytes(shape, None, HALF) / _GIB
    after = after_bytes(shape, scheme, group) / _GIB
    tokens = min(length or _LENGTH, shape.max_positions or _LENGTH)
    count = 0
    if scheme in CALIBRATED:
        count = samples or (_SAMPLES[scheme] if here and here.kind == "cuda" else _SAMPLES_WITHOUT_A_CARD)
    layer = _layer_gib(shape, scheme)
    on_card = here is not None and here.kind == "cuda" and scheme != "fp8" and layer + 1.5 < here.free_gib
    measured_on_card = here is not None and here.kind == "cuda" and 1.15 * before + 1.5 < here.free_gib
    # The inputs of a layer and its outputs, of every row, in 16 bits; AWQ keeps what goes into each part as well.
    kept = count * tokens * shape.hidden * HALF * (6 if scheme == "awq" else 2) / _GIB
    # Every token a picture's: there is no telling before the processor has seen them.
    kept += count * tokens * _PICTURE_BYTES / _GIB if images else 0.0
    memory = before + kept + (0.0 if on_card else layer) + _LIBRARIES_GIB
    return Quantising(
        scheme,
        reason,
        group,
        count,
        tokens,
        before,
        after,
        memory,
        "cuda" if on_card else "cpu",
        "cuda" if measured_on_card else "cpu",
        here if on_card or measured_on_card else None,
        warnings,
        _served_by(scheme, shape, group),
        {name: size for name in SCHEMES if name != scheme and (size := _size(name, shape, card)) is not None},
    )


def _check_model(scheme: str, shape: Shape) -> None:
    """Raises ApplianceError where this scheme can't be had of this model."""
    if shape.experts and scheme != "fp8":
        raise ApplianceError(
            _("A model with experts can't be quantised with {name} here.").format(name=NAMES[scheme]),
            _("Few of your rows would reach each of them, too few to calibrate on; FP8 needs no rows."),
            _("Choose --scheme fp8, or download a version in 4 bits from a hub."),
        )
    if shape.model_type in _TURNED and scheme != "bnb4":
        raise ApplianceError(
            _("A model of this kind ({kind}) can't be quantised with {name}.").format(
                kind=shape.model_type, name=NAMES[scheme]
            ),
            _("Its layers are stored the other way round, and would be passed over."),
            _("Choose --scheme bnb4."),
        )
    if scheme in _IN_GROUPS:
        _group(shape)


def _size(scheme: str, shape: Shape, card: Accelerator | None) -> float | None:
    """GiB of the weights; None where the card or the model does not take this scheme."""
    try:
        _check_served(scheme, card)
        _check_model(scheme, shape)
    except ApplianceError:
        return None
    return after_bytes(shape, scheme, _group(shape) if scheme in _IN_GROUPS else 0) / _GIB


def _served_by(scheme: str, shape: Shape, group: int) -> tuple[str, ...]:
    """The engines that read it, the fastest first; transformers reads all, and unpacks all but bitsandbytes."""
    if scheme == "bnb4":
        return ("transformers",)
    lmdeploy = ("lmdeploy",) if scheme in _IN_GROUPS and group in _LMDEPLOY_GROUPS and not shape.vision else ()
    return ("vllm", *lmdeploy)


def after_bytes(shape: Shape, scheme: str, group: int) -> float:
    """Bytes of the quantised weights; embeddings, head and norms stay in 16 bits."""
    each = {
        "fp8": 1.0,
        "int8": 1.0,
        "gptq": 0.5 + HALF / (group or 128),
        "awq": 0.5 + HALF / (group or 128),
        "bnb4": 0.5 + 1 / 64 + 4 / (64 * 256),
    }[scheme]
    packed = min(shape.linear_parameters + shape.expert_parameters, shape.parameters)
    return packed * each + (shape.parameters - packed) * HALF


def served(quantisation: dict[str, Any], engine: str, card: Accelerator | None) -> str:
    """For a person: how this engine serves a model with this quantization_config. Raises ApplianceError where it can't.

    card  the one that will serve it; None: the processor
    """
    method = str(quantisation.get("quant_method") or "")
    if engine == "transformers":
        if method in ("awq", "gptq"):
            raise ApplianceError(
                _("transformers can't serve this kind of quantised model ({method}).").format(method=method),
                _("It needs libraries that are not part of the appliance; vLLM has them built in."),
                _("Serve it with vLLM on an NVIDIA card, or take the original 16-bit model."),
            )
        if method == "compressed-tensors":
            return _("{method}: unpacked to 16 bits when it is loaded, so it takes the memory of the original").format(
                method=method
            )
        return method
    if method == "bitsandbytes":
        raise ApplianceError(
            _("{engine} can't serve {name} here.").format(engine=engine, name=NAMES["bnb4"]),
            _("Its environment has no bitsandbytes."),
            _("Choose --engine transformers, or quantise the model with --scheme gptq."),
        )
    if method == "compressed-tensors" and engine == "lmdeploy":
        _check_lmdeploy(quantisation)
    elif method == "compressed-tensors" and card is not None and card.kind == "cuda":
        scheme = {"float-quantized": "fp8", "int-quantized": "int8"}.get(str(quantisation.get("format")), "gptq")
        _check_served(scheme, card)
        if scheme == "fp8" and card.capability() < _FP8_ARITHMETIC:
            return _("{method}: FP8 weights, computed in 16 bits on this card").format(method=method)
    return method


def _check_lmdeploy(quantisation: dict[str, Any]) -> None:
    """Of compressed-tensors it reads 4 bits in groups of 128 or 32 (turbomind/converter.py of 0.16)."""
    groups = quantisation.get("config_groups") or {}
    sizes = {((group or {}).get("weights") or {}).get("group_size") for group in groups.values()}
    if quantisation.get("format") != "pack-quantized" or not sizes <= set(_LMDEPLOY_GROUPS):
        raise ApplianceError(
            _("{engine} can't serve {name} here.").format(engine="lmdeploy", name=quantisation.get("format")),
            _("It reads 4-bit weights in groups of 128 or 32 only."),
            _("Choose --engine transformers, or quantise the model with --scheme gptq."),
        )


def _chosen(card: Accelerator | None, shape: Shape, why_not: str) -> tuple[str, str]:
    if card is None or card.kind != "cuda":
        raise ApplianceError(
            _("Quantising gains nothing on this machine."),
            (
                _("Without an NVIDIA card a quantised model is unpacked again when it is served.") + " " + why_not
            ).strip(),
            _(
                "For another machine, say which: --hardware PROBE.json (appliance probe --json, over there), "
                "or name the scheme: --scheme fp8, gptq …"
            ),
        )
    values = {"card": card.name, "capability": card.compute_capability}
    if card.capability() < _VLLM:
        return "bnb4", _(
            "{card} (compute capability {capability}) is too old for vLLM; transformers serves bitsandbytes there."
        ).format(**values)
    if shape.experts:
        return "fp8", _("A model with experts: FP8 is what needs no rows for each of them, and halves it.")
    if card.capability() < _FP8_ARITHMETIC:
        return "gptq", _(
            "{card} (compute capability {capability}) computes no FP8, which begins at 8.9; 4-bit weights are served "
            "well from 7.5 on."
        ).format(**values)
    if after_bytes(shape, "fp8", 0) / _GIB > _SHARE_FOR_WEIGHTS * card.memory_gib:
        return "gptq", _("In FP8 it would hardly fit into {card}; in 4 bits it does.").format(**values)
    return "fp8", _(
        "{card} (compute capability {capability}) computes in FP8: half the size, faster, and hardly any loss."
    ).format(**values)


def _check_served(scheme: str, card: Accelerator | None) -> list[str]:
    """Warnings. Raises ApplianceError where the card that is there can't serve it."""
    oldest, too_new = _SERVED[scheme]
    needs = _("compute capability {oldest} or more").format(oldest="{}.{}".format(*oldest))
    if too_new:
        needs = _("compute capability {oldest} or more, but below {limit}").format(
            oldest="{}.{}".format(*oldest), limit="{}.{}".format(*too_new)
        )
    if card is None or card.kind != "cuda":
        return [
            _("This is for another machine: {name} is served on an NVIDIA card with {needs}.").format(
                name=NAMES[scheme], needs=needs
            )
        ]
    if oldest <= card.capability() and (too_new is None or card.capability() < too_new):
        return []
    fitting = [
        name
        for name, (low, high) in _SERVED.items()
        if low <= card.capability() and (not high or card.capability() < high)
    ]
    raise ApplianceError(
        _("{card} can't serve {name}.").format(card=card.name, name=NAMES[scheme]),
        _("It needs {needs}; this card has {capability}.").format(needs=needs, capability=card.compute_capability),
        _("Choose one of: {names}.").format(names=", ".join(["auto", *fitting])),
    )


def _group(shape: Shape) -> int:
    """The largest usual group that divides every linear layer's input."""
    widths = {rows for rows, _columns, _count in shape.linear_matrices}
    for group in _GROUPS:
        if all(width % group == 0 for width in widths):
            return group
    odd = sorted(width for width in widths if width % _GROUPS[-1])
    raise ApplianceError(
        _("This model can't be quantised to 4 bits in groups."),
        _("A layer of it is {width} wide, which is no multiple of {group}.").format(width=odd[0], group=_GROUPS[-1]),
        _("Choose --scheme fp8 or --scheme bnb4."),
    )


def _layer_gib(shape: Shape, scheme: str) -> float:
    """GiB for work on a layer: its weights in float32 too and, for GPTQ, a square of its width for each matrix."""
    weights = (shape.linear_parameters + shape.expert_parameters) / max(1, shape.layers) * (HALF + 4)
    squares = sum(a * a * 4 * n for a, _b, n in shape.linear_matrices) / max(1, shape.layers)
    largest = max((a * a * 4 for a, _b, _n in shape.linear_matrices), default=0)
    return (weights + (squares + 3 * largest if scheme in ("gptq", "int8") else 0)) / _GIB
