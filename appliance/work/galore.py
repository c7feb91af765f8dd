"""GaLore: AdamW on gradients that are projected onto a few directions (Zhao et al. 2024, algorithm 2).

All weights learn, but the optimizer's two moments have the projection's size. Own code, because galore-torch has not
been kept up since its first release and keeps its projections as Python objects, which no checkpoint may hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

# Steps between two looks for the directions, and how much of the projected step is taken: the paper's for fine-tuning.
_GAP, _OVERSAMPLED, _ROUNDS = 200, 8, 2


def groups(model: torch.nn.Module, rank: int) -> list[dict[str, Any]]:
    """Parameter groups: the matrices of linear layers with `rank`, and everything else, the head included."""
    head = getattr(model, "get_output_embeddings", lambda: None)()
    matrices = [
        module.weight
        for module in model.modules()
        if isinstance(module, torch.nn.Linear) and module is not head and module.weight.requires_grad
    ]
    known = {id(weight) for weight in matrices}
    rest = [weight for weight in model.parameters() if weight.requires_grad and id(weight) not in known]
    return [{"params": matrices, "rank": rank}, {"params": rest, "rank": 0}]


class GaLore(torch.optim.Optimizer):  # type: ignore[misc]
    """AdamW without weight decay; groups with a `rank` above 0 keep their moments in that many directions."""

    def __init__(self, params: Iterable[Any], lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "rank": 0})

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self, closure: Any = None) -> None:
        """One step; `closure` as torch has it."""
        if closure is not None:
            with torch.enable_grad():
                closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._learn(weight, group)

    def _learn(self, weight: Any, group: dict[str, Any]) -> None:
        state, gradient = self.state[weight], weight.grad.float()
        count = int(state.get("step", torch.zeros(()))) + 1
        wide = gradient.dim() == 2 and gradient.shape[0] <= gradient.shape[1]
        small = gradient.dim() == 2 and 0 < group["rank"] < min(gradient.shape)
        if small:
            gradient = gradient if wide else gradient.T
            if (count - 1) % _GAP == 0:
                state["directions"] = _directions(gradient, group["rank"], count)
            gradient = state["directions"].T @ gradient
        if count == 1:
            state["mean"], state["square"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
        state["step"] = torch.tensor(float(count))
        first, second = group["betas"]
        state["mean"].lerp_(gradient, 1 - first)
        state["square"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        size = (state["square"] / (1 - second**count)).sqrt_().add_(group["eps"])
        change = state["mean"] / (1 - first**count) / size
        if small:
            change = state["directions"] @ change
            change = change if wide else change.T
        weight.add_(change.to(weight.dtype), alpha=-group["lr"])


def _directions(gradient: Any, rank: int, count: int) -> Any:
    """Orthonormal directions (rows of the gradient × rank) that hold most of it, by a randomised range finder
    (Halko et al. 2011, algorithm 4.4). The same on every card and after a resume: chance comes from the step."""
    chance = torch.Generator().manual_seed(count)
    width = min(rank + _OVERSAMPLED, gradient.shape[0])
    found = gradient @ torch.randn(gradient.shape[1], width, generator=chance).to(gradient.device)
    for _round in range(_ROUNDS):
        found = gradient @ (gradient.T @ torch.linalg.qr(found)[0])
    basis = torch.linalg.qr(found)[0]
    # Of the few that were looked for more than needed, the weightiest.
    within = torch.linalg.svd(basis.T @ gradient, full_matrices=False)[0]
    return (basis @ within[:, :rank]).contiguous()
