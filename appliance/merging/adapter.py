"""What an adapter folder holds, as peft writes it, and with which scale each part of it counts."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appliance import files
from appliance.merging.changes import Matrix
from appliance.merging.numbers import WIDTH
from appliance.merging.weights import Mapped, Tensor

# Options that change what a merge has to do and that are not streamed.
_OTHER_WAYS = (
    "trainable_token_indices", "layer_replication", "use_bdlora", "arrow_config", "velora_config", "monteclora_config",
    "kasa_config", "alora_invocation_tokens", "use_qalora", "megatron_config",
)  # fmt: skip
_HALF = re.compile(
    r"(?P<module>.+)\.(?P<part>lora_A\.weight|lora_B\.weight|lora_B\.bias|lora_embedding_A|lora_embedding_B"
    r"|lora_magnitude_vector)(\.weight)?"
)
_PREFIX = "base_model.model."


class NotStreamed(Exception):
    """The adapter holds something that goes through peft instead; the text names it as the adapter does."""


@dataclass
class Layer:
    """The tensors of one adapted layer, by their part of the name: `lora_A.weight`, `lora_embedding_B` …"""

    module: str
    parts: dict[str, Tensor] = field(default_factory=dict)


class Adapter:
    """One adapter.

    layers  what is added to weights, by module
    saved   whole tensors of modules that were trained apart from the base's own (modules_to_save), and biases
    beside  whole tensors of the base that were saved along (embeddings, biases of adapted layers)

    The latter two by the name of what they replace. Raises NotStreamed.
    """

    def __init__(self, folder: Path, weight: float = 1.0):
        self.folder, self.weight = folder, weight
        self.config: dict[str, Any] = files.read_json(folder / "adapter_config.json")
        self._file = Mapped(folder / "adapter_model.safetensors")
        self.layers: dict[str, Layer] = {}
        self.saved: dict[str, Tensor] = {}
        self.beside: dict[str, Tensor] = {}
        self._check_config()
        for name, tensor in self._file.tensors.items():
            if tensor.dtype not in WIDTH:
                raise NotStreamed(f"{name}: {tensor.dtype}")
            inner = name.removeprefix(_PREFIX)
            match = _HALF.fullmatch(inner)
            if match:
                layer = self.layers.setdefault(match["module"], Layer(match["module"]))
                layer.parts[match["part"]] = tensor
            elif "lora_" in inner or "token_adapter" in inner:
                raise NotStreamed(name)
            elif ".base_layer." in inner:
                self.beside[inner.replace(".base_layer.", ".")] = tensor
            else:
                self.saved[inner] = tensor

    def _check_config(self) -> None:
        if self.config.get("peft_type") != "LORA":
            raise NotStreamed(str(self.config.get("peft_type")))
        for name in _OTHER_WAYS:
            if self.config.get(name):
                raise NotStreamed(name)
        # These begin by taking something out of the base's weights, each in its own way.
        begun = self.config.get("init_lora_weights")
        if isinstance(begun, str) and begun.lower() not in ("gaussian", "orthogonal", "eva", "true", "false"):
            raise NotStreamed(f"init_lora_weights={begun}")

    @property
    def dora(self) -> bool:
        """Whether rows are given a length."""
        return bool(self.config.get("use_dora"))

    @property
    def parameters(self) -> list[str]:
        """The bare parameters (not modules) that it adapts: the last words of `target_parameters`."""
        return sorted({str(name).rsplit(".", 1)[-1] for name in self.config.get("target_parameters") or ()})

    def matrix(self, tensor: Tensor) -> Matrix:
        """A tensor of this adapter."""
        return Matrix(self._file.array(tensor), tensor.dtype)

    def scale(self, key: str, rank: int) -> float:
        """What the product of a layer counts: alpha / rank, or alpha / √rank. `key`: the layer's name in the model.

        A pattern applies to names that end with it (peft/utils/other.py, get_pattern_key). Raises NotStreamed where
        config and weights do not agree.
        """
        expected = self._pattern("rank_pattern", key, self.config.get("r"))
        if expected != rank or not rank:
            raise NotStreamed(f"{key}: rank {rank}, r={expected}")
        alpha = float(self._pattern("alpha_pattern", key, self.config.get("lora_alpha")))
        return alpha / math.sqrt(rank) if self.config.get("use_rslora") else alpha / rank

    def has_pattern(self, key: str) -> bool:
        """Whether a rank or an alpha of its own is set for this layer."""
        return any(self._pattern(name, key, None) is not None for name in ("rank_pattern", "alpha_pattern"))

    def _pattern(self, name: str, key: str, otherwise: Any) -> Any:
        for pattern, value in (self.config.get(name) or {}).items():
            if re.match(rf"(.*\.)?({pattern})$", key):
                return value
        return otherwise
