"""Profiles: what to do on one class of hardware. TOML files of the project, and of the workspace, which win."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from appliance import settings
from appliance.errors import ApplianceError
from appliance.hardware.types import Accelerator, Hardware
from appliance.locale import _, language
from appliance.planning.card import best_card


@dataclass(frozen=True)
class Match:
    """Which hardware a profile is for. What is None does not matter."""

    kind: str
    min_nominal_gb: float | None = None
    below_nominal_gb: float | None = None
    min_compute_capability: float | None = None
    bf16: bool | None = None

    def fits(self, card: Accelerator | None) -> bool:
        """Whether it is for this card; None means the processor."""
        if card is None:
            return self.kind == "cpu"
        return (
            self.kind == card.kind
            and (self.min_nominal_gb is None or card.nominal_gb >= self.min_nominal_gb)
            and (self.below_nominal_gb is None or card.nominal_gb < self.below_nominal_gb)
            and (
                self.min_compute_capability is None
                or float(card.compute_capability or 0) >= self.min_compute_capability
            )
            and (self.bf16 is None or card.bf16 == self.bf16)
        )


@dataclass(frozen=True)
class Choose:
    """What is done there. `length` in tokens; `micro_batch` is the most that is tried."""

    method: str
    micro_batch: int
    effective_batch: int
    length: int
    rank: int
    alpha: int
    learning_rate: float
    epochs: float
    optimizer: str
    checkpointing: bool
    dtype: str = "auto"
    targets: str = "all-linear"


@dataclass(frozen=True)
class Profile:
    """One file. `name` is the file's name without .toml."""

    name: str
    titles: dict[str, str]
    match: Match
    choose: Choose
    from_user: bool = False

    @property
    def title(self) -> str:
        """What it is called, in the person's language."""
        return self.titles.get(language()) or self.titles["en"]


def load_all() -> list[Profile]:
    """Every profile, the user's first; a user's file replaces the project's of the same name.

    Raises ApplianceError with every problem of every file at once.
    """
    problems: list[str] = []
    found: dict[str, Profile] = {}
    for folder, from_user in ((settings.profiles_folder(), False), (settings.user_profiles_folder(), True)):
        for file in sorted(folder.glob("*.toml")):
            profile = _read(file, from_user, problems)
            if profile:
                found[profile.name] = profile
    if problems:
        raise ApplianceError(
            _("A profile can't be used."),
            _("{count} things in the profiles are wrong.").format(count=len(problems)),
            _("Mend them in the named files, or remove your own from {folder}.").format(
                folder=settings.user_profiles_folder()
            ),
            problems,
        )
    return sorted(found.values(), key=lambda profile: not profile.from_user)


def choose(hardware: Hardware) -> Profile:
    """The profile for this machine's best card, or for its processor."""
    card, _why = best_card(hardware)
    for profile in load_all():
        if profile.match.fits(card):
            return profile
    raise ApplianceError(
        _("There is no profile for this machine."),
        _("None of the files in {folder} matches it.").format(folder=settings.profiles_folder()),
        _("Add one in {folder}; `appliance probe` shows what to match.").format(folder=settings.user_profiles_folder()),
    )


def _read(file: Path, from_user: bool, problems: list[str]) -> Profile | None:
    from pydantic import ValidationError

    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        problems.append(f"{file}: {error}")
        return None
    try:
        values = _schema().model_validate(content).model_dump()
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            where = ".".join(str(part) for part in problem["loc"])
            problems.append(f"{file}: {where}: {_sentence(problem)}")
        return None
    return Profile(file.stem, values["title"], Match(**values["match"]), Choose(**values["choose"]), from_user)


def _sentence(problem: Any) -> str:
    """pydantic's finding in a person's language."""
    kind, context = problem["type"], problem.get("ctx") or {}
    given = str(problem.get("input"))[:60]
    if kind == "missing":
        return _("is missing")
    if kind == "extra_forbidden":
        return _("is not known here")
    if kind == "literal_error":
        names = ", ".join(re.findall(r"'([^']*)'", context["expected"]))
        return _("must be one of {names}, not {given}").format(names=names, given=given)
    if kind in ("greater_than_equal", "greater_than"):
        least = context.get("ge", context.get("gt"))
        return _("must be at least {least}, not {given}").format(least=least, given=given)
    if kind in ("less_than_equal", "less_than"):
        return _("must be at most {most}, not {given}").format(most=context.get("le", context.get("lt")), given=given)
    return _("can't be {given}: {reason}").format(given=given, reason=problem["msg"])


@cache
def _schema() -> Any:
    """What a profile's file must look like. Built on first use: pydantic takes 50 ms to import."""
    from typing import Literal

    from pydantic import BaseModel, ConfigDict, Field

    class Strict(BaseModel):
        model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    class Title(Strict):
        en: str = Field(min_length=1)
        zh: str = Field(min_length=1)

    class MatchModel(Strict):
        kind: Literal["cuda", "mps", "cpu"]
        min_nominal_gb: float | None = Field(None, ge=0)
        below_nominal_gb: float | None = Field(None, ge=0)
        min_compute_capability: float | None = Field(None, ge=0)
        bf16: bool | None = None

    class ChooseModel(Strict):
        method: Literal["lora", "qlora"]
        dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
        micro_batch: int = Field(ge=1, le=4096)
        effective_batch: int = Field(ge=1, le=65536)
        length: int = Field(ge=16, le=1048576)
        rank: int = Field(ge=1, le=4096)
        alpha: int = Field(ge=1, le=65536)
        targets: Literal["all-linear"] = "all-linear"
        learning_rate: float = Field(gt=0, le=1)
        epochs: float = Field(gt=0, le=1000)
        optimizer: Literal["adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit"]
        checkpointing: bool

    class ProfileModel(Strict):
        title: Title
        match: MatchModel
        choose: ChooseModel

    return ProfileModel
