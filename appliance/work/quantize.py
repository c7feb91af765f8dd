"""The quantize job: a model → the same one in 8 or 4 bits, which stands at its place whole, measured, or not at all.

In the environment `quantize`: llm-compressor writes compressed-tensors, bitsandbytes its own 4 bits. The result is
loaded again from the disk and measured on rows that it was not calibrated on. What has lost more than 5 % waits
hidden, finished, until a person says that it is all right.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from appliance import files, output
from appliance.errors import ApplianceError
from appliance.hardware import cpu
from appliance.hub import manifest
from appliance.hub import model as models
from appliance.jobs.prepare.quantize import ACCEPTED, MEASURED
from appliance.locale import _
from appliance.merging.journal import staging_folder
from appliance.planning.quantising import NAMES
from appliance.work import checkpoints, loading, perplexity
from appliance.work.carry import carry_over
from appliance.work.context import Context

_SPARE_BYTES = 64 * 2**20


def run(context: Context) -> dict[str, Any]:
    """Spec: model, to (folders), name, most_lost, accept_loss, data. The plan says scheme, group, samples, length."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    if not context.cards:  # cards belong to jobs that lock them
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    model, to = Path(context.spec["model"]), Path(context.spec["to"])
    if to.exists():
        written = manifest.read(to) or {}
        if written.get("reference") == context.id:  # finished, but killed before it could say so
            return _result(context, to, written.get("quantize") or {})
        raise _taken(to)
    staging = staging_folder(to, context.id)
    measured = _finished_before(staging)
    if measured is None:
        try:
            measured = _quantised(model, staging, context)
        except BaseException:
            # Nothing of it can be gone on with.
            shutil.rmtree(staging, ignore_errors=True)
            raise
    _accepted(measured, context)
    _appear(staging, to, measured, context)
    return _result(context, to, measured)


def _finished_before(staging: Path) -> dict[str, Any] | None:
    """What an earlier attempt has finished and measured; None where it has not, or where files are not as they were."""
    try:
        measured: dict[str, Any] = files.read_json(staging / MEASURED)
        if all((staging / name).stat().st_size == entry["size"] for name, entry in measured["files"].items()):
            return measured
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None


def _quantised(model: Path, staging: Path, context: Context) -> dict[str, Any]:
    """Quantise, write, load again and measure. Everything stands in the staging folder then, MEASURED last."""
    plan = context.plan
    _check_room(model, staging, context)
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    context.progress("loading", 0, 1)
    tokenizer = loading.load_tokenizer(model)
    held, samples, refused = perplexity.examples(tokenizer, context.folder, plan["length"], plan["samples"])
    if refused:
        context.note(_("{n} rows were left out: the model's chat template can't write them.").format(n=refused))
    config = files.read_json(model / "config.json")
    original = _load(model, config, plan["measure_on"])
    context.progress("loading", 1, 1)
    before = _measured(original, held, context, "measuring")
    began = time.time()
    with checkpoints.full_disk_told(staging):
        if plan["scheme"] == "bnb4":
            del original
            _give_back()
            original = _load_in_4_bits(model, config, plan["measure_on"], context)
        else:
            _compress(original, tokenizer, samples, context)
        context.progress("saving", 0, 1)
        _save(original, model, staging)
    seconds = time.time() - began
    del original
    _give_back()
    carry_over(model, staging, keep={path.name for path in staging.iterdir()})
    context.progress("saving", 1, 1)
    again = _load(staging, files.read_json(staging / "config.json"), plan["measure_on"])
    after = _measured(again, held, context, "measuring_again")
    del again
    _give_back()
    loss = after / before - 1
    measured = {
        "scheme": plan["scheme"],
        "name": NAMES[plan["scheme"]],
        "group": plan["group"],
        "samples": len(samples),
        "perplexity": {"before": round(before, 4), "after": round(after, 4), "loss": round(loss, 5), "rows": len(held)},
        "size": {"before": _weights(model), "after": _weights(staging)},
        "seconds_quantising": round(seconds, 1),
        "sentence": _sentence(before, after, len(held)),
        "files": _synced(staging),
    }
    files.write_json(staging / MEASURED, measured)
    context.metric(perplexity_before=round(before, 4), perplexity_after=round(after, 4))
    return measured


def _sentence(before: float, after: float, count: int) -> str:
    worse = 100 * (after / before - 1)
    values = {"before": f"{before:.3f}", "after": f"{after:.3f}", "rows": count, "share": f"{abs(worse):.1f} %"}
    if worse > 0:
        return _(
            "Perplexity on {rows} rows that it was not calibrated on: {before} before, {after} after ({share} worse)."
        ).format(**values)
    return _(
        "Perplexity on {rows} rows that it was not calibrated on: {before} before, {after} after ({share} better)."
    ).format(**values)


# --- before anything is written --------------------------------------------------------------------------------------


def _check_room(model: Path, staging: Path, context: Context) -> None:
    """Raises ApplianceError where the memory or the disk is too small, as things are now."""
    free = cpu.read(Path("/")).free_gib
    if free < context.plan["memory_gib"]:
        raise ApplianceError(
            _("The memory is not enough to quantise this model."),
            _("It takes about {needed:.1f} GiB; {free:.1f} are free.").format(
                needed=context.plan["memory_gib"], free=free
            ),
            _("Close other programs, then resume the job (appliance jobs resume ID)."),
        )
    needed = int(context.plan["after_gib"] * 2**30) + _SPARE_BYTES
    staging.parent.mkdir(parents=True, exist_ok=True)
    room = shutil.disk_usage(staging.parent).free
    if room < needed:
        raise ApplianceError(
            _("The disk is full."),
            _("{needed} are needed and {free} are free in {folder}.").format(
                needed=output.size(needed), free=output.size(room), folder=staging.parent
            ),
            _("Free some space (`appliance jobs remove ID` removes finished jobs), then resume the job."),
        )


# --- the model -------------------------------------------------------------------------------------------------------


def _load(folder: Path, config: dict[str, Any], device: str, **options: Any) -> Any:
    """The model in its own 16 bits, or as it is quantised, on `cpu` or on the first card that this job sees."""
    import torch
    from transformers import AutoModelForCausalLM

    named = config.get("dtype") or config.get("torch_dtype") or "bfloat16"
    dtype = torch.bfloat16 if named == "float32" else getattr(torch, str(named))
    if device == "cuda" or "quantization_config" in options or "quantization_config" in config:
        options["device_map"] = {"": 0 if device == "cuda" else "cpu"}
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, local_files_only=True, trust_remote_code=False, use_safetensors=True, **options
        )
    except (ValueError, KeyError, ImportError) as error:
        raise ApplianceError(
            _("The model in {folder} can't be loaded for quantising.").format(folder=folder),
            str(error).strip().split("\n")[0],
            _("Its architecture may be newer than the tools. Take a quantised version of it from a hub."),
        ) from error
    return model.eval()


def _load_in_4_bits(folder: Path, config: dict[str, Any], device: str, context: Context) -> Any:
    import torch
    from transformers import BitsAndBytesConfig

    context.progress("quantising", 0, 1)
    packed = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    model = _load(folder, config, device, quantization_config=packed)
    context.progress("quantising", 1, 1)
    return model


def _compress(model: Any, tokenizer: Any, samples: list[perplexity.Example], context: Context) -> None:
    """llm-compressor on the model, in place, layer by layer; on a card where the plan says so."""
    import torch
    from llmcompressor import oneshot
    from torch.utils.data import DataLoader

    if context.plan["device"] == "cpu" or not torch.accelerator.is_available():
        _stay_on_the_processor()
    model.to("cpu")  # from there it takes a layer at a time to the card
    loader: Any = None
    if samples:
        given = [
            {"input_ids": torch.tensor(ids), "attention_mask": torch.ones(len(ids), dtype=torch.long)}
            for ids, _l in samples
        ]
        loader = DataLoader(given, batch_size=1)  # type: ignore[arg-type]
    try:
        with _layers_told(model, len(samples), context):
            oneshot(
                model=model,
                processor=tokenizer,
                recipe=_recipe(context.plan),
                dataset=loader,
                num_calibration_samples=len(samples),
                max_seq_length=context.plan["length"],
                pipeline="sequential" if samples else "datafree",
            )
    except ValueError as error:  # how llm-compressor refuses a model; anything else is a fault and told as one
        raise ApplianceError(
            _("{scheme} can't be done with this model.").format(scheme=NAMES[context.plan["scheme"]]),
            str(error).strip().split("\n")[0],
            _("Try another scheme: --scheme fp8 works with most models."),
        ) from error


def _stay_on_the_processor() -> None:
    """llm-compressor takes any card that it sees, and without one its AWQ stops at memory that only a card needs."""
    import torch
    from llmcompressor.pipelines import cache
    from llmcompressor.pipelines.data_free import pipeline as without_rows
    from llmcompressor.pipelines.sequential import pipeline as with_rows

    cache.IntermediatesCache.pin_memory = lambda *_words, **_options: None
    for pipeline in (without_rows, with_rows):
        pipeline.get_main_device = lambda: torch.device("cpu")


def _recipe(plan: dict[str, Any]) -> list[Any]:
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme, QuantizationStrategy
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

    # The head chooses words: in few bits it costs the most and gains little.
    ignore = ["re:.*lm_head"]
    scheme = plan["scheme"]
    if scheme == "fp8":
        return [QuantizationModifier(targets=["Linear"], scheme="FP8_DYNAMIC", ignore=ignore)]
    if scheme == "int8":
        return [
            SmoothQuantModifier(smoothing_strength=0.8),
            GPTQModifier(targets=["Linear"], scheme="W8A8", ignore=ignore),
        ]
    # Symmetric for AWQ, too: transformers 5.23 does not load packed zero points.
    weights = QuantizationArgs(
        num_bits=4,
        type="int",
        symmetric=True,
        strategy=QuantizationStrategy.GROUP,
        group_size=plan["group"],
    )
    groups = {"group_0": QuantizationScheme(targets=["Linear"], weights=weights)}
    if scheme == "gptq":
        return [GPTQModifier(config_groups=groups, ignore=ignore)]
    return [AWQModifier(duo_scaling=True), QuantizationModifier(config_groups=groups, ignore=ignore)]


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
    """The decoder's layers: the longest list of equal modules."""
    import torch

    lists = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    return max((list(one) for one in lists), key=len, default=[])


def _save(model: Any, original: Path, staging: Path) -> None:
    from transformers import GenerationConfig

    # The original's own comes along as it is; saving would refuse one that holds a contradiction.
    model.generation_config = GenerationConfig()
    largest = max(path.stat().st_size for path in original.glob("*.safetensors"))
    model.save_pretrained(staging, max_shard_size=max(largest, 2**20))
    for name in ("generation_config.json", "recipe.yaml"):
        (staging / name).unlink(missing_ok=True)


def _give_back() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _measured(model: Any, held: list[perplexity.Example], context: Context, phase: str) -> float:
    def told(count: int) -> None:
        context.check_stopped()
        context.progress(phase, count, len(held), "rows")

    context.progress(phase, 0, len(held), "rows")
    found = perplexity.measure(model, held, told)
    if found == float("inf") and phase == "measuring":
        raise ApplianceError(
            _("The model's own answers come out as no numbers."),
            _("In the 16 bits that it is quantised from, its perplexity on your rows is not finite."),
            _("Verify it (appliance models verify NAME), or take another model."),
        )
    if found == float("inf"):
        raise ApplianceError(
            _("The quantised model's answers come out as no numbers."),
            _("The original's do not, so this scheme does not suit this model."),
            _("Try another scheme: --scheme fp8 works with most models."),
        )
    return found


# --- afterwards ------------------------------------------------------------------------------------------------------


def _accepted(measured: dict[str, Any], context: Context) -> None:
    """Tell what was lost. Raises ApplianceError where it is too much and nobody has said that it is all right."""
    if measured["perplexity"]["loss"] <= context.spec["most_lost"]:
        context.note(measured["sentence"])
        return
    if not context.spec.get("accept_loss") and not (context.folder / ACCEPTED).is_file():
        raise ApplianceError(
            _("The quantised model has lost too much to be called good."),
            measured["sentence"],
            _(
                "Keep it all the same: appliance jobs resume {id} --accept-loss   Or quantise with a finer --scheme "
                "(fp8, int8), or with more rows; appliance jobs remove {id} takes it away."
            ).format(id=context.id),
        )
    context.warn(measured["sentence"] + " " + _("You accepted that."))


def _appear(staging: Path, to: Path, measured: dict[str, Any], context: Context) -> None:
    """The manifest, then the name."""
    models.inspect(staging)
    (staging / MEASURED).unlink(missing_ok=True)
    kept = {name: value for name, value in measured.items() if name != "files"}
    hashes = {name: entry["sha256"] for name, entry in measured["files"].items()}
    manifest.write(
        staging, source="quantize", reference=context.id, revision=None, hashes=hashes, more={"quantize": kept}
    )
    try:
        os.rename(staging, to)
    except OSError as error:
        raise (_taken(to) if to.exists() else error) from error
    files.sync_folder(to.parent)


def _synced(folder: Path) -> dict[str, dict[str, Any]]:
    """Every file on the disk, with its size and sha256."""
    found = {}
    for path in sorted(folder.iterdir()):
        path.chmod(0o644)  # safetensors writes 0600
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        found[path.name] = {"size": path.stat().st_size, "sha256": files.sha256(path)}
    files.sync_folder(folder)
    return found


def _weights(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def _taken(to: Path) -> ApplianceError:
    return ApplianceError(
        _("{folder} is there already.").format(folder=to),
        _("Quantising never writes over anything."),
        _("Choose another name with --to, or remove that folder first."),
    )


def _result(context: Context, to: Path, measured: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": str(to),
        "name": context.spec["name"],
        "original": context.spec["model"],
        **{key: measured.get(key) for key in ("scheme", "group", "samples", "perplexity", "size", "sentence")},
        "accepted": (context.folder / ACCEPTED).is_file() or bool(context.spec.get("accept_loss")),
        "files": (manifest.read(to) or {}).get("files"),
        "quantised": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
