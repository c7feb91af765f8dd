"""The commands about models: which fit, what is here, in and out on a stick, verified, removed; tokens for the hubs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from appliance import output, settings
from appliance.cli_watch import Detach, do
from appliance.cli_words import Json, Lang, Machine, Yes, read_json
from appliance.errors import UsageError
from appliance.locale import _

app = typer.Typer(invoke_without_command=True)
settings_app = typer.Typer(no_args_is_help=True, help=_("What the appliance remembers for you."))
HereName = Annotated[str, typer.Argument(metavar="NAME", help=_("A model in the workspace, or its folder."))]


@app.callback(help=_("Which models run here, which if something is changed, which do not; and what is here."))
def models(
    context: typer.Context,
    purpose: Annotated[str, typer.Option("--for", help="finetune | serve")] = "finetune",
    family: Annotated[str | None, typer.Option(help=_("Only these, such as qwen3 or llama."))] = None,
    hardware: Machine = None,
    json: Json = False,
    lang: Lang = None,
) -> None:
    if context.invoked_subcommand is not None:
        return
    from appliance.hardware import Hardware
    from appliance.hardware import probe as look
    from appliance.jobs import models as stock
    from appliance.planning import catalogue, fitting
    from appliance.show import models as show_models
    from appliance.show import workspace_models

    if purpose not in fitting.PURPOSES:
        raise UsageError(_("Unknown purpose {name}.").format(name=purpose), "", " | ".join(fitting.PURPOSES))
    wanted = catalogue.of_family(family)
    machine = Hardware.from_dict(read_json(hardware)) if hardware else look(settings.home())
    found = fitting.fits(machine, purpose, wanted)
    here = stock.entries()
    value = {
        "purpose": purpose,
        "models": [fit.as_dict() for fit in found],
        "here": [entry.as_dict() for entry in here],
    }

    def show() -> None:
        show_models(found, purpose)
        if here:
            output.say()
            workspace_models(here)

    output.answer(value, show)


@app.command("list", help=_("What is in the workspace: sizes, what is damaged, how far the unfinished are."))
def models_list(json: Json = False, lang: Lang = None) -> None:
    from appliance.jobs import models as stock
    from appliance.jobs.sweep import sweep
    from appliance.show import workspace_models

    sweep()
    found = stock.entries()
    output.answer({"models": [entry.as_dict() for entry in found]}, lambda: workspace_models(found))


@app.command("export", help=_("Write a model to a stick or disk, for a machine without a network."))
def models_export(
    name: HereName,
    to: Annotated[str, typer.Option(metavar="FILE.tar|FOLDER", help=_("A .tar file, or a folder."))],
    detach: Detach = False,
    yes: Yes = False,
    json: Json = False,
    lang: Lang = None,
) -> None:
    from appliance.jobs import models as stock

    do(stock.export(name, to), detach)


@app.command("push", help=_("Send a model or an adapter to a hub, into a place of your own that nobody else sees."))
def models_push(
    name: Annotated[str, typer.Argument(metavar="NAME", help=_("A model, an adapter's folder or job, or last."))],
    to: Annotated[str, typer.Option(metavar="hf:ME/NAME|modelscope:ME/NAME", help=_("The hub and the name there."))],
    public: Annotated[bool, typer.Option("--public", help=_("Everyone may see and copy it."))] = False,
    detach: Detach = False,
    yes: Yes = False,
    json: Json = False,
    lang: Lang = None,
) -> None:
    from appliance import questions
    from appliance.jobs import models as stock

    draft = stock.push(name, to, public)
    if public and not yes:
        if output.is_json() or not sys.stdin.isatty():
            raise UsageError(
                _("Nothing was sent: nobody could be asked."), stock.public_question(to), _("To do it, add --yes.")
            )
        if not questions.yes(stock.public_question(to), default=False):
            raise typer.Exit(130)
    do(draft, detach)


@app.command("import", help=_("Bring a model here from a stick or disk: a folder or an archive."))
def models_import(
    path: Annotated[str, typer.Argument(metavar="FILE|FOLDER", help=_("What an export wrote, or any model."))],
    to: Annotated[str | None, typer.Option(help=_("Its name in the workspace, or the folder to make."))] = None,
    detach: Detach = False,
    yes: Yes = False,
    json: Json = False,
    lang: Lang = None,
) -> None:
    from appliance.jobs import models as stock

    do(stock.bring(path, to), detach)


@app.command("verify", help=_("Read every byte again and hold it against the checksums."))
def models_verify(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help=_("One model; without it, all."))] = None,
    detach: Detach = False,
    yes: Yes = False,
    json: Json = False,
    lang: Lang = None,
) -> None:
    from appliance.jobs import models as stock

    do(stock.check(name), detach)


@app.command("remove", help=_("Delete a model, or what is there of an unfinished one."))
def models_remove(name: HereName, yes: Yes = False, json: Json = False, lang: Lang = None) -> None:
    from appliance import questions
    from appliance.jobs import models as stock

    entry = stock.find(name)
    stock.refuse_in_use(entry.name, entry.folder)
    if not yes:
        if output.is_json() or not sys.stdin.isatty():
            raise UsageError(
                _("Nothing was removed: nobody could be asked."), stock.question(entry), _("To do it, add --yes.")
            )
        if not questions.yes(stock.question(entry), default=False):
            raise typer.Exit(130)
    freed = stock.remove(entry)
    output.answer(
        {"name": entry.name, "folder": str(entry.folder), "freed_bytes": freed},
        lambda: output.good(_("Removed {id}; {size} are free again.").format(id=entry.name, size=output.size(freed))),
    )


@settings_app.command("token", help=_("Give your token for closed models at a hub, unseen, or from the input."))
def settings_token(
    hub: Annotated[str, typer.Argument(metavar="huggingface|modelscope", help=_("The hub."))],
    remove: Annotated[bool, typer.Option("--remove", help=_("Forget the stored one."))] = False,
    json: Json = False,
    lang: Lang = None,
) -> None:
    from appliance import questions
    from appliance.hub import tokens

    tokens.state(hub)  # no such hub: told before a token is asked for
    if remove:
        had = tokens.forget(hub)
        said = _("The token is removed.") if had else _("There was no stored token.")
    else:
        if sys.stdin.isatty():
            token = questions.secret(_("Your token for {hub}:").format(hub=tokens.NAMES[hub]), check=tokens.problem)
        else:
            token = sys.stdin.readline(10_000)
        tokens.store(hub, token)
        said = _("Stored; only downloads and pushes read it.")
    output.answer({"hub": hub, "token": tokens.state(hub)}, lambda: output.good(said))
    if tokens.state(hub) == "variable":
        output.warn(_("{variable} is set and wins over the stored one.").format(variable=settings.HUB_TOKENS[hub]))
