"""The memory estimate against published, measured figures: ours, Unsloth Studio's formula, LLaMA-Factory's rule.

    bench/estimate.py [FIGURES.jsonl]

Without the figures (../shared/memory/open.jsonl beside the project) there is nothing to do, which is said.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from figures import Case, serving_cases, training_cases
from peers import llama_factory, unsloth_studio

from appliance.planning import activations, estimate
from appliance.planning.estimate_words import estimate_any, read_settings
from appliance.planning.shape import Shape

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT.parent / "shared" / "memory" / "open.jsonl"
TOO_LOW = -0.10
# The constants that the figures decided, and what each was chosen from; the others were counted or are the libraries'.
FITTED: dict[tuple[Any, str], tuple[float, ...]] = {
    (estimate, "FRAGMENTATION"): (0.05, 0.1, 0.15, 0.2, 0.3),
    (estimate, "SPARE"): (1.0, 1.5, 2.0, 2.5, 3.0),
    (estimate, "SPARE_MOST_GIB"): (5.0, 7.0, 9.0, 11.0, 13.0),
    (activations, "ENGINE_LOGIT"): (8, 10, 12),
    (activations, "CHUNKED_LOGIT"): (6, 8, 10, 12),
    (activations, "PACKED_KEPT"): (2, 4),
}
Errors = list[tuple[Case, float]]
Formula = Callable[[Shape, dict[str, Any]], float]


def ours(shape: Shape, words: dict[str, Any]) -> float:
    """This project's, in GiB."""
    return estimate_any(shape, read_settings(words)).total_gib


def main() -> int:
    """Print the tables; 0 also where the figures do not stand."""
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else FIGURES
    if not file.is_file():
        print(f"estimate: no figures at {file}, so nothing is compared")
        return 0
    training, serving = training_cases(file), serving_cases(file)
    formulas: dict[str, Formula] = {"ours": ours, "Unsloth Studio": unsloth_studio, "LLaMA-Factory": llama_factory}
    found = {name: _errors(training, formula) for name, formula in formulas.items()}
    print(f"training, one GPU, text: {len(training)} figures, {len(_clusters(found['ours']))} clusters")
    _table(found)
    _families(found)
    own = _by_cluster(found["ours"])
    print("  average over clusters, ours lower by: ", end="")
    print(", ".join(f"{_by_cluster(errors) / own:.1f} x ({name})" for name, errors in found.items() if name != "ours"))
    alone = sorted(_left_out(training).items(), key=lambda entry: -entry[1])
    print(
        f"  each cluster left out of the fit in turn: {100 * statistics.mean(value for _name, value in alone):.1f} %",
        end="",
    )
    print("; worst:", ", ".join(f"{name} {100 * value:.0f}" for name, value in alone[:4]))
    inside = [_inside(case) for case in training]
    print(f"  figures inside our range (low to high): {100 * statistics.mean(inside):.0f} %")
    served = {"ours": _errors(serving, ours)}
    print(f"serving, one GPU, text: {len(serving)} figures, {len(_clusters(served['ours']))} clusters")
    _table(served)
    _families(served)
    return 0


def _errors(cases: Iterable[Case], formula: Formula) -> Errors:
    return [(case, case.error(formula(case.shape, case.words))) for case in cases]


def _inside(case: Case) -> bool:
    made = estimate_any(case.shape, read_settings(case.words))
    return made.low_gib <= case.measured + case.half_width and case.measured - case.half_width <= made.high_gib


def _clusters(errors: Errors) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for case, error in errors:
        found.setdefault(case.cluster, []).append(abs(error))
    return found


def _by_cluster(errors: Errors) -> float:
    return statistics.mean(statistics.mean(values) for values in _clusters(errors).values())


def _too_low(errors: Errors) -> float:
    return statistics.mean(error < TOO_LOW for _case, error in errors)


def _table(found: dict[str, Errors]) -> None:
    heads = ("mean", "median", "p95", "clusters", "under", "under by > 10 %", "bias")
    print(f"  {'absolute relative error, %':<28}" + "".join(f"{head:>{max(9, len(head) + 2)}}" for head in heads))
    for name, errors in found.items():
        absolute = sorted(abs(error) for _case, error in errors)
        values = (
            statistics.mean(absolute),
            statistics.median(absolute),
            absolute[min(len(absolute) - 1, round(0.95 * len(absolute)))],
            _by_cluster(errors),
            statistics.mean(error < 0 for _case, error in errors),
            _too_low(errors),
            statistics.mean(error for _case, error in errors),
        )
        cells = (f"{100 * value:>{max(9, len(head) + 2)}.1f}" for head, value in zip(heads, values, strict=True))
        print(f"  {name:<28}" + "".join(cells))


def _families(found: dict[str, Errors]) -> None:
    names = dict.fromkeys(case.family for case, _error in found["ours"])
    print(f"  {'per family, mean %':<34}{'rows':>5}" + "".join(f"{name:>16}" for name in found))
    for family in names:
        cells = []
        for errors in found.values():
            mine = [abs(error) for case, error in errors if case.family == family]
            cells.append(f"{100 * statistics.mean(mine):>16.1f}")
        print(f"    {family:<32}{len(mine):>5}" + "".join(cells))


def _left_out(cases: list[Case]) -> dict[str, float]:
    """Each cluster's error with constants that were fitted without it."""
    found = {}
    for cluster in dict.fromkeys(case.cluster for case in cases):
        with _Constants():
            _fit([case for case in cases if case.cluster != cluster])
            found[cluster] = _by_cluster(_errors([case for case in cases if case.cluster == cluster], ours))
    return found


def _fit(cases: list[Case]) -> None:
    """Set the fitted constants, one after the other, each to its best value; twice. Too low weighs more."""
    for _round in range(2):
        for (module, name), values in FITTED.items():
            losses = []
            for value in values:
                setattr(module, name, value)
                errors = _errors(cases, ours)
                losses.append((_by_cluster(errors) + _too_low(errors) / 5, value))
            setattr(module, name, min(losses)[1])


class _Constants:
    """Puts the fitted constants back."""

    def __enter__(self) -> None:
        self.kept = {key: getattr(*key) for key in FITTED}

    def __exit__(self, *_failure: object) -> None:
        for (module, name), value in self.kept.items():
            setattr(module, name, value)


if __name__ == "__main__":
    sys.exit(main())
