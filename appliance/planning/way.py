"""One way to do it, what memory it takes, and whether that is there."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from appliance.locale import _
from appliance.planning.calibration import Calibration, corrected
from appliance.planning.estimate import Estimate, estimate
from appliance.planning.shape import Shape
from appliance.planning.training import usual_loss

METHODS = {
    "lora": "LoRA",
    "qlora": "QLoRA",
    "dora": "DoRA",
    "rslora": "rsLoRA",
    "lora+": "LoRA+",
    "pissa": "PiSSA",
    "full": "full",
    "galore": "GaLore",
}
METHOD_CHOICES = " | ".join(("auto", *METHODS))
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# They differ from LoRA in a factor, a learning rate or how they begin, not in memory.
COSTS_LIKE = {"rslora": "lora", "lora+": "lora", "pissa": "lora", "galore": "full"}
# All weights learn: what comes out is a model, not an adapter.
WHOLE = ("full", "galore")


def method_name(method: str) -> str:
    """A method as a person calls it."""
    return _("all weights") if method == "full" else METHODS.get(method, method)


@dataclass(frozen=True)
class Way:
    """One way to do it, not yet known to fit.

    gpus, sharding  how many cards, and whether each holds the model (ddp) or a share of it (fsdp); alone: none
    micro_batch     rows at once on each of them
    rows_a_step     of all of them together; answers, where those are tried
    calibration     what this machine has measured, if its runs count
    """

    method: str
    dtype: str
    micro_batch: int
    length: int
    rank: int
    optimizer: str
    checkpointing: bool
    device: str
    gpus: int = 1
    sharding: str = "none"
    task: str = "sft"
    rows_a_step: int = 8
    calibration: Calibration | None = field(default=None, compare=False, repr=False)

    @property
    def costs_as(self) -> str:
        """The method whose memory it takes."""
        return COSTS_LIKE.get(self.method, self.method)

    def memory(self, shape: Shape) -> Estimate:
        """Its peak for that model, on each card."""
        formula = self.formula(shape)
        return (
            corrected(formula, self.calibration.factor(self.method, self.checkpointing))
            if self.calibration
            else formula
        )

    def formula(self, shape: Shape) -> Estimate:
        """Its peak by the formula alone."""
        made = estimate(
            shape,
            method=self.costs_as,
            rank=self.rank,
            micro_batch=self.micro_batch,
            length=self.length,
            dtype_bytes=BYTES[self.dtype],
            optimizer=self.optimizer,
            checkpointing=self.checkpointing,
            device=self.device,
            gpus=self.gpus,
            sharding=self.sharding,
            task="grpo" if self.task == "rloo" else self.task,
            loss=usual_loss(self.task),
            # TRL samples the answers of a whole step at once.
            generations=max(1, math.ceil(self.rows_a_step / self.gpus)),
            float_weights=self.method in WHOLE and BYTES[self.dtype] == 2,
        )
        # Our worker shares out the model's weights alone: adapters, small as they are, stay whole on each card.
        return grown(made, self.gpus, ("gradients", "optimizer")) if self.sharding == "fsdp" else made


def grown(memory: Estimate, times: float, names: tuple[str, ...]) -> Estimate:
    """The estimate with some of its parts that many times as large."""
    parts = {name: size * times if name in names else size for name, size in memory.parts.items()}
    more = sum(parts.values()) - sum(memory.parts.values())
    return replace(
        memory,
        total_gib=memory.total_gib + more,
        low_gib=memory.low_gib + more,
        high_gib=memory.high_gib + more,
        parts=parts,
    )


def verdict_of(memory: Estimate, free_gib: float) -> str:
    """fits: even if the estimate is too low; tight: if it is right; exceeds: not."""
    if memory.high_gib <= free_gib:
        return "fits"
    return "tight" if memory.total_gib <= free_gib else "exceeds"
