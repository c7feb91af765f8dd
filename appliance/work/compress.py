"""A model in fewer bits: llm-compressor's schemes and bitsandbytes, on the model in memory.

Runs in the environment `quantize`. Nothing here is known to the front.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from appliance import files
from appliance.errors import ApplianceError
from appliance.locale import _
from appliance.merging import weights
from appliance.planning.quantising import NAMES
from appliance.work import perplexity, seeing, smoothing
from appliance.work.context import Context
from appliance.work.seeing import Seer


def load(folder: Path, config: dict[str, Any], device: str, sees: bool, **options: Any) -> Any:
    """The model in its own 16 bits, or as it is quantised, on `cpu` or on the first card that this job sees."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    text = config.get("text_config") or {}
    named = config.get("dtype") or config.get("torch_dtype") or text.get("dtype") or text.get("torch_dtype")
    dtype = torch.bfloat16 if named in (None, "float32") else getattr(torch, str(named))
    if device == "cuda" or "quantization_config" in options or "quantization_config" in config:
        options["device_map"] = {"": 0 if device == "cuda" else "cpu"}
    kind = AutoModelForImageTextToText if sees else AutoModelForCausalLM
    try:
        model = kind.from_pretrained(
            folder, dtype=dtype, local_files_only=True, trust_remote_code=False, use_safetensors=True, **options
        )
    except (ValueError, KeyError, ImportError) as error:
        raise ApplianceError(
            _("The model in {folder} can't be loaded for quantising.").format(folder=folder),
            str(error).strip().split("\n")[0],
            _("Its architecture may be newer than the tools. Take a quantised version of it from a hub."),
        ) from error
    return model.eval()


def load_in_4_bits(folder: Path, config: dict[str, Any], device: str, sees: bool, context: Context) -> Any:
    """The model with its linear layers packed by bitsandbytes; the head, and what sees, stay as they are."""
    import torch
    from transformers import BitsAndBytesConfig

    context.progress("quantising", 0, 1)
    packed = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=seeing.not_packed(folder) if sees else None,
    )
    model = load(folder, config, device, sees, quantization_config=packed)
    context.progress("quantising", 1, 1)
    return model


def compress(
    model: Any,
    original: Path,
    tokenizer: Any,
    samples: list[perplexity.Example],
    context: Context,
    seer: Seer | None = None,
) -> None:
    """llm-compressor on the model, in place, layer by layer; on a card where the plan says so.

    seer  of a model that sees: its tower stays as it is
    """
    import torch
    from llmcompressor import oneshot
    from torch.utils.data import DataLoader

    if context.plan["device"] == "cpu" or not torch.accelerator.is_available():
        _stay_on_the_processor()
    model.to("cpu")  # from there it takes a layer at a time to the card
    _take_experts_apart(model, original)
    loader: Any = None
    if samples:
        loader = DataLoader(samples, batch_size=1, collate_fn=lambda one: perplexity.inputs(one[0], seer))  # type: ignore[arg-type]
    try:
        with _layers_told(model, len(samples), context):
            oneshot(
                model=model,
                processor=tokenizer,
                recipe=_recipe(model, context.plan, perplexity.inputs(samples[0], seer) if samples else {}, seer),
                dataset=loader,
                num_calibration_samples=len(samples),
                max_seq_length=context.plan["length"],
                pipeline="sequential" if samples else "datafree",
            )
    except ValueError as error:  # how llm-compressor refuses a model; anything else is a fault and told as one
        raise _refused(context.plan["scheme"], str(error).strip().split("\n")[0]) from error
    if not any(getattr(module, "quantization_scheme", None) for module in model.modules()):
        raise _refused(context.plan["scheme"], _("None of its layers was of a kind that it knows."))


def _refused(scheme: str, why: str) -> ApplianceError:
    return ApplianceError(
        _("{scheme} can't be done with this model.").format(scheme=NAMES[scheme]),
        why,
        _("Try another scheme: --scheme fp8 works with most models.")
        if scheme != "fp8"
        else _("Try another scheme: --scheme bnb4 works with most models."),
    )


def _take_experts_apart(model: Any, original: Path) -> None:
    """Each expert as linear layers of its own, which is how servers read quantised ones.

    Raises ApplianceError where that is not known for this model, or where its files call them otherwise: a server would
    look for the names that the original has.
    """
    from llmcompressor.modeling.moe.linearize import get_linearized_moes, linearize_moe

    def refused(why: str) -> ApplianceError:
        return ApplianceError(
            _("The experts of this model can't be quantised."),
            why,
            _("Download a quantised version of it from a hub, such as one with FP8 in its name."),
        )

    linearize_moe(model)
    left = [name for name, weight in model.named_parameters() if ".experts." in name and weight.dim() > 2]
    if left:
        raise refused(_("It is not known how {name} is taken apart.").format(name=left[0]))
    known = {tensor.name for path in original.glob("*.safetensors") for tensor in weights.read(path).tensors}
    for name, experts in get_linearized_moes(model):
        others = [f"{name}.{part}" for part, _values in experts.named_parameters() if f"{name}.{part}" not in known]
        if others:
            raise refused(_("Its files have no {name}.").format(name=others[0]))


def _stay_on_the_processor() -> None:
    """llm-compressor takes any card that it sees, and without one its AWQ stops at memory that only a card needs."""
    import torch
    from llmcompressor.pipelines import cache
    from llmcompressor.pipelines.data_free import pipeline as without_rows
    from llmcompressor.pipelines.sequential import pipeline as with_rows

    cache.IntermediatesCache.pin_memory = lambda *_words, **_options: None
    for pipeline in (without_rows, with_rows):
        pipeline.get_main_device = lambda: torch.device("cpu")


def _recipe(model: Any, plan: dict[str, Any], inputs: dict[str, Any], seer: Seer | None) -> list[Any]:
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme, QuantizationStrategy
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQMapping, AWQModifier
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

    # The head chooses words, a router experts: in few bits they cost the most and gain little.
    ignore = ["re:.*lm_head", r"re:.*\.(gate|router|shared_expert_gate)$", *(_tower(model) if seer else [])]
    scheme = plan["scheme"]
    if scheme == "fp8":
        return [QuantizationModifier(targets=["Linear"], scheme="FP8_DYNAMIC", ignore=ignore)]
    name, part = seeing.language_part(model)
    if scheme == "int8":
        read = [(readers, norm) for norm, readers in smoothing.pairs(part, name, model, inputs)]
        smooth = [SmoothQuantModifier(smoothing_strength=0.8, mappings=read)] if read else []
        return [*smooth, GPTQModifier(targets=["Linear"], scheme="W8A8", ignore=ignore)]
    # Symmetric for AWQ, too: transformers 5.23 does not load packed zero points.
    packed = QuantizationArgs(
        num_bits=4,
        type="int",
        symmetric=True,
        strategy=QuantizationStrategy.GROUP,
        group_size=plan["group"],
    )
    groups = {"group_0": QuantizationScheme(targets=["Linear"], weights=packed)}
    if scheme == "gptq":
        return [GPTQModifier(config_groups=groups, ignore=ignore)]
    spared = [*smoothing.pairs(part, name, model, inputs), *smoothing.inner(part, name)]
    if not spared:
        raise ValueError(_("No layer of it stands behind another one that its scales could go to."))
    awq = AWQModifier(duo_scaling=True, mappings=[AWQMapping(first, readers) for first, readers in spared])
    return [awq, QuantizationModifier(config_groups=groups, ignore=ignore)]


def _tower(model: Any) -> list[str]:
    """Patterns for everything beside the language part, under whatever wrappers its names stand in the files."""
    return [rf"re:(.*\.)?{name.rpartition('.')[2]}\..*" for name in seeing.outside(model)]


@contextlib.contextmanager
def _layers_told(model: Any, samples: int, context: Context) -> Iterator[None]:
    """Inside, each row that passes through a layer is told: every layer sees every row twice."""
    layers = _layers(model)
    total, handles, seen = len(layers), [], [0] * len(layers)

    def hook(number: int) -> Any:
        def told(*_words: Any) -> None:
            context.check_stopped()
            seen[number] += 1
            context.progress("quantising", number + min(1.0, seen[number] / (2 * samples)), total, "layers")

        return told

    context.progress("quantising", 0, total, "layers")
    if samples:
        handles = [layer.register_forward_hook(hook(number)) for number, layer in enumerate(layers)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    context.progress("quantising", total, total, "layers")


def _layers(model: Any) -> list[Any]:
    """The decoder's layers: the longest list of equal modules in the part that reads and writes words."""
    import torch

    _name, part = seeing.language_part(model)
    lists = [module for module in part.modules() if isinstance(module, torch.nn.ModuleList)]
    return max((list(one) for one in lists), key=len, default=[])


def save(model: Any, original: Path, staging: Path, sees: bool) -> None:
    """The quantised model as transformers and servers load it."""
    from transformers import GenerationConfig

    # The original's own comes along as it is; saving would refuse one that holds a contradiction.
    model.generation_config = GenerationConfig()
    largest = max(path.stat().st_size for path in original.glob("*.safetensors"))
    model.save_pretrained(staging, max_shard_size=max(largest, 2**20))
    for name in ("generation_config.json", "recipe.yaml"):
        (staging / name).unlink(missing_ok=True)
    if sees:
        # The names of what was left alone are those in the files here; who loads it may call them otherwise.
        config = files.read_json(staging / "config.json")
        packed = config["quantization_config"]
        if packed["quant_method"] == "compressed-tensors":
            packed["ignore"] = [*packed["ignore"], *_tower(model)]
            files.write_json(staging / "config.json", config)
