"""Which libraries did the work, for results."""

from __future__ import annotations

import importlib.metadata
import platform
import sys

_VERSIONS_OF = (
    "torch", "transformers", "peft", "trl", "accelerate", "bitsandbytes", "datasets", "safetensors", "tokenizers",
    "huggingface_hub", "modelscope", "numpy", "vllm", "llmcompressor", "compressed_tensors",
)  # fmt: skip


def library_versions() -> dict[str, str]:
    """Of Python and of those libraries that this process has imported."""
    versions = {"python": platform.python_version()}
    for name in _VERSIONS_OF:
        if name.replace("-", "_") in sys.modules or name in sys.modules:
            try:
                versions[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
    return versions
