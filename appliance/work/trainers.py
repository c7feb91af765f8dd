"""One TRL trainer a task. All of them take rows that are token ids already (`rows`, `preferences`), so that every task
learns exactly what the report and the preview show.
"""

from __future__ import annotations

import math
from typing import Any

# What a task needs besides the plan's choices; the values are those of the methods' own papers.
_OPTIONS: dict[str, dict[str, Any]] = {
    "dpo": {"beta": 0.1},
    "kto": {"beta": 0.1},
    "orpo": {"beta": 0.1},
    # SimPO's paper: beta 2 to 2.5, gamma/beta 0.3 to 0.5; without the part of the loss that CPO adds.
    "simpo": {"loss_type": "simpo", "beta": 2.0, "simpo_gamma": 1.0, "cpo_alpha": 0.0},
    "reward": {},
}


def of(task: str) -> tuple[type, type, dict[str, Any]]:
    """(trainer, its settings' class, its own settings) for sft, pretrain, dpo, kto, orpo, simpo, reward."""
    if task in ("sft", "pretrain"):
        from trl import SFTConfig, SFTTrainer

        return _largest_seen(SFTTrainer), SFTConfig, {"dataset_kwargs": {"skip_prepare_dataset": True}}
    if task == "dpo":
        from trl import DPOConfig, DPOTrainer

        pair: tuple[type, type] = (DPOTrainer, DPOConfig)
    elif task == "kto":
        from trl import KTOConfig, KTOTrainer

        pair = (KTOTrainer, KTOConfig)
    elif task == "orpo":
        from trl.experimental.orpo import ORPOConfig, ORPOTrainer

        pair = (ORPOTrainer, ORPOConfig)
    elif task == "simpo":
        from trl.experimental.cpo import CPOConfig, CPOTrainer

        pair = (CPOTrainer, CPOConfig)
    elif task == "reward":
        from trl import RewardConfig, RewardTrainer

        pair = (RewardTrainer, RewardConfig)
    else:
        raise KeyError(task)
    return _largest_seen(_encoded_already(pair[0])), pair[1], dict(_OPTIONS[task])


def balanced(labels: list[bool]) -> dict[str, float]:
    """KTO's weights for a file with more thumbs of one kind: the rarer kind counts as much as the other in all.

    KTO's paper, equation 8: desirable × their number over undesirable × theirs stays within 1 to 4/3.
    """
    good = max(1, sum(labels))
    bad = max(1, len(labels) - sum(labels))
    return {"desirable_weight": max(1.0, bad / good), "undesirable_weight": max(1.0, good / bad)}


def _encoded_already(base: type) -> type:
    class Encoded(base):
        def _prepare_dataset(self, dataset: Any, *_more: Any, **_options: Any) -> Any:
            return dataset

        def tokenize_row(self, feature: Any, **_options: Any) -> Any:
            return feature

    return Encoded


def _largest_seen(base: type) -> type:
    class LargestSeen(base):
        largest = (0, 0)  # rows and tokens a row of the largest batch that went through the model

        def training_step(self, model: Any, inputs: Any, *more: Any, **options: Any) -> Any:
            shapes = [tuple(value.shape) for name, value in inputs.items() if name.endswith("input_ids")]
            self.largest = max([self.largest, *shapes], key=math.prod)
            return super().training_step(model, inputs, *more, **options)

    return LargestSeen
