"""Models that people ask for: their names at both hubs and their shape, so that all can be planned with no network.

The facts are those of each model's config.json, of which only what gives the size is kept.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from appliance.errors import UsageError
from appliance.locale import _
from appliance.planning.shape import Shape, read_shape

_FOLDER = Path(__file__).with_suffix("")


@dataclass(frozen=True)
class Model:
    """One entry. `parameters` as they are loaded, `context` in tokens, `gated`: Hugging Face asks for consent first.

    `languages` are ISO 639-1 codes, the ones that its makers name first; `suggested`: what a beginner would take.
    """

    name: str
    family: str
    huggingface: str
    modelscope: str
    parameters: int
    licence: str
    languages: tuple[str, ...]
    context: int
    gated: bool
    config: dict[str, Any]
    suggested: bool = False

    @property
    def kind(self) -> str:
        """vision: it sees as well; text: it doesn't."""
        return "vision" if "vision_config" in self.config else "text"

    @property
    def parameters_b(self) -> float:
        """Parameters in billions, as sizes are spoken of."""
        return round(self.parameters / 1e9, 2)

    def shape(self) -> Shape:
        """Its shape as a download's would be read, with the exact number of parameters."""
        return replace(self.formula_shape(), counted=self.parameters)

    def formula_shape(self) -> Shape:
        """The same without that number: its parameters come from the formula."""
        with self.folder() as folder:
            return read_shape(folder)

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A folder with its config.json, for as long as it is looked at."""
        with TemporaryDirectory(prefix="appliance-") as place:
            (Path(place) / "config.json").write_text(json.dumps(self.config), encoding="utf-8")
            yield Path(place)


@cache
def load() -> tuple[Model, ...]:
    """Every model, smallest first."""
    found = []
    for file in _FOLDER.glob("*.toml"):
        for entry in tomllib.loads(file.read_text(encoding="utf-8"))["model"]:
            config = _with_nulls(entry["config"])
            found.append(Model(**{**entry, "languages": tuple(entry["languages"]), "config": config}))
    return tuple(sorted(found, key=lambda model: (model.parameters, model.name)))


def _with_nulls(config: dict[str, Any]) -> dict[str, Any]:
    """TOML has no null, which config.json says where a family's own default does not hold: here it is "none"."""
    return {
        name: _with_nulls(value) if isinstance(value, dict) else None if value == "none" else value
        for name, value in config.items()
    }


def of_family(name: str | None) -> tuple[Model, ...]:
    """The models whose family or name begins with that word, in any case; all without one. Raises UsageError."""
    word = (name or "").lower()
    found = tuple(model for model in load() if model.family.lower().startswith(word) or model.name.startswith(word))
    if not found:
        families = ", ".join(sorted({model.family for model in load()}))
        raise UsageError(_("Unknown family {name}.").format(name=name), "", _("One of: {names}").format(names=families))
    return found


def find(reference: str) -> Model | None:
    """The model of that catalogue name, or of that name at either hub; upper and lower case are the same."""
    word = reference.lower()
    return next((m for m in load() if word in (m.name, m.huggingface.lower(), m.modelscope.lower())), None)


def hub_name(reference: str) -> str:
    """owner/name of a model that is called by its catalogue name; any other reference as it is."""
    return next((model.huggingface for model in load() if model.name == reference.lower()), reference)


def name_at(hub: str, reference: str) -> str:
    """What a model is called at a hub (huggingface or modelscope); the reference itself where that is not known."""
    model = find(reference)
    if model is None:
        return reference
    return model.modelscope if hub == "modelscope" else model.huggingface
