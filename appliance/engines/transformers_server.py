"""`transformers serve` with the guard around it: `python -m appliance.engines.transformers_server --model FOLDER …`.

Runs in the training environment; APPLIANCE_GUARD names the guard's settings. transformers' own command has no key,
names models by path and serves /load_model and /reset to anyone, so its app is wrapped before the port opens.

Plain `generate`, one request after another, and not continuous batching: transformers 5.23 starts that loop with the
first request's sampling settings and keeps them, so a temperature or a stop text asked for later would be ignored.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

from appliance.engines.base import OFFLINE
from appliance.engines.guard import Guard
from appliance.engines.transformers import MODEL_HERE


def main() -> None:
    """Load the model, then open the port; SIGTERM and SIGINT end it."""
    parser = argparse.ArgumentParser(prog="transformers_server")
    parser.add_argument("--model", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dtype", default="auto")
    words = parser.parse_args()
    os.umask(0o077)
    os.environ.update(OFFLINE)
    os.chdir(words.model)

    from transformers.cli.serve import Serve
    from transformers.cli.serving import server

    build = server.build_server

    def guarded(*args: Any, **kwargs: Any) -> Guard:
        return Guard(build(*args, **kwargs))

    server.build_server = guarded
    Serve(force_model=MODEL_HERE, host=words.host, port=words.port, dtype=words.dtype)


if __name__ == "__main__":
    main()
