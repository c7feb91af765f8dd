"""What an expert is asked about a fine-tune, on one card and on several."""

from __future__ import annotations

from typing import Any

import pytest

from appliance import questions
from appliance.menu import finetune
from appliance.planning.wish import SHARDINGS, read_wish

PLAN = {"rank": 16, "length": 512, "micro_batch": 4, "epochs": 3.0, "learning_rate": 2e-4, "gpus": 1, "device": "cuda"}


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
