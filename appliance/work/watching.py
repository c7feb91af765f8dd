"""What is told while a model learns, and what ends it early: a stop, a loss that is no number or explodes."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from typing import Any

from appliance.errors import ApplianceError, Stopped
from appliance.locale import _
from appliance.planning.way import WHOLE
from appliance.work import checkpoints, trackers
from appliance.work.context import Context

# What TRL and transformers call it, and what an event calls it.
_METRICS = {
    "loss": "loss",
    "eval_loss": "held_out_loss",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "rewards/accuracies": "preferred",
    "rewards/margins": "margin",
    "accuracy": "preferred",
    "margin": "margin",
    "reward": "reward",
}
# Looks at the held-out rows without a better one, after which it ends.
_PATIENCE = 3
# More than that is not lost, however long a step takes: a processor may need minutes for one.
_SAVE_SECONDS = 600
# A loss this many times its best so far, three steps in a row, does not come back. Small losses may jump freely.
_EXPLODED, _IN_A_ROW, _AT_LEAST = 4.0, 3, 2.0


def finite(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None


def exploded(losses: Sequence[float]) -> bool:
    """Whether the last losses are far above what had been reached."""
    if len(losses) <= _IN_A_ROW:
        return False
    best = min(losses[:-_IN_A_ROW])
    return all(loss > max(_AT_LEAST, _EXPLODED * best) and loss > losses[0] for loss in losses[-_IN_A_ROW:])


def shortened(losses: Sequence[float]) -> list[float]:
    """All that `exploded` looks at: the first, the best of those before the last ones, and these."""
    return [losses[0], min(losses[:-_IN_A_ROW]), *losses[-_IN_A_ROW:]] if len(losses) > _IN_A_ROW else list(losses)


def learned_by_heart(history: list[dict[str, Any]]) -> bool:
    """Whether the last looks at the held-out rows brought none better than an earlier one.

    Never in the first pass: a row that was seen once is not known by heart, and a short run is not ended by chance.
    """
    best = checkpoints.best_of(history)
    if best is None or max(entry.get("epoch", 0.0) for entry in history) < 1:
        return False
    later = [entry for entry in history if "eval_loss" in entry and entry["step"] > best[0]]
    return len(later) >= _PATIENCE


def memory_gib(plan: dict[str, Any]) -> float:
    """What the training holds now (GiB): on the card what torch has taken of it, else the process's own memory."""
    import psutil
    import torch

    if plan.get("device") == "cuda":
        return round(float(torch.cuda.memory_reserved()) / 2**30, 2)
    if plan.get("device") == "mps":
        return round(float(torch.mps.driver_allocated_memory()) / 2**30, 2)
    return round(psutil.Process().memory_info().rss / 2**30, 2)


def reporter(context: Context, steps: int) -> Any:
    """A callback: steps as events; a request to stop as a checkpoint and a clean end; a diverging loss as an error."""
    from transformers import TrainerCallback

    tracked = trackers.Trackers(context)
    patience = context.spec.get("save_seconds", _SAVE_SECONDS)

    class Reporter(TrainerCallback):  # type: ignore[misc]
        _before: tuple[float, float] | None = None  # tokens and time
        _saved = 0.0  # when
        _losses: Sequence[float] = ()  # shortened: after a day's steps even a look at all takes long

        def _pace(self, tokens: float | None) -> dict[str, float]:
            """Tokens a second since the last call, padding not counted."""
            now, before = time.monotonic(), self._before
            if tokens is None:
                return {}
            self._before = (tokens, now)
            if before is None or now <= before[1] or tokens <= before[0]:
                return {}
            return {"tokens_s": round((tokens - before[0]) / (now - before[1]), 1)}

        def on_train_begin(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
            if args.process_index == 0:
                tracked.begin()
            self._saved = time.monotonic()
            self._losses = shortened([entry["loss"] for entry in state.log_history if "loss" in entry])
            context.progress("training", state.global_step, steps, "step")

        def on_train_end(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
            tracked.end()

        def on_step_end(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
            context.progress("training", state.global_step, steps, "step")
            if args.eval_strategy != "no" and state.global_step >= state.max_steps:
                control.should_evaluate = True  # also where the last step is no multiple
            stop, late = _anyone(args, context.stopping.is_set(), time.monotonic() - self._saved > patience)
            if stop or late:
                control.should_save = True
            if stop:
                control.should_training_stop = True

        def on_save(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
            self._saved = time.monotonic()

        def on_prediction_step(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
            if args.world_size == 1 and context.stopping.is_set():
                raise Stopped  # a look can take minutes; the last checkpoint is near

        def on_evaluate(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
            best = checkpoints.best_of(state.log_history)
            if learned_by_heart(state.log_history) and state.global_step < state.max_steps:
                context.note(
                    _("It has not become better on the held-out rows since step {step}: it ends here.").format(
                        step=best[0] if best else 0
                    )
                )
                control.should_save = True
                control.should_training_stop = True

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_k: Any) -> None:
            values = {ours: logs[theirs] for theirs, ours in _METRICS.items() if logs and theirs in logs}
            if values:
                measured = {name: finite(value) for name, value in values.items()}
                if logs and "loss" in values:
                    measured |= self._pace(logs.get("num_tokens")) | {"memory_gib": memory_gib(context.plan)}
                context.metric(step=state.global_step, **measured)
                tracked.log(state.global_step, measured)
            if "loss" not in values:
                return
            self._losses = shortened([*self._losses, values["loss"]])
            if not math.isfinite(values["loss"]):
                raise _diverged(
                    _("The training diverged at step {step}: the loss is no number any more."), state, context, 1
                )
            if exploded(self._losses):
                sentence = _("The training diverged at step {step}: the loss has exploded.")
                raise _diverged(sentence, state, context, _IN_A_ROW)

    return Reporter()


def _anyone(args: Any, *mine: bool) -> list[bool]:
    """Whether each holds in any of the processes: they save and stop at the same step, or they would wait for ever."""
    if args.world_size == 1:
        return list(mine)
    import torch

    told = torch.tensor([int(one) for one in mine], device=args.device)
    torch.distributed.all_reduce(told)
    return [bool(one) for one in told.tolist()]


def _diverged(sentence: str, state: Any, context: Context, bad: int) -> ApplianceError:
    """The error for a person. Of the checkpoints only good ones stay: the last `bad` losses were already those of
    weights that are spoilt, which the step before had left."""
    root = context.folder / "checkpoints"
    if state.is_world_process_zero:
        for step, folder in checkpoints.numbered(root):
            if step >= state.global_step - bad:
                shutil.rmtree(folder, ignore_errors=True)
    next_step = _("Fine-tune again with a lower --learning-rate, a tenth of it for example.")
    kept = checkpoints.latest_whole(root)
    # PiSSA's is none for the base as it is, all weights are no adapter, and a judge can't go on from one.
    if kept and context.plan["method"] not in (*WHOLE, "pissa") and context.spec.get("task") != "reward":
        next_step += " " + _(
            "What it had learned until step {step} is kept; to go on from there: --adapter {at}"
        ).format(step=kept[0], at=kept[1])
    return ApplianceError(
        sentence.format(step=state.global_step),
        _("The learning rate {rate:g} is too high for this model or data.").format(rate=context.plan["learning_rate"]),
        next_step,
    )
