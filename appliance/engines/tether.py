"""`python -m appliance.engines.tether COMMAND…`: become COMMAND, but end when the parent does.

A supervisor killed with -9 can't stop its engine; the kernel does it then (Linux: PR_SET_PDEATHSIG, which survives
exec). Elsewhere the engine is found again by its process group. Standard library only: it runs in any environment.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def tie_to_parent() -> None:
    """The kernel ends this process when its parent ends; it exits at once where that has happened already."""
    parent = int(os.environ.pop("APPLIANCE_PARENT", "0"))
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if parent and os.getppid() != parent:  # it died before the kernel knew of us
            sys.exit(1)


def main() -> None:
    """Tie this process to its parent, then exec the command."""
    tie_to_parent()
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
