"""Adapter + base → what changes in which tensor. Whatever is not known here for certain goes through peft."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from appliance.errors import ApplianceError
from appliance.locale import _
from appliance.merging.adapter import Adapter, Layer, NotStreamed
from appliance.merging.changes import AddBias, LowRank, Matrix, Replace, Section, Step, Weighted
from appliance.merging.names import Names, Place, Unknown, is_embedding, is_head
from appliance.merging.numbers import WIDTH
from appliance.merging.weights import Tensor

# Layers whose weight stands as (in, out), by config.json's model_type: transformers' Conv1D.
_CONV1D = {"gpt2": {"c_attn", "q_attn", "c_proj", "c_fc"}, "openai-gpt": {"c_attn", "c_proj", "c_fc"}}
_ROUTERS = (".mlp.gate", ".block_sparse_moe.gate")

# A low-rank change waiting to be put together with those of other adapters: its adapter's number and weight.
_Part = tuple[LowRank, float]


@dataclass
class Changes:
    """What a merge does.

    sections  by the name of the base's tensor; a tensor without any stays as it is
    new_head  a head of its own for a model whose head was its embedding: what it holds, and the embedding it was;
              None for `what` when it holds what the embedding was before
    shared    an embedding or head that changes by itself in the adapter, and merged together with the other, because
              both are one matrix; "" for none
    """

    sections: dict[str, list[Section]] = field(default_factory=dict)
    new_head: tuple[str, Place, Replace | None] | None = None
    shared: str = ""


def find(adapters: list[Adapter], names: Names, config: dict[str, Any]) -> Changes:
    """Raises NotStreamed for what must go through peft, ApplianceError for adapters that do not fit the base."""
    finder = _Finder(adapters, names, config)
    try:
        for adapter in adapters:
            finder.take(adapter)
    except Unknown as error:
        raise NotStreamed(str(error)) from error
    return finder.changes()


class _Finder:
    def __init__(self, adapters: list[Adapter], names: Names, config: dict[str, Any]):
        self.names, self.model_type = names, str(config.get("model_type") or "")
        self.combined = len(adapters) > 1 or adapters[0].weight != 1
        self.whole: dict[str, Replace] = {}
        # By tensor and rows; the embedding's own change stands before that of a head which is the same tensor.
        self.low: dict[tuple[str, int, int], dict[bool, list[_Part]]] = {}
        self.biases: dict[str, AddBias] = {}
        self.new_head: tuple[str, Place, Replace | None] | None = None
        self.shared = ""

    def take(self, adapter: Adapter) -> None:
        biases = any(name.endswith(".bias") for name in adapter.beside)
        biases = biases or any("lora_B.bias" in layer.parts for layer in adapter.layers.values())
        if self.combined and (adapter.dora or adapter.saved or biases):
            raise ApplianceError(
                _("Adapters with weights can't be merged when one of them is more than LoRA."),
                _("{name} holds whole layers, biases or DoRA, which have no weighted sum.").format(
                    name=adapter.folder.name
                ),
                _("Merge that adapter alone, then merge the next one onto the result."),
            )
        for name, tensor in adapter.beside.items():
            place = self._place(name)
            self._replace(place, adapter, tensor)
        for name, tensor in adapter.saved.items():
            self._saved(adapter, name, tensor)
        for layer in adapter.layers.values():
            self._layer(adapter, layer)

    def changes(self) -> Changes:
        made = Changes(new_head=self.new_head, shared=self.shared)
        for name, replace in self.whole.items():
            made.sections[name] = [Section(0, self.names.places[name].tensor.rows, [replace])]
        for name, bias in self.biases.items():
            steps: list[Step] = [self.whole[name]] if name in self.whole else []
            made.sections[name] = [Section(0, 1, [*steps, bias])]
        for (name, first, last), by_head in sorted(self.low.items()):
            steps = [self.whole[name]] if name in self.whole else []
            for head in (False, True):
                steps += self._together(by_head.get(head, []))
            sections = made.sections.setdefault(name, [])
            if name in self.whole:
                sections.clear()
            sections.append(Section(first, last, steps))
        return made

    def _together(self, parts: list[_Part]) -> list[Step]:
        if not parts:
            return []
        if self.combined:
            return [Weighted(tuple(parts))]
        return [part for part, _weight in parts]

    # --- whole tensors -------------------------------------------------------------------------------------------

    def _saved(self, adapter: Adapter, name: str, tensor: Tensor) -> None:
        module = name.rsplit(".", 1)[0]
        if name.endswith(".weight") and (is_head(module) or is_embedding(module)):
            if adapter.config.get("ensure_weight_tying"):
                raise NotStreamed("ensure_weight_tying")
            if self.names.tied:
                self._untie(adapter, name, tensor, head=is_head(module))
                return
        self._replace(self._place(name), adapter, tensor)

    def _untie(self, adapter: Adapter, name: str, tensor: Tensor, head: bool) -> None:
        """One of two that were the same weight was trained apart: from now on there are two."""
        embedding = self.names.embedding
        if embedding is None or len(embedding.tensor.name.split(".")) > 3 or self.new_head:
            raise NotStreamed(name)
        if head:
            self._fits(name, embedding.tensor.shape, tensor.shape)
            self.new_head = (name, embedding, Replace(adapter.matrix(tensor)))
        else:
            self._replace(embedding, adapter, tensor)
            self.new_head = ("lm_head.weight", embedding, None)

    def _replace(self, place: Place, adapter: Adapter, tensor: Tensor) -> None:
        self._fits(place.tensor.name, place.tensor.shape, tensor.shape)
        self._floats(place.tensor)
        values = adapter.matrix(tensor)
        if len(values.stored.shape) != 2:
            values = Matrix(values.stored.reshape(place.tensor.rows, place.tensor.columns), values.dtype)
        before = self.whole.get(place.tensor.name)
        if before and not np.array_equal(before.values.stored, values.stored):
            raise NotStreamed(place.tensor.name)
        self.whole[place.tensor.name] = Replace(values)

    # --- layers --------------------------------------------------------------------------------------------------

    def _layer(self, adapter: Adapter, layer: Layer) -> None:
        module = layer.module
        while module.endswith(".base_layer"):
            module = module.removesuffix(".base_layer")
        parts = {name: adapter.matrix(tensor) for name, tensor in layer.parts.items()}
        shapes = [
            parts[name].stored.shape for name in sorted(parts) if name.endswith(("A", "B", "A.weight", "B.weight"))
        ]
        if [len(shape) for shape in shapes] != [2, 2] or shapes[0][0] != shapes[1][1]:  # convolutions; no pair
            raise NotStreamed(module)
        if set(parts) == {"lora_embedding_A", "lora_embedding_B"} and not adapter.dora:
            self._embedding(adapter, module, parts["lora_embedding_A"], parts["lora_embedding_B"])
            return
        if not {"lora_A.weight", "lora_B.weight"} <= set(parts) or "lora_embedding_A" in parts:
            raise NotStreamed(module)
        a, b = parts["lora_A.weight"], parts["lora_B.weight"]
        place = self.names.find(f"{module}.weight")
        if place is None and is_head(module):
            place = self.names.embedding if self.names.tied else None
        if place is None or module != layer.module:
            self._parameter(adapter, module, a, b)
        else:
            self._linear(adapter, module, place, parts)

    def _linear(self, adapter: Adapter, module: str, place: Place, parts: dict[str, Matrix]) -> None:
        tensor = place.tensor
        if (is_head(module) or is_embedding(module)) and self.names.tied:  # raises where it is not certain
            self._share(adapter, module)
        a, b = parts["lora_A.weight"], parts["lora_B.weight"]
        expert = re.search(r"\.experts\.\d+\.", module)
        if expert and (adapter.config.get("use_rslora") or adapter.has_pattern(module)):
            raise NotStreamed(module)  # peft fuses the experts' ranks, and so changes what they count
        rounded = bool(expert) or (self.names.has_experts and module.endswith(_ROUTERS))
        bare = tuple(f".{name}" for name in adapter.config.get("target_parameters") or ())
        rounded = rounded or f".{module}.weight".endswith(bare)
        magnitude = parts.get("lora_magnitude_vector")
        if adapter.dora != (magnitude is not None) or (adapter.dora and rounded):
            raise NotStreamed(module)
        if magnitude is not None and magnitude.stored.size != tensor.rows:
            raise NotStreamed(f"{module}: {list(magnitude.stored.shape)}")
        left, right = b, a
        if module.rsplit(".", 1)[-1] in _CONV1D.get(self.model_type, ()):
            if adapter.dora:
                raise NotStreamed(module)
            left, right = _turned(a), _turned(b)
        self._fits(tensor.name, tensor.shape, (left.stored.shape[0], right.stored.shape[1]))
        scale = adapter.scale(module, a.stored.shape[0])
        change = LowRank(left, right, scale, rounded, magnitude)
        self._low(tensor, 0, tensor.rows, change, adapter, is_head(module))
        if "lora_B.bias" in parts:
            bias = self.names.find(f"{module}.bias")
            if bias is None:
                raise NotStreamed(f"{module}.bias")
            self._fits(bias.tensor.name, bias.tensor.shape, parts["lora_B.bias"].stored.shape)
            self.biases[bias.tensor.name] = AddBias(parts["lora_B.bias"], scale)

    def _embedding(self, adapter: Adapter, module: str, a: Matrix, b: Matrix) -> None:
        tensor = self._place(f"{module}.weight").tensor
        if self.names.tied:
            self._share(adapter, module)
        left, right = _turned(a), _turned(b)
        self._fits(tensor.name, tensor.shape, (left.stored.shape[0], right.stored.shape[1]))
        change = LowRank(left, right, adapter.scale(module, a.stored.shape[0]), rounded=True)
        self._low(tensor, 0, tensor.rows, change, adapter, head=False)

    def _parameter(self, adapter: Adapter, module: str, a: Matrix, b: Matrix) -> None:
        """A bare parameter of `module`, mostly that of all experts of a layer. Which one, only the shapes tell."""
        if adapter.dora:
            raise NotStreamed(module)
        fitting = [
            found
            for name in adapter.parameters
            if (found := self._as_parameter(adapter, module, name, a, b)) is not None
        ]
        if len(fitting) != 1:
            raise NotStreamed(module)
        for tensor, first, last, change in fitting[0]:
            self._low(tensor, first, last, change, adapter, head=False)

    def _as_parameter(
        self, adapter: Adapter, module: str, name: str, a: Matrix, b: Matrix
    ) -> list[tuple[Tensor, int, int, LowRank]] | None:
        """The changes if a and b belong to `module.name`; None when their shapes say that they do not."""
        inner, outer = a.stored.shape[1], b.stored.shape[0]
        fused = self.names.find(f"{module}.{name}")
        if fused is not None and len(fused.tensor.shape) == 3:
            experts, rows, columns = fused.tensor.shape
            if (rows, columns) not in ((outer, inner), (inner, outer)) or a.stored.shape[0] % experts:
                return None
            if rows == columns:
                raise NotStreamed(f"{module}.{name}")  # which way round it stands can't be seen
            each = _by_expert(adapter, f"{module}.{name}", a, b, experts)
            if (rows, columns) == (inner, outer):
                each = [LowRank(_turned(one.right), _turned(one.left), one.scale, True) for one in each]
            return [(fused.tensor, number * rows, (number + 1) * rows, one) for number, one in enumerate(each)]
        split = self.names.experts(module, name)
        if not split or a.stored.shape[0] % len(split):
            return None
        if any(sum(one.rows for one in tensors) != outer for tensors in split):
            return None
        if any(one.columns != inner for tensors in split for one in tensors):
            return None
        found = []
        for tensors, whole in zip(split, _by_expert(adapter, f"{module}.{name}", a, b, len(split)), strict=True):
            first = 0
            for tensor in tensors:
                left = Matrix(whole.left.stored[first : first + tensor.rows], whole.left.dtype)
                found.append((tensor, 0, tensor.rows, LowRank(left, whole.right, whole.scale, True)))
                first += tensor.rows
        return found

    # --- what all have in common ---------------------------------------------------------------------------------

    def _low(self, tensor: Tensor, first: int, last: int, change: LowRank, adapter: Adapter, head: bool) -> None:
        self._floats(tensor)
        by_head = self.low.setdefault((tensor.name, first, last), {})
        by_head.setdefault(head, []).append((change, adapter.weight))

    def _share(self, adapter: Adapter, module: str) -> None:
        if not adapter.config.get("ensure_weight_tying"):
            self.shared = self.shared or module

    def _place(self, name: str) -> Place:
        place = self.names.find(name)
        if place is None and is_head(name.rsplit(".", 1)[0]) and self.names.tied:
            place = self.names.embedding
        if place is None:
            raise NotStreamed(name)
        return place

    @staticmethod
    def _floats(tensor: Tensor) -> None:
        if tensor.dtype not in WIDTH:
            raise NotStreamed(f"{tensor.name}: {tensor.dtype}")

    @staticmethod
    def _fits(name: str, base: tuple[int, ...], adapter: tuple[int, ...]) -> None:
        if base != adapter:
            raise ApplianceError(
                _("The adapter does not fit this base model."),
                _("{name} is {shape} in the base and {other} in the adapter.").format(
                    name=name, shape=list(base), other=list(adapter)
                ),
                _("Name the model that it was trained on with --base."),
            )


def _turned(matrix: Matrix) -> Matrix:
    return Matrix(matrix.stored.T, matrix.dtype)


def _by_expert(adapter: Adapter, key: str, a: Matrix, b: Matrix, experts: int) -> list[LowRank]:
    """peft's lora_A is (experts · rank, in), lora_B (out, rank · experts) with the experts innermost."""
    rank = a.stored.shape[0] // experts
    if b.stored.shape[1] != rank * experts:
        raise NotStreamed(key)
    scale = adapter.scale(key, rank)
    lefts = b.stored.reshape(b.stored.shape[0], rank, experts)
    return [
        LowRank(
            Matrix(lefts[:, :, number], b.dtype),
            Matrix(a.stored[number * rank : (number + 1) * rank], a.dtype),
            scale,
            rounded=True,
        )
        for number in range(experts)
    ]
