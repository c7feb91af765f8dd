"""SGLang: only when asked for, and only on loopback, since it has flaws through which others could run code here.

Its server knows no middleware, so guarded.py stands around it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from appliance.engines.base import OFFLINE, READY, WEIGHTS, Engine
from appliance.engines.families import call_parser, thought_parser


class Sglang(Engine):
    """Options beyond `dtype` and `length`: `parallel`, `cards`, `memory_share` (of a card), `family`, `thinks`."""

    name = "sglang"
    environment = "sglang"
    oldest_capability = (7, 5)
    takes_adapters = False  # it has them under another name than their own
    most_cards = 8
    download_gib, disk_gib = 4.9, 12.5
    loopback_only = True
    phases = (
        (r"Load weight begin|Loading safetensors checkpoint shards", WEIGHTS),
        (r"Application startup complete", READY),
    )

    def command(self, python: Path, model: Path, host: str, port: int, spec: dict[str, Any]) -> list[str]:
        options = spec.get("options") or {}
        words = [str(python), "-P", "-m", "appliance.engines.guarded", "sglang.launch_server"]
        words += ["--model-path", str(model), "--host", host, "--port", str(port)]
        words += ["--served-model-name", spec["name"], "--dtype", options.get("dtype") or "auto"]
        words += ["--mem-fraction-static", str(options.get("memory_share") or 0.85)]
        words += ["--tp-size", str(options.get("cards") or 1)]
        if options.get("length"):
            words += ["--context-length", str(options["length"])]
        if options.get("parallel"):
            words += ["--max-running-requests", str(options["parallel"])]
        family = options.get("family") or ""
        if calls := call_parser(self.name, family):
            words += ["--tool-call-parser", calls]
        if options.get("thinks"):
            words += ["--reasoning-parser", thought_parser(self.name, family)]
        own = model / "chat_template.jinja"
        if own.is_file():  # it would guess another one from the folder's name
            words += ["--chat-template", str(own)]
        words += ["--load-format", "safetensors"]
        # It would ask its own port for an answer, without a key, and end itself when the guard refuses.
        words += ["--skip-server-warmup"]
        return words

    def variables(self, spec: dict[str, Any]) -> dict[str, str]:
        return dict(OFFLINE)
