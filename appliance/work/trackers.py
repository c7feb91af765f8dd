"""The same figures at Weights & Biases or SwanLab, where a person asked for it; TensorBoard's files are always written.

Only numbers go there: steps, losses, the plan's choices, the model's name. No rows, no answers, no paths. Without a key
everything is kept in the job's folder, to be sent later. Whatever goes wrong with it never ends a training.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from appliance import settings
from appliance.jobs.control import missing_environment
from appliance.locale import _
from appliance.work.context import Context

_CHOICES = (
    "method", "dtype", "device_name", "gpus", "sharding", "micro_batch", "accumulation", "length", "rank", "alpha",
    "learning_rate", "epochs", "optimizer", "checkpointing",
)  # fmt: skip
_SECONDS = 20  # to reach it


def reachable(names: list[str]) -> None:
    """Put the trackers' environment behind this one's, so that both can be imported. Raises ApplianceError."""
    if not names:
        return
    python = settings.python_of("track")
    if not python.exists():
        raise missing_environment("track")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    place = str(python.parent.parent / "lib" / version / "site-packages")
    if place not in sys.path:
        sys.path.append(place)  # last: what both have is this environment's


class Trackers:
    """Those of a job. `begin` when the training begins, `log` each step, `end` at its end."""

    def __init__(self, context: Context):
        self._context = context
        self._names: list[str] = list(context.spec.get("track") or ())
        self._open: dict[str, Any] = {}

    def begin(self) -> None:
        """Open a run at each; one that can't be reached is said and left out."""
        for name in self._names:
            try:
                self._open[name] = {"wandb": _wandb, "swanlab": _swanlab}[name](self._context)
            except Exception as error:  # the network, an account, the library itself
                self._refused(name, error)
                continue
            if not os.environ.get(settings.TRACKERS[name][0]):
                self._context.note(
                    _("{name}: there is no key ({variable}), so it is kept in {folder} and can be sent later.").format(
                        name=name, variable=settings.TRACKERS[name][0], folder=self._context.folder / name
                    )
                )

    def log(self, step: int, values: dict[str, Any]) -> None:
        """Measured values of a step."""
        numbers = {name: value for name, value in values.items() if isinstance(value, (int, float))}
        for name, run in list(self._open.items()):
            try:
                run.log(numbers, step=step)
            except Exception as error:
                self._refused(name, error)

    def end(self) -> None:
        """Close all."""
        for name, run in list(self._open.items()):
            try:
                run.finish()
            except Exception as error:
                self._refused(name, error)
        self._open = {}

    def _refused(self, name: str, error: Exception) -> None:
        self._open.pop(name, None)
        why = str(error).strip().split("\n")[0][:200] or type(error).__name__
        key = os.environ.get(settings.TRACKERS[name][0])
        why = why.replace(key, "…") if key else why
        self._context.warn(
            _("{name} does not work, and the training goes on without it: {why}").format(name=name, why=why)
        )


def _config(context: Context) -> dict[str, Any]:
    chosen = {name: context.plan[name] for name in _CHOICES if name in context.plan}
    return {**chosen, "model": Path(context.spec["model"]).name, "task": context.spec.get("task") or "sft"}


def _run_id(context: Context) -> str:
    """A resumed job goes on in its own run."""
    return re.sub(r"[^a-z0-9-]", "-", context.id)[-60:]


def _wandb(context: Context) -> Any:
    import wandb

    folder = context.folder / "wandb"
    folder.mkdir(exist_ok=True)
    offline = not os.environ.get("WANDB_API_KEY")
    return wandb.init(
        project=os.environ.get("WANDB_PROJECT") or "appliance",
        name=context.id,
        id=_run_id(context),
        resume=None if offline else "allow",
        dir=str(folder),
        mode="offline" if offline else "online",
        config=_config(context),
        save_code=False,
        settings=wandb.Settings(
            console="off", silent=True, disable_git=True, disable_code=True, x_disable_meta=True, x_disable_stats=True,
            init_timeout=_SECONDS, x_save_requirements=False,
        ),
    )  # fmt: skip


def _swanlab(context: Context) -> Any:
    import swanlab

    folder = context.folder / "swanlab"
    folder.mkdir(exist_ok=True)
    # It would keep the key and its own settings in the person's home.
    os.environ["SWANLAB_SAVE_DIR"] = str(folder)
    offline = not os.environ.get("SWANLAB_API_KEY")
    return swanlab.init(
        project=os.environ.get("SWANLAB_PROJECT") or "appliance",
        name=context.id,
        log_dir=str(folder),
        mode="offline" if offline else "online",
        config=_config(context),
        **({} if offline else {"id": _run_id(context), "resume": "allow"}),
    )
