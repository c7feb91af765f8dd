"""An engine that did not come with the appliance."""

from __future__ import annotations

from appliance import engines, settings
from appliance.errors import UsageError
from appliance.hardware import probe
from appliance.jobs.control import Draft
from appliance.jobs.prepare.words import command
from appliance.locale import _

# What a home connection brings; said beside the figure, so that a person can work out their own.
_MB_A_SECOND = 10


def install(name: str) -> Draft:
    """An engine into the workspace, from its lock. Raises UsageError for a word that is none of them."""
    engine = engines.by_name(name)
    if not engine.download_gib:
        raise UsageError(
            _("{name} is always there: it needs no installing.").format(name=name),
            next_step=_("Choose one of: {names}.").format(
                names=", ".join(each.name for each in engines.ENGINES.values() if each.download_gib)
            ),
        )
    minutes = max(1, round(engine.download_gib * 2**30 / 1e6 / _MB_A_SECOND / 60))
    warnings = []
    if not engines.cards(engine, probe(settings.home())):
        warnings.append(
            _("No card of this machine can run {name}, so it would be of no use here.").format(name=engine.name)
        )
    return Draft(
        kind="install",
        name=engine.name,
        spec={"engine": engine.name},
        facts=[
            (_("What"), _("Install the engine {name} from its lock; every file is checked.").format(name=engine.name)),
            (_("To"), str(settings.engines_folder() / engine.environment)),
            (
                _("Time"),
                _("{gib:.1f} GiB to download: about {minutes} minutes at {speed} MB/s").format(
                    gib=engine.download_gib, minutes=minutes, speed=_MB_A_SECOND
                ),
            ),
            (_("Memory"), _("little; no GPU")),
            (_("Disk"), _("about {n:.0f} GiB").format(n=engine.disk_gib)),
        ],
        command=command("install", engine.name),
        disk_gib=engine.disk_gib,
        warnings=warnings,
    )
