"""What killed work has left hidden in the workspace goes away; nothing that a living process may still use does."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

from appliance import settings
from appliance.jobs.folder import Job, all_jobs

STAGING = re.compile(r"\..+\.(\d{8}-\d{6}-(?:merge|quantize)-.+)\.partial")
_INSTALLING = re.compile(r"\.([a-z]+)\.(?:partial|cache)")
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
_OLD_SECONDS = 3600.0  # a temporary file that nobody has written to for this long has lost its process


def sweep() -> None:
    """Delete in the workspace:

    `.NAME.removed`       a removal that was cut
    `.NAME.JOB.partial`   a merge or a quantising whose job is gone or done: one that was cut goes on with it
    `.ENGINE.partial`     an installation whose job is gone or done, and its `.ENGINE.cache`
    `.NAME.abcdef01.tmp`  a write that was cut; its writer is unknown, so only when it is an hour old

    `.NAME.partial` is kept: a download goes on with it, and it is shown as unfinished.
    """
    models = settings.models_folder()
    for place in (settings.home(), settings.jobs_folder(), models, *(_listed(models))):
        for path in _listed(place):
            staged = STAGING.fullmatch(path.name) if place == models else None
            lost = (
                (path.name.startswith(".") and path.name.endswith(".removed"))
                or (staged and not _goes_on(Job(settings.jobs_folder() / staged[1])))
                or (_TEMPORARY.fullmatch(path.name) and time.time() - _newest(path) > _OLD_SECONDS)
            )
            if lost:
                _delete(path)
    for path in lost_installs():
        _delete(path)


def lost_installs() -> list[Path]:
    """`.ENGINE.partial` and `.ENGINE.cache`, gigabytes of an installation that no job goes on with."""
    waiting = [job for job in all_jobs() if job.kind == "install" and _goes_on(job)]
    engines = {str((job.described.get("spec") or {}).get("engine")) for job in waiting}
    found = ((path, _INSTALLING.fullmatch(path.name)) for path in _listed(settings.engines_folder()))
    return [path for path, name in found if name and name[1] not in engines]


def _goes_on(job: Job) -> bool:
    """Whether the job is there, and at work or to be resumed."""
    return job.folder.is_dir() and job.state().state != "done"


def _listed(place: Path) -> list[Path]:
    try:
        return list(place.iterdir())
    except OSError:
        return []


def _newest(path: Path) -> float:
    """When something in it was written last, in seconds since 1970."""
    times = []
    for one in (path, *path.rglob("*")):
        try:
            times.append(one.lstat().st_mtime)
        except OSError:
            continue
    return max(times, default=time.time())


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return
