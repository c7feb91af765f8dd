"""A model's shape from its config.json, and exact counts from its safetensors headers where they are there."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.errors import ApplianceError
from appliance.locale import _
from appliance.planning.families import Latent, traits

_CONFIG_LIMIT = 16 * 2**20
_HEADER_LIMIT = 100 * 2**20  # the limit of the safetensors format itself
_FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}
# The linear layers of a decoder layer, by role.
MODULES = ("q", "k", "v", "o", "gate", "up", "down")
# What other families call the same thing.
_NAMES = {
    "layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "heads": ("num_attention_heads", "n_head", "n_heads"),
    "vocab": ("vocab_size", "padded_vocab_size"),
}


@dataclass(frozen=True)
class Shape:
    """Everything that the estimate needs to know of a model. Counts are plain numbers, not millions."""

    model_type: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    tied: bool
    max_positions: int | None = None
    mlp_matrices: int = 3  # 3: gate, up and down; 2: up and down (GPT-2, Phi-2)
    experts: int = 0
    experts_per_token: int = 0
    expert_intermediate: int = 0
    shared_intermediate: int = 0
    dense_layers: int = 0  # layers of a mixture of experts that have an ordinary MLP
    dtype: str = "bfloat16"
    quantised: str | None = None
    quantised_bits: int = 0
    vision: bool = False
    vision_parameters: int = 0
    qk_norm: bool = False
    own_scores: bool = False  # attention scores are capped or biased, which fused kernels do not do
    norms: int = 2  # of the hidden width, in a layer
    float_norms: bool = False  # multiplied with their weight in float32
    fused_qkv: bool = False  # one matrix for queries, keys and values
    fused_mlp: bool = False  # one matrix for gate and up
    window: int = 0  # how many tokens back some layers look; 0: to the start
    windowed: int = 0  # layers that do so
    latent: Latent | None = None
    value_dim: int | None = None  # of a head's values, where it is not head_dim
    counted: int | None = None  # from the safetensors headers

    @property
    def attention_width(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Width of all key heads (as of all value heads) together."""
        return self.kv_heads * self.head_dim

    @property
    def value_width(self) -> int:
        """Width of what attention puts out, all heads together."""
        return self.heads * (self.value_dim or self.head_dim)

    @property
    def cached_width(self) -> int:
        """Numbers that a server keeps for a token in a layer: keys and values, or what they are made of."""
        return self.latent.keys + self.latent.rotated if self.latent else 2 * self.kv_width

    def cached(self, length: int) -> int:
        """Numbers that a server keeps for a conversation of that length, all layers together."""
        near = min(length, self.window) if self.windowed else 0
        return self.cached_width * ((self.layers - self.windowed) * length + self.windowed * near)

    @property
    def moe_layers(self) -> int:
        """Layers whose MLP is a mixture of experts."""
        return self.layers - self.dense_layers if self.experts else 0

    def mlp_shapes(self, width: int) -> list[tuple[int, int]]:
        """(in, out) of an MLP of that width."""
        return [(self.hidden, width)] * (self.mlp_matrices - 1) + [(width, self.hidden)] if width else []

    @property
    def linear_matrices(self) -> list[tuple[int, int, int]]:
        """(in, out, how many) of the linear layers: what LoRA's "all-linear" adapts and what 4 bits reach.

        Not the experts: transformers 5 keeps them as one 3-dimensional parameter a layer, which is no linear layer.
        """
        return [one for matrices in self.named_matrices.values() for one in matrices]

    @property
    def largest_matrix(self) -> int:
        """Weights in the largest of them."""
        return max((a * b for a, b, _n in self.linear_matrices), default=0)

    @property
    def linear_parameters(self) -> int:
        """Parameters in those linear layers."""
        return sum(a * b * n for a, b, n in self.linear_matrices)

    @property
    def expert_parameters(self) -> int:
        """Parameters of all experts and their routers; all of them are loaded."""
        each = sum(a * b for a, b in self.mlp_shapes(self.expert_intermediate))
        return self.moe_layers * (self.experts * each + self.hidden * self.experts)

    @property
    def embedding_parameters(self) -> int:
        """Input embeddings, and the output head where it is not the same matrix."""
        return self.vocab * self.hidden * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        """All parameters: counted in the files where possible, else from the formula (norms included)."""
        norms = (2 * self.layers + 1) * self.hidden
        parts = self.linear_parameters + self.expert_parameters + self.embedding_parameters + norms
        return self.counted or parts + self.vision_parameters

    @property
    def named_matrices(self) -> dict[str, list[tuple[int, int, int]]]:
        """The linear layers by role (MODULES): (in, out, how many) each; a role may have several shapes."""
        hidden, wide, kv = self.hidden, self.attention_width, self.kv_width
        if self.latent:
            narrow, keys = self.latent.queries, self.latent.keys
            queries = [(hidden, narrow), (narrow, wide)] if narrow else [(hidden, wide)]
            attention = {
                "q": queries,
                "k": [(hidden, keys + self.latent.rotated)],
                "v": [(keys, self.heads * self.latent.plain + self.value_width)],
            }
        elif self.fused_qkv:
            attention = {"q": [(hidden, wide + 2 * kv)], "k": [], "v": []}
        else:
            attention = {"q": [(hidden, wide)], "k": [(hidden, kv)], "v": [(hidden, kv)]}
        attention["o"] = [(self.value_width, hidden)]
        named = {role: [(a, b, self.layers) for a, b in matrices] for role, matrices in attention.items()}
        both = ((self.intermediate, self.layers - self.moe_layers), (self.shared_intermediate, self.moe_layers))
        mlps = [(width, count) for width, count in both if width and count]
        fused = self.fused_mlp and self.mlp_matrices == 3
        gated = [(hidden, 2 * width if fused else width, n) for width, n in mlps]
        named["gate"] = gated if self.mlp_matrices == 3 else []
        named["up"] = [] if fused else gated
        named["down"] = [(width, hidden, n) for width, n in mlps]
        return named

    def lora_parameters(self, rank: int, targets: tuple[str, ...] | None = None) -> int:
        """Parameters of a LoRA adapter: rank × (in + out) of each adapted matrix (Hu et al. 2021).

        targets  roles of MODULES, and "head" for the output head; None: every linear layer but the head
        """
        matrices = self.named_matrices | {"head": [(self.hidden, self.vocab, 1)]}
        chosen = MODULES if targets is None else targets
        return rank * sum((a + b) * n for name in chosen for a, b, n in matrices[name])

    @property
    def active_parameters(self) -> int:
        """Parameters that one token passes through, without the input embeddings: for the time a step takes."""
        each = sum(a * b for a, b in self.mlp_shapes(self.expert_intermediate))
        return self.linear_parameters + self.moe_layers * self.experts_per_token * each + self.vocab * self.hidden


def read_shape(folder: Path) -> Shape:
    """The shape of the model in a folder that has a config.json; weights may be missing.

    Raises ApplianceError when config.json is missing, unreadable or incomplete (every problem at once), or when a
    weights file is not what it says.
    """
    config = _read_config(folder / "config.json")
    shape = _from_config(config, folder)
    tensors = _tensors(folder)
    if not tensors:
        return shape
    values: dict[str, Any] = dict(vars(shape))
    if not shape.quantised:  # packed weights have fewer elements than the model has parameters
        values["counted"] = sum(count for _name, _kind, count in tensors)
    sizes: dict[str, int] = {}
    for _name, kind, count in tensors:
        sizes[kind] = sizes.get(kind, 0) + count
    most = max(sizes, key=lambda kind: sizes[kind])
    values["dtype"] = _DTYPES.get(most, shape.dtype)
    if not any(name.endswith(("lm_head.weight", "output_layer.weight", "output.weight")) for name, _k, _c in tensors):
        values["tied"] = True
    return Shape(**values)


def _invalid(folder: Path, why: str, problems: list[str] | None = None) -> ApplianceError:
    return ApplianceError(
        _("{folder} does not hold a usable model.").format(folder=folder),
        why,
        _("Download the model again, or choose another folder: one with config.json and *.safetensors files."),
        problems or (),
    )


def _read_config(path: Path) -> dict[str, Any]:
    folder = path.parent
    if not path.is_file():
        raise _invalid(folder, _("There is no config.json in it."))
    if path.stat().st_size > _CONFIG_LIMIT:
        raise _invalid(folder, _("Its config.json is far too large to be one."))
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise _invalid(folder, _("Its config.json is not JSON: {error}.").format(error=error)) from error
    if not isinstance(value, dict):
        raise _invalid(folder, _("Its config.json is not a JSON object."))
    return value


def _from_config(config: dict[str, Any], folder: Path) -> Shape:
    # Models that see keep the language model's figures one level down.
    nested: dict[str, Any] = next(
        (config[n] for n in ("text_config", "llm_config") if isinstance(config.get(n), dict)), {}
    )
    text = {**config, **nested}
    problems: list[str] = []

    def whole(names: tuple[str, ...], default: int | None = None, least: int = 1) -> int:
        key = next((name for name in names if text.get(name) is not None), None)
        value = text[key] if key else default
        if value is None:
            problems.append(_("{name} is missing").format(name=names[0]))
            return 1
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 10**7:
            problems.append(_("{name} is not a sensible number: {value}").format(name=key, value=str(value)[:40]))
            return 1
        return value

    hidden, heads = whole(_NAMES["hidden"]), whole(_NAMES["heads"])
    model_type = str(text.get("model_type") or config.get("model_type") or "")
    experts = whole(("num_experts", "num_local_experts", "n_routed_experts"), 0, 0)
    experts = experts if experts > 1 else 0
    intermediate = whole(("intermediate_size", "n_inner", "ffn_hidden_size", "ffn_dim"), 4 * hidden)
    if model_type == "qwen":  # the first Qwen counts gate and up together
        intermediate //= 2
    expert_width = whole(("moe_intermediate_size", "intermediate_size"), intermediate) if experts else 0
    shared = whole(("shared_expert_intermediate_size",), 0, 0) if experts else 0
    shared = shared or (whole(("n_shared_experts",), 0, 0) * expert_width if experts else 0)
    grouped = text.get("multi_query_group_num") if text.get("multi_query_attention") else None
    vision = isinstance(config.get("vision_config"), dict)
    quantisation = config.get("quantization_config") or text.get("quantization_config")
    layers = whole(_NAMES["layers"])
    family = traits(model_type, text, layers)
    latent: Latent | None = family["latent"]
    shape = Shape(
        model_type=model_type,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=grouped if isinstance(grouped, int) else whole(("num_key_value_heads", "num_kv_heads"), heads),
        head_dim=latent.plain + latent.rotated
        if latent
        else whole(("head_dim", "kv_channels"), max(1, hidden // heads)),
        intermediate=intermediate,
        vocab=whole(_NAMES["vocab"]),
        max_positions=whole(("max_position_embeddings", "n_positions", "seq_length"), 0, 0) or None,
        experts=experts,
        experts_per_token=whole(("num_experts_per_tok", "moe_topk", "top_k_experts", "experts_per_token"), 1)
        if experts
        else 0,
        expert_intermediate=expert_width,
        shared_intermediate=shared,
        dense_layers=min(layers, whole(("first_k_dense_replace",), 0, 0)) if experts else 0,
        dtype=str(text.get("dtype") or text.get("torch_dtype") or config.get("torch_dtype") or "bfloat16"),
        quantised=str(quantisation.get("quant_method") or "yes") if isinstance(quantisation, dict) else None,
        quantised_bits=_bits(quantisation) if isinstance(quantisation, dict) else 0,
        vision=vision,
        vision_parameters=_vision_parameters(config["vision_config"]) if vision else 0,
        value_dim=whole(("v_head_dim",), 0, 0) or None,
        **family,
    )
    if problems:
        raise _invalid(folder, _("Its config.json is incomplete or wrong."), problems)
    return shape


def _bits(quantisation: dict[str, Any]) -> int:
    """Bits of the packed weights: 4 unless the configuration says 8 in one of the usual ways."""
    bits = quantisation.get("bits") or quantisation.get("w_bit")
    eight = bits == 8 or quantisation.get("load_in_8bit") or quantisation.get("quant_method") in ("fp8", "fbgemm_fp8")
    # compressed-tensors says it for each group of layers
    return 8 if eight or '"num_bits": 8' in json.dumps(quantisation) else 4


def _vision_parameters(config: dict[str, Any]) -> int:
    """A vision transformer's size: 4·h² of attention and 2·h·i of MLP a layer."""

    def number(*names: str) -> int:
        found = next((config[name] for name in names if isinstance(config.get(name), int)), 0)
        return int(found) if 0 < found < 10**6 else 0

    layers, hidden = number("num_hidden_layers", "depth"), number("hidden_size", "embed_dim")
    return layers * (4 * hidden * hidden + 2 * hidden * (number("intermediate_size") or 4 * hidden))


def _tensors(folder: Path) -> list[tuple[str, str, int]]:
    """(name, kind, elements) of every float tensor; empty when there are no weights, or not all of them."""
    files = sorted(folder.glob("*.safetensors"))
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            why = _("Its {name} can't be read: {error}.").format(name=index.name, error=error)
            raise _invalid(folder, why) from error
        files = [file for file in files if file.name in named]
        if len(files) < len(named):
            return []
    return [tensor for file in files if "adapter" not in file.name for tensor in _header(file)]


def _header(path: Path) -> list[tuple[str, str, int]]:
    """One file's header: 8 bytes of length (little endian), then JSON; then the data, whose size must agree."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if not 2 <= length <= min(_HEADER_LIMIT, size - 8):
                raise ValueError(_("its header's length is impossible; it is cut off or no safetensors file"))
            header = json.loads(file.read(length))
        tensors, end = [], 0
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            end = max(end, int(entry["data_offsets"][1]))
            if entry["dtype"] in _FLOATS:
                tensors.append((str(name), str(entry["dtype"]), math.prod(int(n) for n in entry["shape"])))
        if size != 8 + length + end:
            raise ValueError(
                _("it has {size} bytes and should have {wanted}").format(size=size, wanted=8 + length + end)
            )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, struct.error) as error:
        why = _("The weights file {name} can't be read: {error}.").format(name=path.name, error=error)
        raise _invalid(path.parent, why) from error
    return tensors
