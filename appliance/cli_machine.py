"""`probe`, `doctor`, `plan` and `estimate`: what this machine is and what fits on it."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from appliance import cli_words, output, settings
from appliance.cli_words import Json, Lang, Map, ModelName, Sheet, mapping_of, read_json, wish_of
from appliance.jobs import prepare
from appliance.locale import _


def probe(json: Json = False, lang: Lang = None) -> None:
    from appliance.hardware import probe as look
    from appliance.planning.headline import headline
    from appliance.show import hardware

    found = look(settings.home())
    output.answer(found.as_dict(), lambda: hardware(found, headline(found)))


def doctor(json: Json = False, lang: Lang = None) -> None:
    from appliance.hardware.doctor import doctor as examine
    from appliance.show import checks

    found = examine(settings.home())
    value = {"ok": all(check.level != "problem" for check in found), "checks": [check.as_dict() for check in found]}
    output.answer(value, lambda: checks(found))
    raise typer.Exit(0 if value["ok"] else 1)


def plan(
    model: ModelName,
    data: Annotated[Path | None, typer.Option("--data", "-d", help=_("The data file."))] = None,
    hardware: cli_words.Machine = None,
    task: cli_words.Task = "auto",
    method: cli_words.Method = "auto",
    rank: cli_words.Rank = None,
    batch: cli_words.Batch = None,
    length: cli_words.Length = None,
    steps: cli_words.Steps = None,
    epochs: cli_words.Epochs = None,
    learning_rate: cli_words.LearningRate = None,
    gpus: cli_words.Gpus = None,
    sharding: cli_words.Sharding = "auto",
    optimizer: cli_words.Optimizer = "auto",
    packing: cli_words.Packing = None,
    padding_free: cli_words.PaddingFree = None,
    flash: cli_words.Flash = None,
    liger: cli_words.Liger = None,
    checkpointing: cli_words.Checkpointing = None,
    neftune: cli_words.Neftune = None,
    map: Map = None,
    sheet: Sheet = None,
    json: Json = False,
    lang: Lang = None,
) -> None:
    from appliance.hardware import Hardware
    from appliance.show import plan as show_plan

    wish = wish_of(locals())
    machine = Hardware.from_dict(read_json(hardware)) if hardware else None
    rows_from = prepare.rows_from(data, task=task, mapping=mapping_of(map), sheet=sheet)
    made = prepare.make_plan(
        model, task=None if task == "auto" else task, rows_from=rows_from, wish=wish, hardware=machine
    )
    output.answer(made.as_dict(), lambda: show_plan(made))


def estimate(
    model: ModelName,
    task: Annotated[str, typer.Option(help="sft | dpo | orpo | simpo | kto | reward | grpo | serve")] = "sft",
    method: Annotated[str, typer.Option(help="lora | qlora | dora | full")] = "lora",
    rank: Annotated[int, typer.Option(help=_("Of the adapter: more learns more, and takes more memory."))] = 16,
    targets: Annotated[str, typer.Option(help=_("Adapted modules, with commas."))] = "all-linear",
    batch: Annotated[int, typer.Option(help=_("Rows, or conversations, at once on a card."))] = 1,
    length: Annotated[int, typer.Option(help=_("Tokens of each."))] = 1024,
    prompt: Annotated[int | None, typer.Option(help=_("Serving: tokens of a question, of its length."))] = None,
    optimizer: Annotated[str, typer.Option(help=_("What holds the moments, such as adamw_8bit."))] = "adamw_torch",
    checkpointing: Annotated[str, typer.Option(help="yes | no")] = "yes",
    attention: Annotated[str, typer.Option(help="sdpa | flash | eager")] = "sdpa",
    loss: Annotated[str | None, typer.Option(help="fused | chunked | plain")] = None,
    quant: Annotated[str | None, typer.Option(help="nf4 | nf4-dq | int8 | fp8 | gptq-int4 | gptq-int8 | awq")] = None,
    gpus: Annotated[int, typer.Option(help=_("How many cards share the work."))] = 1,
    sharding: Annotated[str, typer.Option(help="none | ddp | zero2 | zero3 | fsdp")] = "none",
    generations: Annotated[int, typer.Option(help=_("GRPO: answers sampled at once."))] = 8,
    device: Annotated[str, typer.Option(help="cuda | mps | cpu")] = "cuda",
    figure: Annotated[
        str, typer.Option(help=_("Which reading: allocated or reserved by PyTorch, or the device's own."))
    ] = "device",
    exact: Annotated[
        bool, typer.Option("--exact", help=_("Count a real step under fake tensors; takes a quarter of a minute."))
    ] = False,
    json: Json = False,
    lang: Lang = None,
) -> None:
    words = {**locals()}
    from appliance.planning import estimate_words
    from appliance.planning import exact as counted
    from appliance.planning.estimate import Estimate

    with prepare.looked_up(model) as found, output.waiting(_("counting a step")) if exact else nullcontext():
        if exact:
            made: Estimate = counted.estimate_exactly(found.folder, words)
        else:
            made = estimate_words.estimate_any(found.shape, estimate_words.read_settings(words))
    value = {**made.as_dict(), **({"source": "catalogue"} if found.sentence else {})}
    output.answer(value, lambda: output.pairs(estimate_words.rows(made)))
    if found.sentence:
        output.note(found.sentence)
