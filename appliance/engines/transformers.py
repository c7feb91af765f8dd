"""`transformers serve` behind the guard: runs on everything that training runs on (CPU, Apple, any card)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from appliance.engines.base import OFFLINE, READY, WEIGHTS, Engine

# The model's name inside the engine. The launcher stands in the model's folder, so that no answer can tell a path,
# and a path with "@" or ":" isn't taken apart as a revision or a GGUF file.
MODEL_HERE = "."


class Transformers(Engine):
    """See transformers_server.py for what runs."""

    name = "transformers"
    environment = "train"
    most_parallel = 1  # plain generate(): one request after the other
    phases = ((r"Loading (?:weights|\.@main)", WEIGHTS), (r"Application startup complete", READY))

    def own_name(self, model: Path, name: str) -> str:
        return MODEL_HERE

    def command(self, python: Path, model: Path, host: str, port: int, spec: dict[str, Any]) -> list[str]:
        options = spec.get("options") or {}
        # -P: the folder that we stand in may hold a file called like a library.
        module = [str(python), "-P", "-m", "appliance.engines.transformers_server"]
        dtype = options.get("dtype") or "auto"
        return [*module, "--model", str(model), "--host", host, "--port", str(port), "--dtype", dtype]

    def variables(self, spec: dict[str, Any]) -> dict[str, str]:
        return dict(OFFLINE)
