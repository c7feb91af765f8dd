"""The image's HEALTHCHECK: exit code 0 while every model that says it is served answers at /health.

The front needs no check: it is the container's main process, and without it there is no container. A serve job that is
still loading counts as well; one that is ready and then stops answering does not.
"""

from __future__ import annotations

import sys
import urllib.request

from appliance.jobs.folder import all_jobs, serving

_PATIENCE_SECONDS = 5.0


def main() -> int:
    """Ask every server; 1 and a line for each that doesn't answer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    silent = 0
    for job in all_jobs():
        at = serving(job)
        if at["phase"] != "ready" or not job.state().active:
            continue
        try:
            opener.open(at["address"].removesuffix("/v1") + "/health", timeout=_PATIENCE_SECONDS).close()
        except OSError as error:
            print(f"{job.id}: {error}")
            silent += 1
    return min(silent, 1)


if __name__ == "__main__":
    sys.exit(main())
