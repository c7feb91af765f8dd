"""`appliance jobs`: see, stop, resume and remove them."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from appliance import output, show
from appliance.cli_watch import Detach, see_through, watch
from appliance.cli_words import Json, Lang, Yes
from appliance.errors import UsageError
from appliance.jobs import control, folder, prepare
from appliance.jobs.watch import failure
from appliance.locale import _

app = typer.Typer(no_args_is_help=True, help=_("See, stop, resume and remove jobs."))

JobName = Annotated[str, typer.Argument(metavar="ID", help=_("A job's id, its beginning or end, or `last`."))]


@app.command("list", help=_("Every job, newest first."))
def jobs_list(json: Json = False, lang: Lang = None) -> None:
    from appliance.show import jobs as show_jobs

    found = folder.all_jobs()
    output.answer({"jobs": [job.as_dict() for job in found]}, lambda: show_jobs(found))


@app.command("show", help=_("One job; a running one is watched with --follow."))
def jobs_show(
    name: JobName,
    follow: Annotated[bool, typer.Option("--follow", "-f", help=_("Watch until it ends."))] = False,
    json: Json = False,
    lang: Lang = None,
) -> None:
    job = folder.find(name)
    if follow:
        watch(job)
    if output.is_json():
        output.answer(job.as_dict())
        return
    show.job(job)
    state = job.state()
    if state.state == "failed":
        output.error(failure(job, state))


@app.command("logs", help=_("What the libraries printed."))
def jobs_logs(
    name: JobName,
    lines: Annotated[int, typer.Option("--lines", "-n", help=_("How many lines from the end."))] = 50,
    json: Json = False,
    lang: Lang = None,
) -> None:
    job = folder.find(name)
    text = job.log.read_text(encoding="utf-8", errors="replace") if job.log.exists() else ""
    tail = "\n".join(text.splitlines()[-lines:])
    output.answer({"id": job.id, "log": str(job.log), "lines": tail.splitlines()}, lambda: output.say(tail))


@app.command("stop", help=_("Save and end."))
def jobs_stop(name: JobName, yes: Yes = False, json: Json = False, lang: Lang = None) -> None:
    job = folder.find(name)
    with output.waiting(_("stopping")):
        state = control.stop(job)
    output.answer(job.as_dict(), lambda: output.good(_("{id} is {state}.").format(id=job.id, state=state.word)))


@app.command("resume", help=_("Go on with a stopped or failed job."))
def jobs_resume(
    name: JobName,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help=_("Keep a quantised model though it has lost more than 5 %."))
    ] = False,
    detach: Detach = False,
    yes: Yes = False,
    json: Json = False,
    lang: Lang = None,
) -> None:
    found = folder.find(name)
    if accept_loss:
        prepare.accept(found)
    see_through(control.resume(found), detach)


@app.command("remove", help=_("Delete an ended job and what is in its folder."))
def jobs_remove(name: JobName, yes: Yes = False, json: Json = False, lang: Lang = None) -> None:
    from appliance import files, questions

    job = folder.find(name)
    freed = files.folder_size(job.folder)
    if not yes and not job.state().active:
        question = _("Delete {id} with all it made ({size})?").format(id=job.id, size=output.size(freed))
        if output.is_json() or not sys.stdin.isatty():
            raise UsageError(_("Nothing was removed: nobody could be asked."), question, _("To do it, add --yes."))
        if not questions.yes(question, default=False):
            raise typer.Exit(130)
    freed = control.remove(job)
    output.answer(
        {"id": job.id, "freed_bytes": freed},
        lambda: output.good(_("Removed {id}; {size} are free again.").format(id=job.id, size=output.size(freed))),
    )
