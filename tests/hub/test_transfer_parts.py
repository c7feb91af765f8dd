"""What the transfer is made of: spans, the journal, the pace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.hub.transfer import journal
from appliance.hub.transfer.journal import Journal
from appliance.hub.transfer.limits import MIB, Limits
from appliance.hub.transfer.pace import Pace
from appliance.hub.transfer.ranges import Ranges
from appliance.hub.transfer.source import origin_of, proxy_for

spans = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=12)


@settings(deadline=None)
@given(added=spans, removed=spans)
def test_ranges_are_sets(added: list[tuple[int, int]], removed: list[tuple[int, int]]) -> None:
    ranges, truth = Ranges(added), {n for start, end in added for n in range(start, end)}
    for start, end in removed:
        ranges.remove(start, end)
        truth -= set(range(start, end))
    assert {n for start, end in ranges.spans for n in range(start, end)} == truth
    assert ranges.total == len(truth)
    assert all(left[1] < right[0] for left, right in zip(ranges.spans, ranges.spans[1:], strict=False))
    assert ranges.prefix == next(n for n in range(50) if n not in truth)
    other = Ranges(removed)
    assert Ranges(added).minus(other).spans == ranges.spans
    assert all(not ranges.missing(*span) for span in ranges.spans)
    assert ranges.missing(0, 41) == Ranges([(0, 41)]).minus(ranges).spans


def filled(folder: Path) -> None:
    one = Journal(folder)
    one.begin("a", 100, "sha256:x")
    one.validator("a", "http://h:1", '"tag"')
    one.wrote("a", 0, 60)
    one.synced("a", [(0, 30), (50, 60)])
    one.begin("b", 10, "git:y")
    one.wrote("b", 0, 10)
    one.close()


def test_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Journal(tmp_path).known == {} and not list(tmp_path.iterdir())
    filled(tmp_path)
    for _again in range(2):
        one = Journal(tmp_path)
        known = one.known["a"]
        assert known.have.spans == [(0, 60)] and known.synced.spans == [(0, 30), (50, 60)]
        assert (known.size, known.mark, known.validator) == (100, "sha256:x", ("http://h:1", '"tag"'))
        one.begin("c", 1, "revision:z")  # and with that it is written anew
        one.close()
    monkeypatch.setattr(journal, "boot_mark", lambda: "another")
    after = Journal(tmp_path).known
    assert after["a"].have.spans == [(0, 30), (50, 60)] and after["b"].have.spans == []


def test_what_is_said_anew_replaces_what_was_said(tmp_path: Path) -> None:
    filled(tmp_path)
    one = Journal(tmp_path)
    one.begin("a", 100, "sha256:z")
    one.wrote("a", 5, 7)
    one.close()
    known = Journal(tmp_path).known
    assert known["a"].mark == "sha256:z" and known["a"].have.spans == [(5, 7)] and known["b"].have.total == 10


@settings(deadline=None, max_examples=60)
@given(at=st.integers(0, 500), junk=st.binary(max_size=30))
def test_a_torn_or_damaged_journal_claims_nothing_more(
    tmp_path_factory: pytest.TempPathFactory, at: int, junk: bytes
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    filled(folder)
    path = folder / journal.NAME
    raw = path.read_bytes()
    path.write_bytes(raw[:at] + junk + raw[at + len(junk) :] if at % 2 else raw[:at] + junk)
    known = Journal(folder).known
    truth = {"a": Ranges([(0, 60)]), "b": Ranges([(0, 10)])}
    for name, one in known.items():
        assert one.have.minus(truth[name]).total == 0 and one.synced.minus(truth[name]).total == 0


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize(
    ("line", "settles"),
    [
        (lambda n: n * 20 * MIB, {64}),  # each connection is held back: as many as may be
        (lambda n: min(n, 35) * 20 * MIB, {64}),  # more still bring a little more
        (lambda _n: 12 * MIB, {4, 32, 64}),  # the line is the limit: more bring nothing, and do no harm
        (lambda _n: 3000 * MIB, {1}),  # so fast that one does
        (lambda n: n * 300 * MIB, {4}),  # fewer would be slower, more are not needed
        (lambda n: min(n, 16) * 20 * MIB, {32, 64}),  # more than so many bring nothing
    ],
)
def test_pace(line: Callable[[int], int], settles: set[int], noise: float) -> None:
    for seed in range(10):
        chance, pace, now, done = Random(seed), Pace(Limits()), 0.0, 0
        while now < 4:
            now += 0.02
            done += int(line(pace.wanted) * 0.02 * chance.uniform(1 - noise, 1 + noise))
            pace.look(done, pace.wanted, pace.wanted, now)
        assert pace.wanted in (settles if noise else {min(settles)})
        assert Limits().least == pace.piece(1) <= pace.piece(2**40) <= Limits().largest
        assert pace.piece(2**30) * pace.wanted <= max(2**30, Limits().least * pace.wanted)  # nobody without a piece
    settled = pace.wanted
    pace.ease(now)
    pace.ease(now)  # at once: the same trouble
    assert pace.wanted == max(1, settled // 2)


def test_a_few_low_measures_call_nothing_off_and_what_was_is_tried_again() -> None:
    pace, now, done, most = Pace(Limits()), 0.0, 0, 64

    def go(seconds: float, each: int) -> None:
        nonlocal now, done
        end = now + seconds
        while now < end:
            now += 0.02
            done += int(min(pace.wanted, most) * each * 0.02)
            pace.look(done, pace.wanted, pace.wanted, now)

    while pace.wanted < 64:
        go(0.02, 20 * MIB)
    go(0.45, 5 * MIB)  # two measures
    assert pace.wanted == 64
    go(0.4, 20 * MIB)
    assert pace.wanted == 64
    pace, most = Pace(Limits()), 4
    go(3, 3 * MIB)
    assert pace.wanted == 4
    most = 64  # the line has become better
    go(8, 3 * MIB)
    assert pace.wanted == 64


def test_origins() -> None:
    assert origin_of("https://Hub.example/x?y") == origin_of("https://hub.example:443") == "https://hub.example:443"
    assert origin_of("http://hub.example") != origin_of("https://hub.example")
    assert origin_of("https://user@hub.example:8443/") == "https://hub.example:8443"


def test_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "proxy.example:3128")
    monkeypatch.setenv("no_proxy", ".inside.example,localhost")
    assert proxy_for("https://hub.example/x") == "http://proxy.example:3128"
    assert proxy_for("https://a.inside.example/x") == proxy_for("http://hub.example") == ""
    monkeypatch.setenv("all_proxy", "http://all.example")
    assert proxy_for("http://hub.example") == "http://all.example"
