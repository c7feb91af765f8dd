"""Every command line that the plan can make for GPUs, read by the engines' own parsers from their wheels."""

from __future__ import annotations

import itertools
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from machines import MACHINES

from appliance import engines, settings
from appliance.engines import families
from appliance.errors import ApplianceError
from appliance.planning.catalogue import load
from appliance.planning.serving import engine_options, serving_plan

SCRIPT = Path(__file__).with_name("parse_lines.py")
ADAPTERS = [{"name": "a", "folder": "/w/a=b,c d/钥", "rank": 12}, {"name": "b", "folder": "/w/b", "rank": 300}]


def lines(engine: engines.Engine, template: Path) -> list[list[str]]:
    """Machines × models × wishes, as prepare.serve makes them; those that differ. `template`: an adapter's own."""
    made = {}
    for machine, model in itertools.product(MACHINES.values(), load()):
        machine = replace(machine, accelerators=engines.cards(engine, machine))
        if not machine.accelerators:
            continue
        shape = model.shape()
        for dtype, length in (("bfloat16", None), ("float16", 1024), ("float32", 32768)):
            try:
                room = serving_plan(
                    machine, replace(shape, dtype=dtype), length=length, most_cards=engine.most_cards,
                    most_parallel=engine.most_parallel, kinds=engine.kinds,
                )  # fmt: skip
            except ApplianceError:
                continue
            for thinks, beside in itertools.product((False, True), range(3 if engine.takes_adapters else 1)):
                options = {**engine_options(room), "family": shape.model_type, "thinks": thinks}
                if beside == 1 and engine.name != "lmdeploy":
                    options["chat_template"] = str(template)
                spec = {"name": "my model", "adapters": ADAPTERS[:beside], "options": options}
                words = engine.command(Path("/e/python"), Path("/m/钥 @:x"), "127.0.0.1", 8000, spec)
                made[tuple(words)] = words
    return list(made.values())


@pytest.mark.engines
@pytest.mark.parametrize("name", ["vllm", "lmdeploy", "sglang"])
def test_the_engines_own_parser_takes_every_line(name: str, tmp_path: Path) -> None:
    template = tmp_path / "a dapter=钥" / "chat_template.jinja"
    template.parent.mkdir()
    template.write_text("{{ messages }}")  # vLLM looks whether it is there
    made = lines(engines.by_name(name), template)
    assert len(made) > 100
    python = settings.python_of("test-engines")
    done = subprocess.run(
        [python, SCRIPT, name], input="\n".join(map(json.dumps, made)), capture_output=True, text=True,
        env={**settings.child_environment(), "VLLM_TARGET_DEVICE": "cpu"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert told["bad"] == [], (len(told["bad"]), told["bad"][:3])
    assert set(families._CALLS[name].values()) <= set(told["calls"])
    assert set(families._THOUGHTS[name].values()) <= set(told["thoughts"])


def test_several_cards_share_what_one_cannot_hold() -> None:
    """Also in the ordinary tests: 70B on eight A100, its heads cut evenly."""
    large = next(model for model in load() if 60 < model.parameters_b < 80)
    one = MACHINES["8xA100 80"]
    room = serving_plan(one, large.shape(), most_cards=8)
    assert room.cards in (2, 4) and len(room.accelerators) == room.cards == len(room.uuids)
    assert f"each of {room.cards} cards" in room.sentence
    words = engines.by_name("vllm").command(
        Path("/p"), Path("/m"), "h", 1, {"name": "n", "options": engine_options(room)}
    )
    assert words[words.index("--tensor-parallel-size") + 1] == str(room.cards)
    with pytest.raises(ApplianceError, match="too large"):
        serving_plan(one, large.shape(), most_cards=1)
