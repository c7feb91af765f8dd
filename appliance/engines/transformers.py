"""`transformers serve` behind the guard: runs on everything that training runs on (CPU, Apple, any card)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from appliance.engines.base import OFFLINE, READY, WEIGHTS, Engine


class Transformers(Engine):
    """See transformers_server.py for what runs. Options: `dtype`, `length` (tokens)."""

    name = "transformers"
    environment = "train"
    kinds = ("cuda", "mps")
    most_parallel = 1  # plain generate(): one request after the other
    phases = ((r"Loading (?:weights|\.@main)", WEIGHTS), (r"Application startup complete", READY))

    def command(self, python: Path, model: Path, host: str, port: int, spec: dict[str, Any]) -> list[str]:
        options = spec.get("options") or {}
        # -P: the folder that we stand in may hold a file called like a library.
        words = [str(python), "-P", "-m", "appliance.engines.transformers_server", "--model", str(model)]
        words += ["--name", spec["name"], "--host", host, "--port", str(port)]
        words += ["--dtype", options.get("dtype") or "auto"]
        if options.get("length"):
            words += ["--length", str(options["length"])]
        if spec.get("adapters"):
            words += ["--adapters", json.dumps({each["name"]: each["folder"] for each in spec["adapters"]})]
        return words

    def variables(self, spec: dict[str, Any]) -> dict[str, str]:
        return dict(OFFLINE)
