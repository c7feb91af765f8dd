"""An engine that did not come with the appliance, or what quantises models."""

from __future__ import annotations

from dataclasses import asdict

from appliance import engines, settings
from appliance.engines import installable
from appliance.errors import UsageError
from appliance.hardware import probe
from appliance.jobs.control import Draft
from appliance.jobs.prepare.words import command
from appliance.locale import _

# What a home connection brings; said beside the figure, so that a person can work out their own.
_MB_A_SECOND = 10


def install(name: str) -> Draft:
    """An environment into the workspace, from its lock. Raises UsageError for a word that is none of them."""
    wanted = _wanted(name)
    if not wanted.download_gib:
        raise UsageError(
            _("{name} is always there: it needs no installing.").format(name=name),
            next_step=_("Choose one of: {names}.").format(
                names=", ".join(
                    [*(each.name for each in engines.ENGINES.values() if each.download_gib), installable.QUANTIZE]
                )
            ),
        )
    engine = engines.ENGINES.get(name)
    warnings = []
    if engine and not engines.cards(engine, probe(settings.home())):
        warnings.append(
            _("No card of this machine can run {name}, so it would be of no use here.").format(name=engine.name)
        )
    minutes = max(1, round(wanted.download_gib * 2**30 / 1e6 / _MB_A_SECOND / 60))
    what = (
        _("Install what quantises models (llm-compressor) from its lock; every file is checked.")
        if name == installable.QUANTIZE
        else _("Install the engine {name} from its lock; every file is checked.").format(name=wanted.name)
    )
    return Draft(
        kind="install",
        name=wanted.name,
        spec={"engine": wanted.name, "installable": asdict(wanted)},
        facts=[
            (_("What"), what),
            (_("To"), str(settings.engines_folder() / wanted.environment)),
            (
                _("Time"),
                _("{gib:.1f} GiB to download: about {minutes} minutes at {speed} MB/s").format(
                    gib=wanted.download_gib, minutes=minutes, speed=_MB_A_SECOND
                ),
            ),
            (_("Memory"), _("little; no GPU")),
            (_("Disk"), _("about {n:.0f} GiB").format(n=wanted.disk_gib)),
        ],
        command=command("install", wanted.name),
        disk_gib=wanted.disk_gib,
        warnings=warnings,
    )


def _wanted(name: str) -> installable.Installable:
    if name == installable.QUANTIZE:
        return installable.quantising(probe(settings.home()))
    return installable.of_engine(engines.by_name(name))
