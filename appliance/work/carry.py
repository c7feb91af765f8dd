"""What a new model keeps of the one it is made of, beside its weights."""

from __future__ import annotations

import re
from collections.abc import Set
from pathlib import Path

from appliance import files

_CARRIED = re.compile(r".*\.(json|jinja|model|txt|tiktoken)$|LICENSE.*|NOTICE.*|README\.md$", re.I)
_NOT_CARRIED = re.compile(
    r"adapter_config\.json$|trained-answers\.json$|appliance-.*\.json$|manifest\.json$|.*\.safetensors\.index\.json$"
)


def carry_over(source: Path, staging: Path, keep: Set[str] = frozenset()) -> None:
    """Config, tokenizer, chat template, generation config, licence: never code, never weights, nothing in `keep`."""
    for path in sorted(source.iterdir()):
        if (
            path.name not in keep
            and path.is_file()
            and _CARRIED.fullmatch(path.name)
            and not _NOT_CARRIED.match(path.name)
        ):
            with files.replacing(staging / path.name) as target:
                target.write(path.read_bytes())
