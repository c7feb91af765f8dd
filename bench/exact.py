"""The memory formula against `appliance estimate --exact`, over catalogue models, methods, lengths, checkpointing.

    bench/exact.py [--all] [MODEL ...]

Both predict what torch allocates, and what the device shows, for one row at a time with this appliance's settings.
Without --all: two small models, lengths 512 and 2048, about a minute of one core. --all: the catalogue's dense text
models and 8192 as well, the better part of an hour. Needs the training environment.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from appliance import settings
from appliance.errors import ApplianceError
from appliance.planning import catalogue, exact
from appliance.planning.estimate import Estimate
from appliance.planning.estimate_words import estimate_folder, read_settings
from appliance.planning.training import Training

FEW = ("qwen3-0.6b", "qwen3-1.7b")
METHODS = {"lora": "adamw_torch", "qlora": "paged_adamw_8bit", "full": "adamw_torch"}
FIGURES = ("allocated", "device")


def main() -> int:
    """Print a line for each case and the summary; 0 also where the training environment is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="every dense text model, and 8192 tokens")
    parser.add_argument("model", nargs="*", help="names of the catalogue")
    words = parser.parse_args()
    if not settings.python_of("train").exists():
        print("exact: no training environment, so nothing is compared")
        return 0
    dense = [m for m in catalogue.load() if m.kind == "text" and not m.shape().experts]
    names = words.model or FEW
    models = [m for m in dense if (words.all and not words.model) or m.name in names]
    lengths = (512, 2048, 8192) if words.all else (512, 2048)
    differences: dict[str, list[tuple[float, str]]] = {figure: [] for figure in FIGURES}
    versions: dict[str, str] = {}
    print(f"{'model':26}{'method':>7}{'tokens':>8}{'ckpt':>6}{'formula':>10}{'exact':>9}  GiB allocated, difference %")
    for model in models:
        with TemporaryDirectory(prefix="appliance-") as place:
            folder = Path(place)
            (folder / "config.json").write_text(json.dumps(model.config), encoding="utf-8")
            cases = list(_cases(lengths))
            try:
                answers = exact.count([exact.settings_of(folder, run) for _words, run in cases])
            except ApplianceError as error:
                print(f"{model.name:26} can't be counted: {error.why or error.what}")
                continue
            for (given, run), answer in zip(cases, answers, strict=True):
                versions = answer["versions"]
                name = f"{model.name:26}{run.method:>7}{run.length:8}{'yes' if run.checkpointing else 'no':>6}"
                for figure in FIGURES:
                    made, truth = _both(folder, given, answer, figure)
                    off = 100 * (made.total_gib / truth.total_gib - 1)
                    differences[figure].append((off, name))
                    if figure == "allocated":
                        print(f"{name}{made.total_gib:10.2f}{truth.total_gib:9.2f}{off:+8.1f}", flush=True)
    for figure, found in differences.items():
        if found:
            worst = max(found, key=lambda one: abs(one[0]))
            mean = statistics.fmean(abs(off) for off, _name in found)
            case = " ".join(worst[1].split())
            print(f"{figure}: {len(found)} cases, mean {mean:.1f} %, worst {worst[0]:+.1f} % ({case})")
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    return 0


def _cases(lengths: tuple[int, ...]) -> Iterator[tuple[dict[str, Any], Training]]:
    for method, length, checkpointing in product(METHODS, lengths, ("yes", "no")):
        given = {"method": method, "length": length, "checkpointing": checkpointing, "optimizer": METHODS[method]}
        run = read_settings(given)
        assert isinstance(run, Training)
        yield given, run


def _both(folder: Path, given: dict[str, Any], answer: dict[str, Any], figure: str) -> tuple[Estimate, Estimate]:
    return estimate_folder(folder, {**given, "figure": figure}), exact.reading(answer, figure)


if __name__ == "__main__":
    raise SystemExit(main())
