"""What an expert is asked about a fine-tune, on one card and on several."""

from __future__ import annotations

from typing import Any

import pytest

from appliance import questions
from appliance.menu import finetune
from appliance.planning.wish import SHARDINGS, read_wish

PLAN: dict[str, Any] = {
    "rank": 16,
    "length": 512,
    "micro_batch": 4,
    "epochs": 3.0,
    "learning_rate": 2e-4,
    "gpus": 1,
    "device": "cuda",
}


@pytest.mark.parametrize("cards", [1, 2])
def test_how_cards_work_together_is_asked_where_there_are_several(monkeypatch: pytest.MonkeyPatch, cards: int) -> None:
    asked: list[str] = []

    def choose(title: str, ways: list[tuple[str, Any]], default: Any = None) -> Any:
        asked.append(title)
        return "zero2" if {way for _label, way in ways} == {None, *SHARDINGS} else default

    monkeypatch.setattr(questions, "choose", choose)
    monkeypatch.setattr(questions, "text", lambda label, planned, check: "2" if "Cards" in label else planned)
    monkeypatch.setattr(questions, "several", lambda title, ways, planned: planned)
    wish = finetune._advanced(PLAN, cards)
    assert wish == ({} if cards == 1 else {"gpus": 2, "sharding": "zero2"})
    assert read_wish(wish) and len(asked) == cards


def test_techniques_can_be_switched_and_answers_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left as planned is no wish; what is switched is one that the plan takes."""
    offered: list[str] = []

    def several(_title: str, ways: list[tuple[str, Any]], planned: list[str]) -> list[str]:
        offered[:] = [name for _label, name in ways]
        return [name for name in offered if name not in planned]

    monkeypatch.setattr(questions, "several", several)
    planned = {**PLAN, "packing": False, "padding_free": True, "flash": True, "liger": True, "checkpointing": True,
               "optimizer": "adamw_torch_fused", "neftune": 0.0}  # fmt: skip
    wish = finetune._switched(planned)
    assert wish == {"packing": True, "padding_free": False, "flash": False, "liger": False, "checkpointing": False,
                    "optimizer": "paged_adamw_8bit", "neftune": 5.0}  # fmt: skip
    back = finetune._switched({**planned, **wish, "device": "cpu"})
    assert back["optimizer"] == "adamw_torch_fused" and back["neftune"] == 0 and not {"liger", "flash"} & back.keys()
    assert read_wish(wish) and read_wish(back)
    assert not {"packing", "padding_free", "neftune"} & finetune._switched(planned, "dpo").keys()
    monkeypatch.setattr(questions, "choose", lambda _title, ways, default=None: ways[-1][1])
    assert finetune._way_of_answering("sft") == {"task": "grpo", "rewards": ("exact",)}
    monkeypatch.setattr(questions, "choose", lambda _title, ways, default=None: default)
    assert finetune._way_of_answering("sft") == {"task": "sft", "rewards": ()}
