"""Every command: words in, one call into a room, an answer out. It wires and decides nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from appliance import __version__, cli_data, cli_jobs, cli_keys, cli_machine, cli_models, cli_words, output, settings
from appliance.attend import show_address
from appliance.cli_watch import Detach, do, finish, watch
from appliance.cli_words import Json, Lang, Map, Revision, Sheet, Yes, mapping_of, read_json, wish_of
from appliance.engines import WORDS, NotInstalled
from appliance.errors import UsageError, explain
from appliance.jobs import control, folder, prepare
from appliance.jobs.watch import failure
from appliance.locale import _

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
app.command(help=_("What this machine is."))(cli_machine.probe)
app.command(help=_("What would stop a job here, each with its fix."))(cli_machine.doctor)
app.command(help=_("What fits here for this model, and why."))(cli_machine.plan)
app.command(help=_("How much memory a training step or a server takes: a config.json is enough."))(cli_machine.estimate)
app.add_typer(cli_data.app, name="data")
app.command("datasets", help=_("Public data sets by what they are about, in both hubs' names."))(cli_data.datasets)
app.add_typer(cli_jobs.app, name="jobs")
app.add_typer(cli_keys.app, name="keys")
app.add_typer(cli_models.app, name="models")
app.add_typer(cli_models.settings_app, name="settings")


def run() -> int:
    """Parse the words and run; returns the exit code."""
    control.install_end_of_container()
    code = _run()
    control.stay_in_container(output.note)
    return code


def _run() -> int:
    """No exception leaves here as a traceback, unless asked for."""
    import click

    try:
        # Outside its standalone mode click hands the code of an Exit back instead of raising it.
        code = app(prog_name="appliance", standalone_mode=False)
    except (click.exceptions.Exit, typer.Exit) as error:
        return error.exit_code
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except (click.exceptions.Abort, KeyboardInterrupt):
        output.say()
        output.note(_("Stopped."))
        return 130
    except Exception as error:
        # click's own usage errors, whichever click raised them
        show, told = getattr(error, "show", None), getattr(error, "format_message", None)
        if show is not None and told is not None and hasattr(error, "exit_code"):
            if output.is_json() or "--json" in sys.argv:  # the words may have been refused before --json was read
                output.use_json()
                output.error(UsageError(told(), "", _("See every option: add --help.")))
            else:
                show()
            return 2
        if settings.debug():
            raise
        output.error(explain(error))
        return 2 if isinstance(error, UsageError) else 1
    return code if isinstance(code, int) else 0


@app.callback(invoke_without_command=True, help=_("From a spreadsheet to a private model behind an address."))
def _top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help=_("Show the version."))] = False,
    json: Json = False,
    lang: Lang = None,
) -> None:
    if version:
        output.answer({"version": __version__}, lambda: output.say(__version__))
        raise typer.Exit
    if context.invoked_subcommand is None:
        raise UsageError(_("A command is missing."), "", _("See them all: appliance --help"))


# --- jobs that make something ----------------------------------------------------------------------------------------


@app.command(help=_("Bring a model here from a hub, a folder or an archive."))
def download(
    model: Annotated[str, typer.Argument(metavar="M", help=_("owner/name, a folder or an archive."))],
    source: Annotated[str, typer.Option(help="auto | modelscope | huggingface")] = "auto",
    revision: Revision = None,
    to: Annotated[str | None, typer.Option(help=_("The folder to make."))] = None,
    detach: Detach = False,
    yes: Yes = False,
    json: Json = False,
    lang: Lang = None,
) -> None:
    if source not in ("auto", "modelscope", "huggingface"):
        raise UsageError(_("Unknown source {name}.").format(name=source), "", "auto | modelscope | huggingface")
    do(prepare.download(model, source=source, revision=revision, to=to), detach)


@app.command(help=_("Teach a model with your rows."))
def finetune(
    data: Annotated[str, typer.Option("--data", "-d", help=_("The data file."))],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help=_("A folder, a model in the workspace, or owner/name."))
    ] = None,
    adapter: Annotated[str | None, typer.Option(help=_("Go on training from this adapter."))] = None,
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
    held_out: Annotated[
        float | None, typer.Option(help=_("Share of rows to measure on instead of learning, such as 0.05."))
    ] = None,
    keep_checkpoints: Annotated[
        int | None, typer.Option(help=_("Checkpoints that stay, also when it is done; else two, until then."))
    ] = None,
    reward: Annotated[
        list[str] | None, typer.Option(help=_("For grpo: exact, number, regex:…, schema:FILE, length:1-200."))
    ] = None,
    track: Annotated[
        list[str] | None, typer.Option(help=_("Send its figures to wandb or swanlab as well (see docs/training.md)."))
    ] = None,
    map: Map = None,
    sheet: Sheet = None,
    name: Annotated[str | None, typer.Option(help=_("The job's name."))] = None,
    detach: Detach = False,
    yes: Yes = False,
    json: Json = False,
    lang: Lang = None,
) -> None:
    wish = wish_of(locals())
    mapping = mapping_of(map)
    if model:
        _model_here(model)
    with output.waiting(_("looking at the rows")):
        draft = prepare.finetune(
            model,
            data,
            task=task,
            adapter=adapter,
            wish=wish,
            mapping=mapping,
            sheet=sheet,
            name=name,
            accept_drops=yes,
            held_out=held_out,
            keep_checkpoints=keep_checkpoints,
            rewards=reward or (),
            track=track or (),
        )
    do(draft, detach)


@app.command(help=_("Make one model of an adapter and its base."))
def merge(
    adapters: Annotated[
        list[str],
        typer.Argument(
            metavar="ADAPTER...", help=_("Its folder, its fine-tune's id, or `last`; several are added up.")
        ),
    ],
    weights: Annotated[
        str | None, typer.Option(metavar="W,W", help=_("How much each of several adapters counts: 0.7,0.3"))
    ] = None,
    base: Annotated[
        str | None, typer.Option(help=_("The base model, where it is not the one it was trained on."))
    ] = None,
    to: Annotated[str | None, typer.Option(help=_("The folder, or a name in the workspace."))] = None,
    detach: Detach = False,
    yes: Yes = False,
    json: Json = False,
    lang: Lang = None,
) -> None:
    try:
        numbers = [float(word) for word in (weights or "").split(",") if word]
    except ValueError as error:
        raise UsageError(_("--weights wants numbers."), weights or "", "--weights 0.7,0.3") from error
    do(prepare.merge(adapters[0], more=adapters[1:], weights=numbers, base=base, to=to), detach)


@app.command(help=_("Make a model smaller: 8 or 4 bits, measured on your rows before and after."))
def quantize(
    model: Annotated[str, typer.Argument(metavar="M", help=_("A folder, a model in the workspace, or owner/name."))],
    data: Annotated[
        str | None, typer.Option("--data", "-d", help=_("Rows to calibrate and measure on; else those it was taught."))
    ] = None,
    scheme: Annotated[str, typer.Option(help="auto | fp8 | gptq | awq | int8 | bnb4")] = "auto",
    to: Annotated[str | None, typer.Option(help=_("The folder, or a name in the workspace."))] = None,
    samples: Annotated[int | None, typer.Option(min=1, max=4096, help=_("How many rows to calibrate on."))] = None,
    length: Annotated[int | None, typer.Option(min=16, help=_("Longest row, in tokens."))] = None,
    hardware: Annotated[
        Path | None, typer.Option(help=_("A probe's JSON from the machine that will serve it, if another one."))
    ] = None,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help=_("Keep it even when it has lost more than 5 %."))
    ] = False,
    map: Map = None,
    sheet: Sheet = None,
    detach: Detach = False,
    yes: Yes = False,
    json: Json = False,
    lang: Lang = None,
) -> None:
    from appliance.hardware import Hardware

    machine = Hardware.from_dict(read_json(hardware)) if hardware else None
    mapping = mapping_of(map)
    _model_here(model)
    words: dict[str, Any] = {
        "scheme": scheme, "to": to, "samples": samples, "length": length, "mapping": mapping, "sheet": sheet,
        "hardware": machine, "accept_loss": accept_loss,
    }  # fmt: skip
    try:
        with output.waiting(_("looking at the rows")):
            draft = prepare.quantize(model, data, **words)
    except NotInstalled as missing:
        output.note(f"{missing.what} {missing.why}")
        _first(prepare.install(missing.name))
        draft = prepare.quantize(model, data, **words)
    do(draft, detach)


@app.command(help=_("Serve a model behind an OpenAI-compatible address."))
def serve(
    model: Annotated[str, typer.Argument(metavar="M", help=_("A folder, a model in the workspace, or owner/name."))],
    engine: Annotated[str, typer.Option(help=" | ".join(WORDS))] = "auto",
    host: Annotated[
        str | None, typer.Option(help=_("127.0.0.1: this machine only. 0.0.0.0: everyone with the key."))
    ] = None,
    port: Annotated[int, typer.Option(help=_("If it is taken, the next free one."))] = 8000,
    name: Annotated[str | None, typer.Option(help=_("The name that clients use."))] = None,
    length: Annotated[int | None, typer.Option(help=_("Longest conversation, in tokens."))] = None,
    adapter: Annotated[
        list[str] | None, typer.Option("--adapter", help=_("An adapter beside the model, by its name or as NAME=IT."))
    ] = None,
    key_file: Annotated[
        str | None, typer.Option(help=_("A file of your own with keys, in place of the workspace's keys."))
    ] = None,
    no_key: Annotated[bool, typer.Option("--no-key", help=_("No key; on 127.0.0.1 only."))] = False,
    log_requests: Annotated[
        bool, typer.Option("--log-requests", help=_("Keep questions and answers in the workspace."))
    ] = False,
    page: Annotated[bool, typer.Option("--page", help=_("A chat page for the browser, behind the same key."))] = False,
    detach: Detach = False,
    yes: Yes = False,
    json: Json = False,
    lang: Lang = None,
) -> None:
    _model_here(model)
    words: dict[str, Any] = {
        "engine": engine, "host": host, "port": port, "name": name, "length": length, "adapters": adapter or (),
        "key_file": key_file, "no_key": no_key, "log_requests": log_requests, "page": page,
    }  # fmt: skip
    try:
        draft = prepare.serve(model, **words)
    except NotInstalled as missing:
        output.note(f"{missing.what} {missing.why}")
        _first(prepare.install(missing.name))
        draft = prepare.serve(model, **words)
    do(draft, detach)


@app.command(help=_("Install what did not come with the appliance: vllm, lmdeploy, sglang, or quantize."))
def install(
    engine: Annotated[str, typer.Argument(metavar="ENGINE", help="vllm | lmdeploy | sglang | quantize")],
    detach: Detach = False,
    yes: Yes = False,
    json: Json = False,
    lang: Lang = None,
) -> None:
    do(prepare.install(engine), detach)


def _first(draft: control.Draft) -> None:
    """A job that another one needs; shown until it is done."""
    job = control.submit(draft)
    state = watch(job)
    if state.state != "done":
        raise failure(job, state)


def _model_here(model: str) -> None:
    """A model that only a hub has is downloaded first, as a job of its own."""
    try:
        prepare.model_folder(model)
    except prepare.NotHere as missing:
        output.note(missing.what)
        _first(prepare.download(missing.reference))


# --- talking to a server ---------------------------------------------------------------------------------------------


@app.command(help=_("Talk to a server in this terminal."))
def chat(
    server: Annotated[
        str | None,
        typer.Argument(metavar="[JOB|ADDRESS]", help=_("A serve job's id, or http://…/v1; else the newest.")),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help=_("The name, where several are served."))] = None,
    key_file: Annotated[str | None, typer.Option(help=_("The file with the key, for an address."))] = None,
    system: Annotated[str | None, typer.Option(help=_("What the model is told before the first question."))] = None,
    lang: Lang = None,
) -> None:
    from appliance.chat import at, talk

    talk(at(server, model=model, key_file=key_file), system)


# --- the whole path --------------------------------------------------------------------------------------------------


@app.command("run", help=_("Do a recipe without a question: what a cloud instance runs."))
def run_recipe(
    file: Annotated[
        Path, typer.Argument(metavar="RECIPE.yaml", help=_("The recipe (docs/recipes.md)."), readable=False)
    ],
    fresh: Annotated[
        bool, typer.Option("--fresh", help=_("Start anew instead of going on where an earlier run was."))
    ] = False,
    detach: Detach = False,
    yes: Yes = False,
    json: Json = False,
    lang: Lang = None,
) -> None:
    from appliance.jobs import recipe
    from appliance.show import job as show_job

    steps = recipe.read(file)

    def show(job: folder.Job, number: int, _last: bool) -> folder.State:
        output.say(_("Step {n} of {all}: {id}").format(n=number, all=len(steps), id=job.id), "bold")
        state = watch(job, until_ready=job.kind == "serve")
        if state.state == "done" and not output.is_json():
            show_job(job)
        return state

    jobs = recipe.run(steps, show, fresh=fresh)
    last = jobs[-1]
    state = last.state()
    value = {
        "jobs": [job.as_dict() for job in jobs],
        **{key: last.as_dict().get(key) for key in ("state", "address", "key_file", "model")},
    }
    output.answer(value)
    if last.kind == "serve" and state.active:
        if not output.is_json():
            show_address(last)
        if not detach:
            finish(last, watch(last))
    if state.state == "stopped":
        raise typer.Exit(130)


@app.command(help=_("The whole path on a tiny model made on the spot: no hub, no GPU."))
def demo(
    keep: Annotated[bool, typer.Option("--keep", help=_("Leave the server running."))] = False,
    port: Annotated[int, typer.Option(help=_("If it is taken, the next free one."))] = 8000,
    yes: Yes = False,
    json: Json = False,
    lang: Lang = None,
) -> None:
    from appliance.demo import demo as walk

    output.answer(walk(keep=keep, port=port))
