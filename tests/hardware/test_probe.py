"""The probe's answer and its way back from JSON; what the cards are sold as."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ApplianceError
from appliance.hardware import Hardware, probe
from appliance.hardware.types import nominal_gb

A10 = {"kind": "cuda", "name": "A10", "memory_gib": 22.49, "compute_capability": "8.6"}
CPU = {"model": "x", "cores": 4, "memory_gib": 32}


def test_keys(tmp_path: Path) -> None:
    answer = probe(tmp_path / "not" / "yet" / "there").as_dict()
    assert set(answer) == {"accelerators", "cpu", "disk_free_gib", "shm_gib", "driver", "cuda", "warnings"}
    assert set(answer["cpu"]) == {"model", "cores", "memory_gib", "free_gib", "features"}
    assert answer["cpu"]["cores"] >= 1
    assert 0 < answer["cpu"]["free_gib"] <= answer["cpu"]["memory_gib"]
    assert answer["disk_free_gib"] > 0
    assert Hardware.from_dict(json.loads(json.dumps(answer))).as_dict() == answer
    assert not (tmp_path / "not").exists()


def test_what_is_left_out_is_filled_in() -> None:
    hardware = Hardware.from_dict({"accelerators": [A10, {**A10, "compute_capability": 7.5}], "cpu": CPU})
    first, second = hardware.accelerators
    assert (first.index, first.nominal_gb, first.free_gib, first.bf16, first.capability()) == (
        0,
        24,
        22.49,
        True,
        (8, 6),
    )
    assert (second.index, second.bf16, second.compute_capability) == (1, False, "7.5")
    assert hardware.cpu.free_gib == 32


def test_there_and_back() -> None:
    card = {**A10, "uuid": "MIG-1", "parent": 0, "warnings": ["ill"], "holders": [{"pid": 1, "name": "a"}]}
    answer = Hardware.from_dict({"accelerators": [card], "cpu": {**CPU, "features": ["amx"]}, "cuda": "13.0"}).as_dict()
    assert Hardware.from_dict(json.loads(json.dumps(answer))).as_dict() == answer
    assert answer["accelerators"][0].items() >= {"uuid": "MIG-1", "parent": 0, "warnings": ["ill"]}.items()
    assert (answer["cpu"]["features"], answer["cuda"]) == (["amx"], "13.0")


def test_every_problem_at_once() -> None:
    wrong: dict[str, Any] = {
        "accelerators": [{"kind": "gpu"}, "card", {**A10, "compute_capability": "new", "free_gib": -1}],
        "cpu": {"memory_gib": "much"},
        "driver": 580,
        "warnings": "none",
    }
    with pytest.raises(ApplianceError) as caught:
        Hardware.from_dict(wrong)
    text = "\n".join(caught.value.problems)
    for part in (
        "accelerators[0].kind",
        "accelerators[0].memory_gib",
        "accelerators[1]",
        "accelerators[2].compute_capability",
        "accelerators[2].free_gib",
        "cpu.memory_gib",
        "hardware.driver",
        "hardware.warnings",
    ):
        assert part in text
    assert caught.value.next_step


_KEYS = st.sampled_from(["accelerators", "cpu", "kind", "memory_gib", "holders", "driver", "compute_capability"])
_LEAVES = st.none() | st.booleans() | st.floats() | st.text(max_size=5)
_ANYTHING = st.recursive(_LEAVES, lambda inner: st.lists(inner) | st.dictionaries(_KEYS, inner), max_leaves=12)


@given(_ANYTHING)
def test_nonsense_is_told_and_never_a_traceback(value: Any) -> None:
    try:
        Hardware.from_dict(value)
    except ApplianceError as error:
        assert error.problems


@pytest.mark.parametrize(
    ("gib", "gb"),
    [(22.49, 24), (22.0, 22), (23.99, 24), (24.0, 24), (14.56, 16), (11.0, 11), (7.996, 8), (44.99, 48), (79.35, 80),
     (31.84, 32), (93.58, 94), (95.6, 96), (140.4, 141), (179.06, 180), (9.5, 10), (500.2, 501)],
)  # fmt: skip
def test_nominal(gib: float, gb: int) -> None:
    assert nominal_gb(gib) == gb
