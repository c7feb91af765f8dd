"""What the probe saw, as values. All sizes are GiB (2^30 bytes) but `nominal_gb`, which is what the box says."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

# CUDA 13 needs the 580 driver branch (CUDA 13.0 release notes, "CUDA driver" table).
CUDA_OF_THIS_IMAGE = "13"
OLDEST_DRIVER = 580

KINDS = ("cuda", "mps", "npu", "rocm")
# What this image's PyTorch can compute on; the others are seen and named.
USED_KINDS = ("cuda", "mps")

# What cards are sold as. A driver reports less than that (ECC, reserved memory): an A10 says 22.49 GiB and
# is a 24 GB card.
_SOLD_AS = (1, 2, 3, 4, 5, 6, 8, 10, 11, 12, 16, 20, 22, 24, 32, 40, 48, 64, 80, 94, 96, 128, 141, 180, 192, 288)


def nominal_gb(memory_gib: float) -> int:
    """The size a card is sold as, from the GiB that its driver reports: the next one up, with 0.5 % for rounding."""
    return next((size for size in _SOLD_AS if memory_gib <= size * 1.005), math.ceil(memory_gib))


@dataclass
class Holder:
    """A process that holds memory on a card; its name and share may be unknown inside a container."""

    pid: int
    name: str | None
    memory_gib: float | None


@dataclass
class Accelerator:
    """One card, a slice of one (MIG), or the GPU part of an Apple chip.

    index     among the accelerators of its kind; an NVIDIA card's is NVML's. A card's first slice has the card's own
              index, its others follow after all cards, so that no two are alike.
    uuid      NVIDIA's name for the card or the slice; CUDA_VISIBLE_DEVICES takes it. A slice has no other.
    parent    of a slice: the index of its card
    warnings  what is wrong with the card though it works
    """

    kind: str
    name: str
    index: int
    memory_gib: float
    nominal_gb: int
    free_gib: float
    compute_capability: str | None
    bf16: bool
    holders: list[Holder] = field(default_factory=list)
    uuid: str | None = None
    parent: int | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def used_here(self) -> bool:
        """Whether jobs of this image can run on it at all."""
        return self.kind in USED_KINDS

    def capability(self) -> tuple[int, int]:
        """Compute capability as numbers that compare: "8.6" is (8, 6); (0, 0) when there is none."""
        major, _dot, minor = (self.compute_capability or "0.0").partition(".")
        return int(major), int(minor or 0)


@dataclass
class Cpu:
    """The processor as far as this process may use it: affinity and cgroup limits count, not the host's figures.

    features  those of its instructions that matter to matrices, by their Linux names without what all share:
              "avx2", "avx512", "avx512_bf16", "amx", "sve", "i8mm", "bf16" …
    """

    model: str
    cores: int
    memory_gib: float
    free_gib: float
    features: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Problem:
    """What is wrong with the NVIDIA cards of this machine, or with one of them, and the exact fix; for a person."""

    sentence: str
    fix: str

    def __str__(self) -> str:
        return f"{self.sentence} {self.fix}"


@dataclass
class Hardware:
    """This machine.

    driver_problem  why there is, or may be, an NVIDIA card that can't be used; None when all is well
    card_problems   what is wrong with single cards; the others can be used
    Both stand in `warnings` too, as everything that a person should know.
    """

    accelerators: list[Accelerator]
    cpu: Cpu
    disk_free_gib: float
    shm_gib: float | None
    driver: str | None = None
    cuda: str | None = None
    container: bool = False
    warnings: list[str] = field(default_factory=list)
    driver_problem: Problem | None = None
    card_problems: list[Problem] = field(default_factory=list)

    def driver_too_old(self) -> bool:
        """Whether the NVIDIA driver is older than what this image's CUDA needs."""
        head = (self.driver or "").split(".")[0]
        return head.isdigit() and int(head) < OLDEST_DRIVER

    def as_dict(self) -> dict[str, Any]:
        """The answer of `appliance probe --json`; `from_dict` reads it back."""
        return {
            "accelerators": [asdict(accelerator) for accelerator in self.accelerators],
            "cpu": asdict(self.cpu),
            "disk_free_gib": self.disk_free_gib,
            "shm_gib": self.shm_gib,
            "driver": self.driver,
            "cuda": self.cuda,
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_dict(cls, value: Any) -> Hardware:
        """The machine that a probe's JSON describes. Raises ApplianceError with every problem of it at once."""
        from appliance.hardware.description import read

        return read(value)
