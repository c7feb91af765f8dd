"""How the rooms' answers look to a person: one function for each, used by the commands and the menu alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from appliance import output
from appliance.locale import _

if TYPE_CHECKING:
    from appliance.hardware import Hardware
    from appliance.hardware.doctor import Check
    from appliance.jobs.control import Draft
    from appliance.jobs.folder import Job
    from appliance.jobs.models import Entry
    from appliance.planning.fitting import Fit
    from appliance.planning.plan import Plan

_WIDEST = 78  # cells of a curve


def machine_lines(found: Hardware, brief: bool = False) -> list[tuple[str, str]]:
    """The machine in (label, sentence) pairs, a card a line; `brief` for the menu's 80 columns."""
    rows = []
    for card in found.accelerators:
        details = [output.gib(card.memory_gib), _("{free} free").format(free=output.gib(card.free_gib))]
        if not card.memory_gib:  # an NPU whose driver's tool does not answer
            details = [_("memory unknown")]
        if not card.used_here:
            details.append(_("not used"))
        if card.compute_capability and not brief:
            details.append(_("compute capability {cc}").format(cc=card.compute_capability))
        rows.append((_("Card {n}").format(n=card.index), f"{card.name}: {', '.join(details)}"))
    if not found.accelerators:
        rows.append((_("Card"), _("none")))
    cpu = found.cpu
    rows.append(
        (
            _("Processor"),
            _("{name}, {cores} cores, {memory} memory").format(
                name=cpu.model, cores=cpu.cores, memory=output.gib(cpu.memory_gib)
            ),
        )
    )
    rows.append((_("Disk"), _("{free} free in the workspace").format(free=output.gib(found.disk_free_gib))))
    return rows


def hardware(found: Hardware, meaning: Sequence[str]) -> None:
    """`appliance probe`."""
    rows = machine_lines(found)
    if found.shm_gib is not None:
        rows.append(("/dev/shm", output.gib(found.shm_gib)))  # noqa: S108
    if found.driver:
        cuda = f" (CUDA {found.cuda})" if found.cuda else ""
        rows.append((_("Driver"), found.driver + cuda))
    if found.cpu.features:
        rows.append((_("Instructions"), ", ".join(found.cpu.features)))
    output.pairs(rows)
    for sentence in meaning:
        output.say(f"→ {sentence}", "bold")
    for warning in found.warnings:
        output.warn(warning)


def checks(found: Sequence[Check]) -> None:
    """`appliance doctor`."""
    for check in found:
        if check.ok:
            output.good(check.sentence)
        elif check.level == "note":
            output.warn(check.sentence)
        else:
            output.say(f"✗ {check.sentence}", "bold red")
        if check.fix:
            output.say(f"    {check.fix}", "cyan")


def models(found: Sequence[Fit], purpose: str) -> None:
    """`appliance models`: three groups, small to large, one sentence for each model."""
    titles = {"runs": _("Runs here"), "runs_if": _("Runs here if"), "does_not": _("Does not run here")}
    for group, title in titles.items():
        rows = [
            (fit.model.name, f"{fit.model.parameters_b:.1f} B", fit.sentence) for fit in found if fit.group == group
        ]
        if rows:
            output.table([title, _("Size"), str(len(rows))], rows)
            output.say()
    if purpose == "finetune":
        output.note(_("For serving them: appliance models --for serve"))
    output.note(_("Download one by its name: appliance download NAME"))


def workspace_models(found: Sequence[Entry]) -> None:
    """`appliance models list`: what stands in the workspace, and what makes the rest whole."""
    if not found:
        output.note(_("There are no models in the workspace yet: appliance download owner/name"))
        return
    rows = [(entry.name, output.size(entry.size_bytes), entry.word) for entry in found]
    output.table([_("In the workspace"), _("On the disk"), _("State")], rows)
    for entry in found:
        if entry.todo:
            output.note(f"{entry.name}: {entry.todo}")


def plan(made: Plan) -> None:
    """`appliance plan`: every choice with its reason, and the memory part by part."""
    from appliance.planning import words
    from appliance.planning.estimate_words import LEAST_SHOWN, part_name

    value = made.as_dict()
    verdict = {
        "fits": _("It fits."),
        "tight": _("It fits, but only just."),
        "exceeds": _("It does not fit on this machine."),
    }[value["verdict"]]
    output.say(verdict, "bold green" if value["verdict"] == "fits" else "bold yellow")
    memory = value["memory"]
    parts = ", ".join(f"{part_name(name)} {size:.2f}" for name, size in memory["parts"].items() if size >= LEAST_SHOWN)
    total = _("{total:.2f} GiB ({parts})") if value["gpus"] < 2 else _("{total:.2f} GiB on each card ({parts})")
    output.pairs([*words.rows(value), (_("Memory"), total.format(total=memory["total_gib"], parts=parts))])
    for alternative in value["alternatives"]:
        output.note(alternative["sentence"])
    for warning in value.get("warnings", []):
        output.warn(warning)


def facts(draft: Draft) -> None:
    """The screen before a job starts: what will happen, memory, disk, and the command that does the same."""
    output.pairs(draft.facts)
    for warning in draft.warnings:
        output.warn(warning if isinstance(warning, str) else str(warning))
    if draft.command:
        output.say(_("The same without the menu:"), "dim")
        output.paste(f"  {draft.command}")


def job(one: Job) -> None:
    """A job in a few lines; before them, of a fine-tune that is done, what its report shows."""
    from appliance.jobs.watch import summary

    if one.kind == "finetune" and one.result:
        _learned(one, one.result)
    output.pairs(summary(one))


def _learned(one: Job, result: dict[str, Any]) -> None:
    from appliance.jobs import plot
    from appliance.jobs.folder import events
    from appliance.jobs.watch import Picture
    from appliance.planning import words

    if (made := one.described.get("plan")) and made.get("reasons"):
        output.pairs(words.rows(made), _("What was chosen, and why"))
    picture = Picture(one)
    picture.add(one.state(), events(one)[0])
    if len(picture.losses) > 1:
        output.say(_("Loss") + (" " + _("(● on rows that it was not taught)") if picture.held_out else ""), "bold")
        width = min(_WIDEST, output.console().size.width - 2)
        output.say(plot.curve(picture.losses, picture.held_out, last=picture.losses[-1][0], width=width))
    if answers := result.get("answers"):
        output.say(_("Answers before and after"), "bold")
        cells = [(one["question"], one["before"], one["after"] + ("" if one["stopped"] else " …")) for one in answers]
        output.table([_("Question"), _("Before"), _("After")], cells)


def jobs(found: Sequence[Job]) -> None:
    """`appliance jobs list`."""
    if not found:
        output.note(_("There are no jobs yet."))
        return
    output.table([_("Job"), _("State")], [(job.id, job.state().word) for job in found])
