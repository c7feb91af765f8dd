"""Which port an engine can have, and who may reach it there."""

from __future__ import annotations

import errno
import socket

from appliance.engines.protocol import is_loopback
from appliance.errors import ApplianceError
from appliance.locale import _

__all__ = ["free_port", "is_loopback", "taken"]

_FURTHER = 50


def taken(host: str, port: int) -> bool:
    """Whether a server holds the port. Raises OSError where none can be held (no such address, a port below 1024)."""
    refused: OSError | None = None
    bound = False
    # All addresses of the name, as servers bind: localhost may be 127.0.0.1 and ::1, of which one may not exist here.
    for family, _kind, _protocol, _name, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                # Also as servers bind: the rest of a connection that has ended does not hold a port.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                bound = True
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            refused = error
    if refused and not bound:
        raise refused
    return False


def free_port(host: str, wanted: int) -> int:
    """`wanted`, or the next free port up to 50 further. Raises ApplianceError when there is none."""
    last = min(wanted + _FURTHER, 65535)
    try:
        for port in range(wanted, last + 1):
            if not taken(host, port):
                return port
    except OSError as error:
        raise ApplianceError(
            _("{host} port {port} can't be used.").format(host=host, port=wanted),
            error.strerror or str(error),
            _("Use an address of this machine (127.0.0.1, or 0.0.0.0 for all) and a port from 1024 to 65535."),
        ) from None
    raise ApplianceError(
        _("The ports {first} to {last} on {host} are all taken.").format(first=wanted, last=last, host=host),
        next_step=_("Choose another one with --port, or stop a job (`appliance jobs list`)."),
    )
