"""The memory formula against `appliance estimate --exact`, over catalogue models, methods, lengths, checkpointing.

    bench/exact.py [--all] [--whole] [--jobs N] [--write FILE.md] [MODEL ...]

Both predict what torch allocates, and what the device shows, for one row at a time with this appliance's settings.
Without --all: two small models, lengths 512 and 2048, about a minute of one core. --all: the catalogue's dense text
models and 8192 as well, a quarter of an hour. Models of the same shape are counted once, and of each a few layers
twice: each layer more takes the same (--whole: all layers, an hour; the same to 0.1 %). What was counted is kept in
the system's folder for temporary files, so that a run that was broken off goes on. Needs the training environment.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

from appliance import files, settings, work
from appliance.planning import catalogue, exact
from appliance.planning.catalogue import Model
from appliance.planning.estimate_words import estimate_any, read_settings
from appliance.planning.shape import Shape
from appliance.planning.training import Training

FEW = ("qwen3-0.6b", "qwen3-1.7b")
METHODS = {"lora": "adamw_torch", "qlora": "paged_adamw_8bit", "full": "adamw_torch"}
LENGTHS = (512, 2048, 8192)
FIGURES = ("allocated", "device")
# A case whose difference is more than this is a mistake in the formula, or in the count.
WORST = 8.0


@dataclass(frozen=True)
class Line:
    """One case: GiB by the formula and counted, for each of FIGURES."""

    model: str
    method: str
    length: int
    checkpointing: bool
    formula: dict[str, float]
    exact: dict[str, float]

    def off(self, figure: str) -> float:
        """Difference in %."""
        return 100 * (self.formula[figure] / self.exact[figure] - 1)

    @property
    def name(self) -> str:
        return f"{self.model} {self.method} {self.length} {'with' if self.checkpointing else 'without'} checkpointing"


def main() -> int:
    """Print a line for each case and the summary; 0 also where the training environment is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="every dense text model, and 8192 tokens")
    parser.add_argument("--jobs", type=int, default=1, help="models that are counted at a time")
    parser.add_argument("--whole", action="store_true", help="count all layers of each model, instead of a few")
    parser.add_argument("--write", type=Path, metavar="FILE.md", help="write the table there as well")
    parser.add_argument("model", nargs="*", help="names of the catalogue")
    words = parser.parse_args()
    if not settings.python_of("train").exists():
        print("exact: no training environment, so nothing is compared")
        return 0
    dense = [m for m in catalogue.load() if m.kind == "text" and not m.shape().experts]
    names = words.model or FEW
    models = [m for m in dense if (words.all and not words.model) or m.name in names]
    cases = list(_cases(LENGTHS if words.all else LENGTHS[:2]))
    lines: list[Line] = []
    missing: list[str] = []
    versions: dict[str, str] = {}
    with ThreadPoolExecutor(words.jobs) as pool:
        for model, answers in zip(models, _counted(pool, models, cases, whole=words.whole), strict=True):
            for run, answer in zip(cases, answers, strict=True):
                if "error" in answer:
                    missing.append(f"{model.name} {run.method} {run.length}: {answer['error']['why']}")
                    continue
                versions = answer["versions"]
                lines.append(_line(model, run, answer))
                _show(lines[-1])
    for text in (*missing, *_summary(lines)):
        print(text)
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    if words.write and lines:
        files.write_text(words.write, _page(lines, missing, versions))
    return 0


def _cases(lengths: Iterable[int]) -> Iterator[Training]:
    for method, length, checkpointing in product(METHODS, lengths, ("yes", "no")):
        words = {"method": method, "length": length, "checkpointing": checkpointing, "optimizer": METHODS[method]}
        run = read_settings(words)
        assert isinstance(run, Training)
        yield run


def _counted(
    pool: ThreadPoolExecutor, models: list[Model], cases: list[Training], *, whole: bool
) -> Iterator[list[dict[str, Any]]]:
    """Each model's answers, in order, as they come; models of the same shape share them."""
    tasks = {}
    for model in models:
        key = _key(model)
        if key not in tasks:
            tasks[key] = pool.submit(_whole if whole else _extended, model, cases)
    for model in models:
        yield tasks[_key(model)].result()


def _key(model: Model, layers: int = 0) -> str:
    config = {name: value for name, value in model.config.items() if name != "max_position_embeddings"}
    return json.dumps(config | ({"num_hidden_layers": layers} if layers else {}), sort_keys=True)


def _whole(model: Model, cases: list[Training]) -> list[dict[str, Any]]:
    """Counted with all layers, as `appliance estimate --exact` does it."""
    return _answers([(_key(model), run) for run in cases])


def _extended(model: Model, cases: list[Training]) -> list[dict[str, Any]]:
    """Counted with few layers, and again with more: each layer more takes the same, at each moment of the step.

    Where layers alternate (windows), both counts have two periods and end as the whole model does. What was counted
    whole before is taken as it is.
    """
    if all(_store(_key(model), run).is_file() for run in cases):
        return _whole(model, cases)
    shape = model.formula_shape()
    alternate = 0 < shape.windowed < shape.layers
    period = shape.layers // (shape.layers - shape.windowed) if alternate else 1
    least = max(3, 2 * period)
    few = least + (shape.layers - least) % period
    answers = _answers([(_key(model, few + more), run) for run in cases for more in (0, period)])
    return [
        less if "error" in less else _longer(less, more, (shape.layers - few) / period)
        for less, more in zip(answers[::2], answers[1::2], strict=True)
    ]


def _longer(less: dict[str, Any], more: dict[str, Any], times: float) -> dict[str, Any]:
    moments = {
        moment: {
            label: round(size + times * (more["moments"][moment].get(label, 0) - size)) for label, size in parts.items()
        }
        for moment, parts in less["moments"].items()
    }
    return {**less, "moments": moments}


def _answers(wanted: list[tuple[str, Training]]) -> list[dict[str, Any]]:
    """For each config.json and run, from the store; what it lacks is counted by one process, and stored."""
    stored = [_store(config, run) for config, run in wanted]
    lacking = [n for n, file in enumerate(stored) if not file.is_file()]
    with TemporaryDirectory(prefix="appliance-") as place:
        given = []
        for n in lacking:
            config, run = wanted[n]
            folder = Path(place) / sha256(config.encode()).hexdigest()
            folder.mkdir(exist_ok=True)
            (folder / "config.json").write_text(config, encoding="utf-8")
            given.append(exact.settings_of(folder, run))
        for n, answer in zip(lacking, exact.answers(given) if given else [], strict=True):
            files.write_json(stored[n], answer)
    return [dict(files.read_json(file)) for file in stored]


def _store(config: str, run: Training) -> Path:
    """Where an answer is kept: named by all that it depends on, the counting code and the libraries included."""
    place = Path(work.__file__).parent
    code = b"".join((place / name).read_bytes() for name in ("exact.py", "stand_ins.py", "storages.py"))
    lock = (place.parent.parent / "requirements" / "train.lock").read_bytes()
    given = json.dumps({**exact.settings_of(Path("-"), run), "folder": config}, sort_keys=True).encode()
    return Path(gettempdir()) / "appliance-exact" / f"{sha256(code + lock + given).hexdigest()}.json"


def _line(model: Model, run: Training, answer: dict[str, Any]) -> Line:
    shape = model.formula_shape()
    formula, counted = {}, {}
    for figure in FIGURES:
        formula[figure] = _formula(shape, run, figure)
        counted[figure] = exact.reading(answer, figure).total_gib
    return Line(model.name, run.method, run.length, run.checkpointing, formula, counted)


def _formula(shape: Shape, run: Training, figure: str) -> float:
    return estimate_any(shape, replace(run, figure=figure)).total_gib


def _show(line: Line) -> None:
    cells = "".join(
        f"{line.formula[figure]:10.2f}{line.exact[figure]:9.2f}{line.off(figure):+7.1f}" for figure in FIGURES
    )
    print(
        f"{line.model:26}{line.method:>6}{line.length:6}{'yes' if line.checkpointing else 'no':>5}{cells}", flush=True
    )


def _summary(lines: list[Line]) -> list[str]:
    found = []
    for figure in FIGURES:
        if not lines:
            break
        worst = max(lines, key=lambda line: abs(line.off(figure)))
        mean = statistics.fmean(abs(line.off(figure)) for line in lines)
        over = sum(abs(line.off(figure)) > WORST for line in lines)
        found.append(
            f"{figure}: {len(lines)} cases, mean {mean:.1f} %, worst {worst.off(figure):+.1f} % ({worst.name}), "
            f"{over} of them over {WORST:.0f} %"
        )
    return found


def _page(lines: list[Line], missing: list[str], versions: dict[str, str]) -> str:
    """The table as Markdown: a line for each model and method, a column for each length and checkpointing."""
    columns = sorted({(line.length, not line.checkpointing) for line in lines})
    heads = [f"{length}{', all kept' if stored else ''}" for length, stored in columns]
    text = [_HEAD, *(f"- {sentence}" for sentence in (*_summary(lines), *missing)), ""]
    text.append("Libraries: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".")
    for figure in FIGURES:
        text += [
            "",
            f"## {figure}",
            "",
            "| model | method | " + " | ".join(heads) + " |",
            "|---" * (2 + len(heads)) + "|",
        ]
        rows: dict[tuple[str, str], dict[tuple[int, bool], Line]] = {}
        for line in lines:
            rows.setdefault((line.model, line.method), {})[line.length, not line.checkpointing] = line
        for (model, method), row in rows.items():
            cells = [f"{row[c].exact[figure]:.2f} ({row[c].off(figure):+.1f})" if c in row else "" for c in columns]
            text.append(f"| {model} | {method} | " + " | ".join(cells) + " |")
    return "\n".join(text) + "\n"


_HEAD = """# The formula against the count

Written by `make exact-table`. Every dense text model of the catalogue; one row of so many tokens at a time, with
checkpointing or with all activations kept; LoRA of rank 16 and full training with `adamw_torch`, QLoRA with
`paged_adamw_8bit`. Each cell: GiB as `appliance estimate --exact` counts them, and in brackets by how many percent the
formula, from the same config.json, is above (+) or below (-).
[What is counted and how](estimate.md#counted-exactly---exact).
"""


if __name__ == "__main__":
    sys.exit(main())
