"""How a transfer behaves, in figures. Tests make them small."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """Seconds and bytes.

    first          connections at the start: few are best where the processor is the limit
    usual, most    connections where one alone is not that fast, and at most; as many as make it faster
    least, largest bytes that one request asks for
    connect        seconds until a connection must stand
    stall          seconds without a byte after which a connection is replaced
    window, trickle  a connection that brings fewer than `trickle` bytes a second over `window` seconds is replaced
    patience       seconds without a new byte from anywhere after which the transfer ends
    retry, retry_most  pause after a failure without a byte, doubled each time
    sync           seconds between two fsyncs
    room           seconds between two looks for room on a full disk
    probe          a model of at least so many bytes is worth measuring which hub is faster
    """

    first: int = 4
    usual: int = 32
    most: int = 64
    least: int = 4 * MIB
    largest: int = 64 * MIB
    connect: float = 10.0
    stall: float = 20.0
    window: float = 5.0
    trickle: int = 2048
    patience: float = 300.0
    retry: float = 0.5
    retry_most: float = 30.0
    sync: float = 5.0
    room: float = 2.0
    probe: int = 64 * MIB


DEFAULT = Limits()
