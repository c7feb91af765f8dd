"""`python -m appliance.engines.guarded MODULE WORDS…`: another server's own command, with the guard around its app.

For servers that know no --middleware but are served by uvicorn in the process that we start: whatever app uvicorn is
about to open a port for, the guard stands in front of it. A server that took another way would open a port without the
guard; its /health would not name our instance, so it is never called ready, and its port is a loopback one until then.
"""

from __future__ import annotations

import os
import runpy
import sys


def main() -> None:
    """Put the guard in, then become `python -m MODULE WORDS…`."""
    import uvicorn

    from appliance.engines.guard import Guard

    module, *words = sys.argv[1:]
    load = uvicorn.Config.load

    def guarded(config: uvicorn.Config) -> None:
        load(config)
        config.loaded_app = Guard(config.loaded_app)

    uvicorn.Config.load = guarded
    os.umask(0o077)
    sys.argv = [module, *words]
    # As the main module, since these servers start their workers by importing it anew.
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
