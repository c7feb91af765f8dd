"""The settings of a training run that decide its memory. What each of them costs stands in its own file."""

from __future__ import annotations

from dataclasses import dataclass

TASKS = ("sft", "pretrain", "dpo", "orpo", "simpo", "kto", "reward", "grpo")
METHODS = ("lora", "dora", "qlora", "full")
ATTENTIONS = ("flash", "sdpa", "eager")
LOSSES = ("fused", "chunked", "plain")
SHARDINGS = ("none", "ddp", "zero2", "zero3", "fsdp")
FIGURES = ("allocated", "reserved", "device")
# Tasks whose every row is a pair, a better and a worse answer: both go through the model at once.
_PAIRED = ("dpo", "orpo", "simpo", "reward")
# TRL's trainers for these (experimental in 1.16) still hold the logits of all tokens; its others never do.
_ALL_LOGITS = ("orpo", "simpo")


def usual_loss(task: str) -> str:
    """How this appliance's worker computes the loss of a task: one of LOSSES."""
    return "plain" if task in _ALL_LOGITS else "fused"


@dataclass(frozen=True)
class Training:
    """One step of a run. `batch` in rows on one card, `length` in tokens a row.

    dtype_bytes  of the arithmetic, and of weights that are not quantised: 2 or 4
    quant        how the frozen weights are stored (weights.KINDS) in another trainer, with its libraries' defaults;
                 None: as this appliance does it, NF4 with double quantisation for qlora and 16 bits otherwise
    targets      names of the adapted matrices (shape.MODULES), or None for every linear layer
    whole        matrices trained whole beside an adapter: "embed", "head"
    attention    flash, sdpa or eager: only eager keeps the scores of every pair of tokens
    loss         fused: logits are never stored; chunked: a piece at a time, kept in 16 bits; plain: all at once
    figure       which reading is predicted: torch's max_memory_allocated, its max_memory_reserved, or the device's own
    float_weights  trained weights are kept in float32 beside 16-bit arithmetic, which makes a copy of them
    generations  answers that GRPO samples at once; `batch` counts those that are learned from at once
    """

    task: str = "sft"
    method: str = "lora"
    rank: int = 16
    targets: tuple[str, ...] | None = None
    whole: tuple[str, ...] = ()
    batch: int = 1
    length: int = 1024
    dtype_bytes: int = 2
    optimizer: str = "adamw_torch"
    checkpointing: bool = True
    attention: str = "sdpa"
    loss: str = "fused"
    quant: str | None = None
    gpus: int = 1
    sharding: str = "none"
    device: str = "cuda"
    figure: str = "device"
    generations: int = 8
    float_weights: bool = False

    @property
    def tokens(self) -> int:
        """Tokens that go through the model with gradients at once."""
        return self.batch * self.length * (2 if self.task in _PAIRED else 1)

    @property
    def adapted(self) -> bool:
        """Are the model's own weights frozen under an adapter?"""
        return self.method != "full"

    @property
    def ours(self) -> bool:
        """Is it this appliance's own worker? That names no packing and never has all logits at once."""
        return self.quant is None and self.loss == "fused"

    @property
    def sixteen_bit_adapter(self) -> bool:
        """TRL, and so this appliance's QLoRA, trains 16-bit adapters; PEFT's own default is float32."""
        return self.method == "qlora" and self.ours

    @property
    def deepspeed(self) -> bool:
        """Does DeepSpeed hold the optimizer? It keeps its own float32 copies, on one card too."""
        return self.sharding in ("zero2", "zero3")

    @property
    def share(self) -> float:
        """A card's share of what sharding splits."""
        return 1 / self.gpus if self.sharding in ("zero2", "zero3", "fsdp") else 1.0

    @property
    def weights_share(self) -> float:
        """A card's share of the weights: only ZeRO-3 and FSDP split them."""
        return 1 / self.gpus if self.sharding in ("zero3", "fsdp") else 1.0
