"""A worker whose memory is full at a given step: `starved.py STEP JOB_FOLDER`, in place of `-m appliance.work`.

The error is torch's own. The worker that starts again in its place is the real one.
"""

from __future__ import annotations

import sys
from typing import Any

from appliance.work import trainers
from appliance.work.__main__ import main


def starve(step: int) -> None:
    real = trainers.of

    def of(*words: Any) -> Any:
        kind, settings, own = real(*words)

        class Starved(kind):  # type: ignore[misc, valid-type]
            def training_step(self, *inputs: Any, **options: Any) -> Any:
                import torch

                if self.state.global_step == step:
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
                return super().training_step(*inputs, **options)

        return Starved, settings, own

    trainers.of = of


if __name__ == "__main__":
    starve(int(sys.argv.pop(1)))
    sys.exit(main())
