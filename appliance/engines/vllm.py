"""vLLM: many requests at once on an NVIDIA card. The guard is loaded into it with its own --middleware."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from appliance.engines.base import OFFLINE, READY, WEIGHTS, Engine
from appliance.engines.families import call_parser, thought_parser
from appliance.locale import _, marked

_SHORTEST = 512
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


class Vllm(Engine):
    """Options beyond `dtype` and `length`: `parallel`, `cards`, `memory_share` (of a card), `family`, `thinks`."""

    name = "vllm"
    environment = "vllm"
    oldest_capability = (7, 5)  # its wheels hold no code for older silicon (its installation page)
    most_cards = 8
    download_gib, disk_gib = 3.7, 9.5
    phases = (
        (r"Starting to load model|Loading safetensors checkpoint shards", WEIGHTS),
        (r"Dynamo bytecode transform|Compiling a graph", marked("compiling for this card (the first time only)")),
        (r"Capturing CUDA graph", marked("recording the card's steps")),
        (r"Application startup complete", READY),
    )

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
        family = options.get("family") or ""
        if calls := call_parser(self.name, family):  # without it vLLM refuses `tools` unless a call is required
            words += ["--enable-auto-tool-choice", "--tool-call-parser", calls]
            # A call's arguments fit their schema, as with our other engine; else only where a client says `strict`.
            words += ["--tool-strict-level", "parameter"]
            words += ["--tool-parser-plugin", "appliance.engines.vllm_calls"]
        if options.get("thinks"):
            words += ["--reasoning-parser", thought_parser(self.name, family)]
        if spec.get("adapters"):
            words += ["--enable-lora", "--max-lora-rank", str(_lora_rank(max(a["rank"] for a in spec["adapters"])))]
            # As JSON: a path may hold "=" and ",".
            modules = [json.dumps({"name": a["name"], "path": a["folder"]}) for a in spec["adapters"]]
            words += ["--lora-modules", *modules]
            words += ["--max-loras", str(min(4, len(spec["adapters"])))]
        if options.get("chat_template"):  # an adapter's own: vLLM takes the base's otherwise
            words += ["--chat-template", options["chat_template"]]
        # JSON without spaces and newlines between its parts: a small model can go on with these for ever. Only some of
        # its backends can do it, and only this one reads the calls' form as well.
        words += ["--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}']
        # Never a pickle, even where the folder holds one beside the safetensors.
        words += ["--load-format", "safetensors"]
        # The guard shuts these too; what isn't there can't be reached by a mistake in it.
        words += ["--disable-fastapi-docs", "--allowed-origins", "[]"]
        # Its supervisor looks at /health every two seconds: the log would hold little else.
        words += ["--disable-uvicorn-access-log"]
        return words

    def remedy(self, log_text: str, options: dict[str, Any]) -> tuple[dict[str, Any], str] | None:
        length = options.get("length") or _SHORTEST
        if found := re.search(r"Free memory on device[^(]*\(([\d.]+)/([\d.]+) GiB\)", log_text):
            free, all_of_it = float(found[1]), float(found[2])
            share = int(100 * (free - 0.5) / all_of_it) / 100
            if 0.1 <= share < (options.get("memory_share") or 0.9):
                told = _("Trying once more with {n:.0f} percent of the card's memory.").format(n=share * 100)
                return {**options, "memory_share": share}, told
            return None
        told_length = re.search(r"estimated maximum model length is (\d+)|derived max_model_len \(\D*(\d+)", log_text)
        short_of_memory = re.search(r"KV cache|cache blocks|OutOfMemoryError|out of memory", log_text)
        if told_length:
            shorter = int(told_length[1] or told_length[2])
        elif short_of_memory:
            shorter = length // 2
        else:
            return super().remedy(log_text, options)
        if not _SHORTEST <= shorter < length:
            return None
        changed = {**options, "length": shorter}
        if short_of_memory and options.get("parallel"):
            changed["parallel"] = max(1, options["parallel"] // 2)
        return changed, _("Trying once more with a length of {n} tokens.").format(n=shorter)

    def variables(self, spec: dict[str, Any]) -> dict[str, str]:
        # The Rust front end knows no Python middleware: with it there would be no guard.
        return {**OFFLINE, "VLLM_NO_USAGE_STATS": "1", "VLLM_USE_RUST_FRONTEND": "0", "VLLM_SERVER_DEV_MODE": "0"}


def _lora_rank(rank: int) -> int:
    """The smallest rank that vLLM has kernels for and that holds this one."""
    return next((known for known in _RANKS if known >= rank), _RANKS[-1])
