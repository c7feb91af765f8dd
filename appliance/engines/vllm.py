"""vLLM: many requests at once on an NVIDIA card. The guard is loaded into it with its own --middleware."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from appliance.engines.base import OFFLINE, READY, WEIGHTS, Engine
from appliance.locale import marked

OLDEST_CAPABILITY = (7, 5)  # vLLM's wheels hold no code for older silicon (its installation page)


class Vllm(Engine):
    """Options beyond `dtype` and `length`: `parallel` (requests), `cards`, `memory_share` (0 to 1 of a card)."""

    name = "vllm"
    environment = "vllm"
    phases = (
        (r"Starting to load model|Loading safetensors checkpoint shards", WEIGHTS),
        (r"torch\.compile|Dynamo bytecode transform", marked("compiling for this card (the first time only)")),
        (r"Capturing CUDA graph", marked("recording the card's steps")),
        (r"Application startup complete", READY),
    )

    def own_name(self, model: Path, name: str) -> str:
        return name

    def command(self, python: Path, model: Path, host: str, port: int, spec: dict[str, Any]) -> list[str]:
        options = spec.get("options") or {}
        words = [str(python), "-P", "-m", "vllm.entrypoints.cli.main", "serve", str(model)]
        words += ["--host", host, "--port", str(port)]
        words += ["--middleware", "appliance.engines.guard.Guard"]
        # Its own answers then carry the plain name; without it they carry the path.
        words += ["--served-model-name", spec["name"]]
        words += ["--dtype", options.get("dtype") or "auto"]
        # Of the card's whole memory; vLLM refuses to start where another program holds more than the rest.
        words += ["--gpu-memory-utilization", str(options.get("memory_share") or 0.9)]
        words += ["--tensor-parallel-size", str(options.get("cards") or 1)]
        if options.get("length"):  # without it the cache must hold the model's full length, often 128k or more
            words += ["--max-model-len", str(options["length"])]
        if options.get("parallel"):
            words += ["--max-num-seqs", str(options["parallel"])]
        # Never a pickle, even where the folder holds one beside the safetensors.
        words += ["--load-format", "safetensors"]
        # The guard shuts these too; what isn't there can't be reached by a mistake in it.
        words += ["--disable-fastapi-docs", "--allowed-origins", "[]"]
        return words

    def variables(self, spec: dict[str, Any]) -> dict[str, str]:
        # The Rust front end knows no Python middleware: with it there would be no guard.
        return {**OFFLINE, "VLLM_NO_USAGE_STATS": "1", "VLLM_USE_RUST_FRONTEND": "0", "VLLM_SERVER_DEV_MODE": "0"}


def first_card(hardware: Any) -> Any | None:
    """The first accelerator that vLLM runs on; None where there is none."""
    for card in hardware.accelerators:
        if card.kind == "cuda" and _capability(card.compute_capability) >= OLDEST_CAPABILITY:
            return card
    return None


def _capability(text: str | None) -> tuple[int, ...]:
    return tuple(int(part) for part in (text or "0.0").split("."))
