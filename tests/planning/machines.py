"""Machines and models for the tables."""

from __future__ import annotations

from appliance.hardware.types import Accelerator, Cpu, Hardware, nominal_gb
from appliance.planning.generic import SHAPES
from appliance.planning.shape import Shape

MODELS: dict[str, Shape] = SHAPES
# A tiny model, like the demo's.
TINY = Shape("llama", 4, 256, 4, 2, 64, 704, 4096, True, 1024)


def cuda(name: str, gib: float, capability: str, free: float | None = None, index: int = 0) -> Accelerator:
    return Accelerator(
        "cuda", name, index, gib, nominal_gb(gib), gib - 0.3 if free is None else free, capability, capability[0] != "7"
    )


def apple(gib: float, free: float, bf16: bool = True) -> Accelerator:
    return Accelerator("mps", "Apple M2", 0, gib, round(gib), free, None, bf16)


def machine(*cards: Accelerator, memory: float = 32.0, free: float = 28.0, driver: str | None = "580.65") -> Hardware:
    return Hardware(list(cards), Cpu("x", 8, memory, free), 200.0, 8.0, driver if cards else None)


def sliced(name: str, gib: float, profile: str, capability: str) -> Accelerator:
    """A slice (MIG) of a card, as the probe shows it."""
    size = int(profile.split(".")[1].removesuffix("gb"))
    return Accelerator(
        "cuda", f"{name} MIG {profile}", 0, gib, size, gib - 0.1, capability, True, uuid="MIG-1234", parent=0
    )


MACHINES = {
    "T4": machine(cuda("Tesla T4", 14.56, "7.5")),
    "V100 16": machine(cuda("Tesla V100", 15.78, "7.0")),
    "V100 32": machine(cuda("Tesla V100", 31.75, "7.0")),
    "4060": machine(cuda("NVIDIA GeForce RTX 4060", 8.0, "8.9")),
    "3060": machine(cuda("NVIDIA GeForce RTX 3060", 12.0, "8.6")),
    "A10": machine(cuda("NVIDIA A10", 22.49, "8.6")),
    "L4": machine(cuda("NVIDIA L4", 22.49, "8.9")),
    "3090": machine(cuda("NVIDIA GeForce RTX 3090", 24.0, "8.6")),
    "4090": machine(cuda("NVIDIA GeForce RTX 4090", 23.99, "8.9")),
    "held 4090": machine(cuda("NVIDIA GeForce RTX 4090", 23.99, "8.9", 10.0)),
    "2x4090": machine(cuda("RTX 4090", 23.99, "8.9"), cuda("RTX 4090", 23.99, "8.9", index=1)),
    "2x4090, one held": machine(cuda("RTX 4090", 23.99, "8.9", 3.0), cuda("RTX 4090", 23.99, "8.9", index=1)),
    "4090 and 3090": machine(cuda("RTX 4090", 23.99, "8.9"), cuda("RTX 3090", 24.0, "8.6", 23.0, index=1)),
    "A100 40": machine(cuda("NVIDIA A100", 39.59, "8.0")),
    "A100 80": machine(cuda("NVIDIA A100", 79.35, "8.0")),
    "8xA100 80": machine(*(cuda("NVIDIA A100", 79.35, "8.0", index=i) for i in range(8)), memory=1000.0, free=950.0),
    "H100": machine(cuda("NVIDIA H100", 79.65, "9.0")),
    "H100 slice 40": machine(sliced("NVIDIA H100", 39.25, "3g.40gb", "9.0")),
    "H100 slice 10": machine(sliced("NVIDIA H100", 9.62, "1g.10gb", "9.0")),
    "H200": machine(cuda("NVIDIA H200", 140.4, "9.0")),
    "M1 8": machine(apple(8.0, 5.0, False), memory=8.0, free=5.0),
    "M2 16": machine(apple(16.0, 11.0), memory=16.0, free=13.0),
    "M3 Max 64": machine(apple(64.0, 46.0), memory=64.0, free=50.0),
    "P100": machine(cuda("Tesla P100", 16.0, "6.0")),
    "RX 7900": machine(Accelerator("rocm", "AMD Radeon RX 7900 XTX", 0, 24.0, 24, 23.0, None, True)),
    "old driver": machine(cuda("NVIDIA A10", 22.49, "8.6"), driver="535.1"),
    "processor": machine(),
    "small processor": machine(memory=4.0, free=3.0),
    "old small card": machine(cuda("NVIDIA GeForce GTX 960", 2.0, "5.2"), memory=3.0, free=1.0),
}
