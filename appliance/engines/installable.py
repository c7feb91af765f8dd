"""What a job installs into the workspace from a lock: the engines, and the tools that quantise models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from appliance import settings
from appliance.engines.base import Engine
from appliance.errors import ApplianceError
from appliance.locale import _

QUANTIZE = "quantize"


@dataclass(frozen=True)
class Installable:
    """An environment and what it takes.

    package  the distribution that makes it what it is; locks: files in requirements/
    cpu      whether it is PyTorch for the processor alone
    download_gib, disk_gib  from the wheels of its locks, for Linux
    """

    name: str
    environment: str
    package: str
    locks: tuple[str, ...]
    download_gib: float
    disk_gib: float
    cpu: bool = False

    @property
    def is_installed(self) -> bool:
        """As it came with the appliance, or as a job installed it."""
        return settings.python_of(self.environment).exists()


def of_engine(engine: Engine) -> Installable:
    """An engine as something to install."""
    locks = (f"{engine.environment}.lock",)
    return Installable(engine.name, engine.environment, engine.name, locks, engine.download_gib, engine.disk_gib)


def quantising(hardware: Any) -> Installable:
    """llm-compressor, for the cards of this machine or for its processor alone."""
    if any(card.kind == "cuda" for card in hardware.accelerators):
        return Installable(QUANTIZE, QUANTIZE, "llmcompressor", ("quantize-cuda.lock",), 3.0, 7.0)
    return Installable(QUANTIZE, QUANTIZE, "llmcompressor", ("quantize.lock", "torch-cpu.txt"), 0.4, 1.8, cpu=True)


class NotInstalled(ApplianceError):
    """Something that a job of its own installs first: `name`, the word for `prepare.install`."""

    def __init__(self, missing: Installable):
        super().__init__(
            _("What quantises models is not installed.")
            if missing.name == QUANTIZE
            else _("The engine {name} is not installed.").format(name=missing.name),
            _(
                "It did not come with the appliance: {gib:.1f} GiB to download, about {disk:.0f} GiB on the disk."
            ).format(gib=missing.download_gib, disk=missing.disk_gib),
            _("Install it: appliance install {name}").format(name=missing.name),
        )
        self.name = missing.name
