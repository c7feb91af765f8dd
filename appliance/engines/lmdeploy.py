"""LMDeploy: many requests at once where vLLM has no code for the silicon: V100 cards, and Ascend's.

Its TurboMind kernels are built from compute capability 7.0 on, and so is the torch of its lock. Its server knows no
middleware, so guarded.py stands around it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from appliance.engines.base import OFFLINE, READY, WEIGHTS, Engine
from appliance.engines.families import call_parser, thought_parser

# Of what is free once the weights are there: the rest is for the work of reading questions.
_CACHE_SHARE = 0.8


class Lmdeploy(Engine):
    """Options beyond `dtype` and `length`: `parallel`, `cards`, `device` (cuda or npu), `family`, `thinks`."""

    name = "lmdeploy"
    environment = "lmdeploy"
    oldest_capability = (7, 0)
    kinds = ("cuda", "npu")
    takes_adapters = False  # TurboMind knows none
    most_cards = 8
    download_gib, disk_gib = 3.2, 8.0
    phases = (
        (r"Loading weights|load_weights|Convert to turbomind", WEIGHTS),
        (r"Application startup complete", READY),
    )

    def command(self, python: Path, model: Path, host: str, port: int, spec: dict[str, Any]) -> list[str]:
        options = spec.get("options") or {}
        words = [str(python), "-P", "-m", "appliance.engines.guarded", "lmdeploy", "serve", "api_server", str(model)]
        words += ["--server-name", host, "--server-port", str(port), "--model-name", spec["name"]]
        # The model's own template; else a folder whose path holds "mistral" or "vicuna" gets one of LMDeploy's.
        words += ["--chat-template", "hf"]
        # It knows these two only; "auto" is float16 where the card has no bfloat16.
        dtype = options.get("dtype")
        words += ["--dtype", dtype if dtype in ("float16", "bfloat16") else "auto"]
        words += ["--tp", str(options.get("cards") or 1), "--cache-max-entry-count", str(_CACHE_SHARE)]
        if options.get("length"):
            words += ["--session-len", str(options["length"])]
        if options.get("parallel"):
            words += ["--max-batch-size", str(options["parallel"])]
        family = options.get("family") or ""
        if calls := call_parser(self.name, family):
            words += ["--tool-call-parser", calls]
        if options.get("thinks"):
            words += ["--reasoning-parser", thought_parser(self.name, family)]
        if options.get("device") == "npu":
            words += ["--backend", "pytorch", "--device", "ascend"]
        else:
            words += ["--backend", "turbomind"]  # and its other backend for a model that TurboMind doesn't know
        # The guard shuts these too; what isn't there can't be reached by a mistake in it.
        words += ["--disable-fastapi-docs", "--log-level", "INFO"]
        return words

    def variables(self, spec: dict[str, Any]) -> dict[str, str]:
        return {**OFFLINE, "UVICORN_LOG_LEVEL": "info"}
