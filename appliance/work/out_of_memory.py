"""When the memory is not enough after all: smaller batches, then shorter rows, then a sentence.

What was reduced stands in the job's folder, so a resumed job does not try the same again. The worker starts anew in the
same process: only that gives back all that the failed step had taken, whatever still holds on to it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from appliance import files, rewards
from appliance.errors import ApplianceError
from appliance.locale import _
from appliance.work.context import Context

NAME = "reduced.json"
# What stands in a RuntimeError where the memory was taken by others than torch's own allocator.
_SIGNS = (
    "mps backend out of memory",
    "defaultcpuallocator: can't allocate memory",
    "defaultcpuallocator: not enough memory",
    "cuda error: out of memory",
    "cublas_status_alloc_failed",
)
# Rows shorter than this say hardly anything.
SHORTEST = 128


@contextmanager
def told(step: int = 0) -> Iterator[None]:
    """Inside, a memory that is not enough becomes `Full` at this step."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise Full(step, str(error)) from error


class Full(Exception):
    """The memory was not enough in a step of the training; `why` is the library's own sentence."""

    def __init__(self, step: int, why: str):
        super().__init__(why)
        self.step, self.why = step, why


def is_out_of_memory(error: BaseException) -> bool:
    """torch's own error, and what the CPU's and Metal's allocators say in its place."""
    names = {kind.__name__ for kind in type(error).__mro__}
    text = str(error).lower()
    return "OutOfMemoryError" in names or (isinstance(error, RuntimeError) and any(sign in text for sign in _SIGNS))


def apply(context: Context) -> None:
    """Let what was reduced before win over the plan."""
    if (context.folder / NAME).exists():
        context.plan.update(files.read_json(context.folder / NAME))


def reduced(
    micro_batch: int, accumulation: int, length: int, *, pieces: bool = True, least: int = 1
) -> dict[str, int] | None:
    """The next smaller way: the same rows a step in smaller pieces, then half the length; None when there is none.

    pieces  whether smaller pieces take less memory: answers that are tried are all made at once

    least   rows in a piece: KTO's loss is another one where a row has no neighbour

    A piece must divide the step's rows: from 6 rows at once to 3, from 3 to 1.
    """
    rows = micro_batch * accumulation
    smaller = next((n for n in range(micro_batch // 2, least - 1, -1) if rows % n == 0), None)
    if smaller and pieces:
        return {"micro_batch": smaller, "accumulation": rows // smaller, "length": length}
    if length // 2 >= SHORTEST:
        return {"micro_batch": micro_batch, "accumulation": accumulation, "length": length // 2}
    return None


def start_smaller(context: Context, full: Full) -> NoReturn:
    """Write down the next smaller way and start again from the last checkpoint; does not return. Raises
    ApplianceError when nothing smaller is left."""
    plan: dict[str, Any] = context.plan
    smaller = reduced(
        plan["micro_batch"],
        plan["accumulation"],
        plan["length"],
        pieces=context.spec.get("task") not in rewards.TASKS,
        least=2 if context.spec.get("task") == "kto" else 1,
    )
    if smaller is None:
        raise ApplianceError(
            _("The memory is not enough, even for one row of {length} tokens at a time.").format(length=plan["length"]),
            full.why.strip().split("\n")[0][:200],
            _("Choose a smaller model or --method qlora, or close other programs that hold the card's memory."),
        ) from full
    if smaller["length"] < plan["length"]:
        if plan.get("packing"):  # there are twice as many packs now
            smaller["accumulation"] *= 2
        context.warn(
            _(
                "The memory was full at step {step}. It goes on from the last checkpoint with rows of at most {length}"
                " tokens; longer ones are cut."
            ).format(step=full.step, length=smaller["length"])
        )
    else:
        context.warn(
            _(
                "The memory was full at step {step}. It goes on from the last checkpoint with {batch} rows at once"
                " instead of {before}; a step still learns from {rows} rows."
            ).format(
                step=full.step,
                batch=smaller["micro_batch"],
                before=plan["micro_batch"],
                rows=smaller["micro_batch"] * smaller["accumulation"],
            )
        )
    files.write_json(context.folder / NAME, smaller)
    sys.stderr.flush()
    context.continue_in("train")
