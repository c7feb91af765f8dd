"""What every engine can tell about itself, and the failures that all of them have in common."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from appliance.errors import ApplianceError
from appliance.locale import _, marked


class Engine(ABC):
    """A model server that we start and watch.

    name         the word for --engine
    environment  the locked environment that it runs in
    most_parallel  requests that it answers at the same time; None: as many as the memory holds
    oldest_capability, kinds  the compute capability from which it runs, and on which kinds of accelerator
    takes_adapters  whether it serves adapters by name beside the base
    most_cards   cards that can work on one model together
    loopback_only  whether it may never listen where others reach it
    download_gib, disk_gib  what installing it takes, from its lock's wheels for Linux; 0: it came with the appliance
    phases       (pattern of a log line, sentence) in the order in which they come
    """

    name: ClassVar[str]
    environment: ClassVar[str]
    phases: ClassVar[tuple[tuple[str, str], ...]]
    most_parallel: ClassVar[int | None] = None
    oldest_capability: ClassVar[tuple[int, int]] = (0, 0)
    kinds: ClassVar[tuple[str, ...]] = ("cuda",)
    takes_adapters: ClassVar[bool] = True
    most_cards: ClassVar[int] = 1
    loopback_only: ClassVar[bool] = False
    download_gib: ClassVar[float] = 0.0
    disk_gib: ClassVar[float] = 0.0

    @abstractmethod
    def command(self, python: Path, model: Path, host: str, port: int, spec: dict[str, Any]) -> list[str]:
        """The command line. `spec`: `name`, and in `options` as far as known: `dtype`, `length` (tokens), …"""

    @abstractmethod
    def variables(self, spec: dict[str, Any]) -> dict[str, str]:
        """Environment variables beyond APPLIANCE_GUARD."""

    def phase(self, line: str) -> str | None:
        """What a person should know from this line of the log: the step that the start has reached."""
        for pattern, sentence in self.phases:
            if re.search(pattern, line):
                return _(sentence)
        return None

    def remedy(self, log_text: str, options: dict[str, Any]) -> tuple[dict[str, Any], str] | None:
        """After a start that failed: the options for one more try, and what is different, where one is worth it."""
        if re.search(_NO_BF16, log_text) and options.get("dtype") != "float16":
            return {**options, "dtype": "float16"}, _("Trying once more in float16.")
        return None

    def failure(self, log_text: str) -> ApplianceError | None:
        """The known failure that this log tells of; None when it is none of them."""
        for pattern, make in _FAILURES:
            match = re.search(pattern, log_text)
            if match:
                return make(match)
        return None


# For the libraries inside an engine: one model from one folder, so nothing may go out, and nobody is told.
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",  # a warning for every fork otherwise
}

WEIGHTS = marked("loading the weights")
READY = marked("answering")


def _cache_too_small(match: re.Match[str]) -> ApplianceError:
    return ApplianceError(
        _("The card's memory is too small for this length."),
        match[0].strip()[:300],
        _("Serve with a shorter length, or close other programs that use the card (`appliance probe` names them)."),
    )


def _out_of_memory(match: re.Match[str]) -> ApplianceError:
    return ApplianceError(
        _("The memory was not enough to serve this model."),
        match[0].strip()[:300],
        _("Use a smaller or quantised model, or a shorter length; `appliance probe` shows who holds memory."),
    )


def _port_taken(match: re.Match[str]) -> ApplianceError:
    return ApplianceError(
        _("The port is taken."),
        match[0].strip()[:300],
        _("Start again with another --port, or stop the job that uses it (`appliance jobs list`)."),
    )


def _unsupported(match: re.Match[str]) -> ApplianceError:
    return ApplianceError(
        _("This engine does not know this model's architecture."),
        match[0].strip()[:300],
        _("Try --engine transformers; if that is what failed, the model needs a newer version of the appliance."),
    )


def _no_template(match: re.Match[str]) -> ApplianceError:
    return ApplianceError(
        _("The model has no chat template."),
        match[0].strip()[:300],
        _("Choose an instruct or chat version of the model, or put its chat_template.jinja into the model's folder."),
    )


def _no_weights(match: re.Match[str]) -> ApplianceError:
    return ApplianceError(
        _("The model's folder holds no weights in the safetensors format."),
        match[0].strip()[:300],
        _("Download or import the model again."),
    )


def _too_long(match: re.Match[str]) -> ApplianceError:
    return ApplianceError(
        _("The length is more than this model was made for."),
        match[0].strip()[:300],
        _("Serve with a shorter length."),
    )


def _no_bf16(match: re.Match[str]) -> ApplianceError:
    return ApplianceError(
        _("This card can't compute in bfloat16."),
        match[0].strip()[:300],
        _("Serve with the dtype float16."),
    )


_NO_BF16 = r"(?m)^.*Bfloat16 is only supported on GPUs.*$"
# The narrow ones first: a cache that is too small also says "memory".
_FAILURES = (
    (r"(?m)^.*KV cache is needed, which is larger than.*$", _cache_too_small),
    (r"(?m)^.*larger than the maximum number of tokens that can be stored in KV cache.*$", _cache_too_small),
    (r"(?m)^.*No available memory for the cache blocks.*$", _out_of_memory),
    (r"(?m)^.*Free memory on device.*is less than desired GPU memory utilization.*$", _out_of_memory),
    (r"(?m)^.*(?:OutOfMemoryError|out of memory|can't allocate memory|std::bad_alloc|MemoryError).*$", _out_of_memory),
    (r"(?mi)^.*address already in use.*$", _port_taken),
    (r"(?m)^.*does not recognize this architecture.*$", _unsupported),
    (r"(?m)^.*Model architectures?.*(?:not supported|failed to be inspected).*$", _unsupported),
    (r"(?m)^.*module transformers has no attribute.*$", _unsupported),
    (r"(?m)^.*chat_template is not set.*$", _no_template),
    (r"(?m)^.*default chat template is no longer allowed.*$", _no_template),
    (r"(?m)^.*no file named model\.safetensors.*$", _no_weights),
    (r"(?m)^.*Cannot find any model weights.*$", _no_weights),
    (r"(?m)^.*max_model_len.*is greater than the derived max_model_len.*$", _too_long),
    (_NO_BF16, _no_bf16),
)
