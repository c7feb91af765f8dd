"""Faults at random, with fixed seeds: many at once, at both hubs, with kills in between in other tests."""

from __future__ import annotations

import random

import pytest
from bringing import HASTY, Bring
from fake_hub import Ask, Do, FakeHub
from model_files import large_files
from test_faults import nothing_shown, whole

from appliance.errors import ApplianceError

FILES = large_files((1_500_000, 700_000, 40_000))


def some_fault(chance: random.Random, ask: Ask) -> Do:
    size = len(FILES[ask.name])
    place = chance.randrange(size)
    kinds = [
        Do(cut=chance.randrange(1, 100_000)),
        Do(cut=0),
        Do(empty=True),
        Do(whole=True),
        Do(whole=True, cut=chance.randrange(1, 400_000)),
        Do(status=chance.choice([500, 502, 503, 504, 429, 408])),
        Do(status=chance.choice([429, 503]), headers={"Retry-After": chance.choice(["0", "1"])}),
        Do(stall=chance.randrange(100_000)),
        Do(trickle=500),
        Do(flip=place),
        Do(content=FILES[ask.name][:place]),
        Do(headers={"Content-Range": "bytes 0-0/1"}),
        Do(headers={"Content-Encoding": "gzip"}),
        Do(endless=True),
    ]
    return chance.choice(kinds)


def mixed(hub: FakeHub, seed: int, share: float) -> None:
    """A share of the first requests for each file goes wrong, and now and then all addresses run out."""
    chance = random.Random(seed)
    flipped: set[str] = set()

    def plan(ask: Ask) -> Do | None:
        if ask.at == "cdn" and chance.random() < 0.05:
            hub.expire()
        if ask.number > 40 or chance.random() > share:
            return None
        do = some_fault(chance, ask)
        if do.flip is not None and (ask.name in flipped or flipped.add(ask.name)):
            return None  # once is mended, twice is refused: another test
        return do

    hub.plan = plan


@pytest.mark.parametrize("source", ["huggingface", "modelscope"])
@pytest.mark.parametrize("seed", range(4))
def test_mixed(seed: int, source: str, hubs: dict[str, FakeHub], bring: Bring) -> None:
    hub = hubs[source]
    hub.files = dict(FILES)
    mixed(hub, seed, 0.3)
    whole(bring(source=source), FILES)


@pytest.mark.parametrize("seed", range(3))
def test_both_hubs_fail_in_turn_and_nothing_wrong_is_ever_shown(
    seed: int, hubs: dict[str, FakeHub], bring: Bring
) -> None:
    for number, hub in enumerate(hubs.values()):
        hub.files = dict(FILES)
        mixed(hub, 100 + 2 * seed + number, 0.8)
    for _try in range(10):
        try:
            folder = bring(limits=HASTY)
            break
        except ApplianceError as told:
            assert told.what and told.next_step
            nothing_shown()
    else:
        for hub in hubs.values():
            hub.plan = lambda _ask: None
        folder = bring()
    whole(folder, FILES)
