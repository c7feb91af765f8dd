"""The base's tensors under the names that an adapter uses for them.

An adapter names the modules of the model as it stood in memory; the base's files may name the same weights otherwise:
transformers renames while it loads (`language_model.model.layers` ↔ `model.language_model.layers`), and fuses the
experts of a layer into one parameter. Names are the same here when they differ only in words for wrappers.
Source: transformers' conversion_mapping.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from appliance.merging.weights import Shard, Tensor

# Words for wrappers, which different versions put in different places and which tell no two weights apart.
_WRAPPERS = {"model", "language_model", "text_model", "vision_model", "transformer", "thinker"}
_SAME = {"block_sparse_moe": "mlp", "router": "gate"}
# A parameter of all experts of a layer → the single experts' weights that it is made of, row by row.
_FUSED = {"gate_up_proj": (("gate_proj", "up_proj"), ("w1", "w3")), "down_proj": (("down_proj",), ("w2",))}
_HEADS = ("lm_head", "embed_out")
_EMBEDDINGS = ("embed_tokens", "wte", "embed_in", "word_embeddings")


class Unknown(Exception):
    """No tensor, or several, could be meant."""


@dataclass(frozen=True)
class Place:
    """Where a tensor stands."""

    shard: Shard
    tensor: Tensor


def plain(name: str) -> str:
    """A name without the words for wrappers."""
    words = (_SAME.get(word, word) for word in name.split("."))
    return ".".join(word for word in words if word not in _WRAPPERS)


class Names:
    """All tensors of a base. `shards`: its weight files."""

    def __init__(self, shards: Iterable[Shard], tied: bool | None):
        self.places = {tensor.name: Place(shard, tensor) for shard in shards for tensor in shard.tensors}
        self._plain: dict[str, list[str]] = {}
        for name in self.places:
            self._plain.setdefault(plain(name), []).append(name)
        self.has_experts = any(re.search(r"\.experts\.", name) for name in self.places)
        self._tied = tied

    def find(self, name: str) -> Place | None:
        """The tensor of this name (`….weight`), None where the base has none. Raises Unknown for more than one."""
        if name in self.places:
            return self.places[name]
        found = self._plain.get(plain(name), [])
        if len(found) > 1:
            raise Unknown(name)
        return self.places[found[0]] if found else None

    @property
    def embedding(self) -> Place | None:
        """The input embedding."""
        for word in _EMBEDDINGS:
            found = [name for name in self.places if name.endswith(f"{word}.weight")]
            if len(found) == 1:
                return self.places[found[0]]
        return None

    @property
    def head(self) -> Place | None:
        """The output head, where it has weights of its own."""
        return next(
            (p for n, p in self.places.items() if n.split(".")[-2:][0] in _HEADS and n.endswith(".weight")), None
        )

    @property
    def tied(self) -> bool:
        """Whether the head is the embedding. Raises Unknown where the files and config.json say different things."""
        if self.head is None:
            return True
        if self._tied is False:
            return False
        raise Unknown("tie_word_embeddings")

    def experts(self, module: str, parameter: str) -> list[list[Tensor]]:
        """The single experts' weights behind a fused parameter: for each expert, one or two tensors. Empty: none."""
        for words in _FUSED.get(parameter, ()):
            found: list[list[Tensor]] = []
            while True:
                places = [self.find(f"{module}.{len(found)}.{word}.weight") for word in words]
                if any(place is None for place in places):
                    break
                found.append([place.tensor for place in places if place is not None])
            if found:
                return found
        return []


def is_head(module: str) -> bool:
    """Whether this is the output head's module."""
    return module.rsplit(".", 1)[-1] in _HEADS


def is_embedding(module: str) -> bool:
    """Whether this is the input embedding's module."""
    return module.rsplit(".", 1)[-1] in _EMBEDDINGS
