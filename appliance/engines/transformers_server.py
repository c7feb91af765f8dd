"""`transformers serve` with the guard around it: `python -m appliance.engines.transformers_server --model FOLDER …`.

Runs in the training environment; APPLIANCE_GUARD names the guard's settings. transformers' own loader and server, with
our answers to the two routes (transformers_answers.py says why), wrapped before the port opens: its own command has no
key, names models by path and serves /load_model and /reset to anyone.
"""

from __future__ import annotations

import argparse
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from appliance.engines.base import OFFLINE
from appliance.engines.guard import Guard
from appliance.engines.patience import patient

# The model's name inside transformers. The launcher stands in the model's folder, so that no answer can tell a path,
# and a path with "@" or ":" isn't taken apart as a revision or a GGUF file.
_MODEL_HERE = "."


def main() -> None:
    """Load the model, then open the port; SIGTERM and SIGINT end it."""
    parser = argparse.ArgumentParser(prog="transformers_server")
    parser.add_argument("--model", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--length", type=int)
    parser.add_argument("--adapters", default="{}")  # {name: folder} as JSON
    words = parser.parse_args()
    os.umask(0o077)
    os.environ.update(OFFLINE)
    adapters = {name: Path(folder) for name, folder in json.loads(words.adapters).items()}
    os.chdir(words.model)

    import uvicorn

    app = Guard(build(words.name, words.dtype, words.length, adapters))
    uvicorn.run(app, host=words.host, port=words.port, log_level="info", http=patient(), access_log=False)


def build(name: str, dtype: str, length: int | None, adapters: dict[str, Path]) -> Any:
    """transformers' app for the model in the folder that we stand in, with our handlers."""
    from transformers import AutoTokenizer
    from transformers.cli.serving.model_manager import ModelManager
    from transformers.cli.serving.server import build_server
    from transformers.cli.serving.utils import GenerationState

    from appliance.engines.transformers_answers import Handler
    from appliance.engines.transformers_asked import Reader
    from appliance.engines.transformers_generate import Generator

    class Manager(ModelManager):  # type: ignore[misc]
        """Only words are read here; what would read a model's pictures and videos wants libraries of its own."""

        def _load_processor(self, *_words: Any, **_more: Any) -> Any:
            return AutoTokenizer.from_pretrained(_MODEL_HERE, local_files_only=True, trust_remote_code=False)

    manager = Manager(dtype=dtype, force_model=_MODEL_HERE)
    model, tokenizer = manager.load_model_and_processor(manager.process_model_name(_MODEL_HERE))
    for adapter, folder in adapters.items():
        model.load_adapter(str(folder), adapter_name=adapter)
    model.eval()
    reader = Reader(model, tokenizer, length, adapters, name)
    generator, reading = Generator(model, reader), ThreadPoolExecutor(1, thread_name_prefix="read")
    chat, completions = Handler(generator, True, reading), Handler(generator, False, reading)
    nothing: Any = None  # the other routes are behind the guard's shut door
    return build_server(manager, chat, completions, nothing, nothing, nothing, GenerationState())


if __name__ == "__main__":
    main()
