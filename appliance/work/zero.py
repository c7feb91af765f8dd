"""DeepSpeed ZeRO: several cards share optimizer states and gradients (2), or the weights as well (3). Configured from
the plan alone; nobody writes a file of settings.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from appliance import settings
from appliance.jobs.control import missing_environment

STAGES = {"zero2": 2, "zero3": 3}


def stage(plan: dict[str, Any]) -> int:
    """2 or 3; 0 without DeepSpeed."""
    return STAGES.get(plan.get("sharding") or "", 0)


def reachable(plan: dict[str, Any]) -> None:
    """Put DeepSpeed's environment behind this one's. Raises ApplianceError where it is not installed."""
    if not stage(plan):
        return
    python = settings.python_of("deepspeed")
    if not python.exists():
        raise missing_environment("deepspeed")
    root = python.parent.parent
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    sys.path.append(str(root / "lib" / version / "site-packages"))
    if plan.get("device") == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
        import deepspeed.ops

        # It would compile a faster way between processes of one machine; where there is no compiler, it would fail.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def config(plan: dict[str, Any]) -> dict[str, Any]:
    """DeepSpeed's settings for this plan, complete: nothing in them is "auto"."""
    cuda = plan.get("device") == "cuda"
    sharing: dict[str, Any] = {"stage": stage(plan), "contiguous_gradients": True, "overlap_comm": cuda}
    if stage(plan) == 3:
        # A checkpoint's adapter can then be read without DeepSpeed.
        sharing["stage3_gather_16bit_weights_on_model_save"] = True
    return {
        "train_micro_batch_size_per_gpu": plan["micro_batch"],
        "gradient_accumulation_steps": plan["accumulation"],
        "train_batch_size": plan["micro_batch"] * plan["accumulation"] * plan["gpus"],
        "gradient_clipping": 1.0,
        "bf16": {"enabled": plan["dtype"] == "bfloat16"},
        "fp16": {"enabled": plan["dtype"] == "float16"},
        "zero_optimization": sharing,
        # The optimizer is torch's own, so nothing has to be compiled.
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 10**9,
    }


def before_loading(plan: dict[str, Any]) -> Any:
    """What must live while the model is loaded, so that no process ever holds all of it (3); else None."""
    if stage(plan) != 3:
        return None
    import deepspeed
    from transformers.integrations import HfDeepSpeedConfig

    # Otherwise each would take itself for the only one, and hold everything.
    backend = "gloo" if plan.get("device") == "cpu" else "nccl"
    deepspeed.init_distributed(dist_backend=backend, auto_mpi_discovery=False, verbose=False)
    return HfDeepSpeedConfig(config(plan))


@contextmanager
def whole(model: Any, plan: dict[str, Any], *, change: bool = False) -> Iterator[None]:
    """Inside, what is trained is whole in each process; all processes must come here at once.

    change  what the first process changes reaches the others
    """
    trained: Any = nullcontext()
    if stage(plan) == 3:
        import deepspeed

        parts = [value for value in model.parameters() if value.requires_grad and hasattr(value, "ds_id")]
        trained = deepspeed.zero.GatheredParameters(parts, modifier_rank=0 if change else None)
    with trained:
        yield
