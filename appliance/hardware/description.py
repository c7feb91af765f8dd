"""A machine from a JSON description (`plan --hardware FILE.json`): what is left out is filled in."""

from __future__ import annotations

from typing import Any

from appliance.errors import ApplianceError
from appliance.hardware.types import KINDS, Accelerator, Cpu, Hardware, Holder, nominal_gb
from appliance.locale import _


class _Fields:
    """One JSON object's values; what is wrong is collected, so that a person mends the file once."""

    def __init__(self, value: Any, where: str, problems: list[str]):
        self.problems, self.where = problems, where
        if not isinstance(value, dict):
            problems.append(_("{where} must be an object").format(where=where))
            value = {}
        self.values: dict[str, Any] = value

    def _wrong(self, key: str, what: str) -> None:
        self.problems.append(f"{self.where}.{key}: {what}")

    def number(self, key: str, default: float | None = None, below: float = 1e6) -> float:
        value = self.values.get(key, default)
        if value is None:
            self._wrong(key, _("is missing"))
            return 0.0
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < below:
            self._wrong(key, _("must be a number from 0 up"))
            return 0.0
        return float(value)

    def text(self, key: str, default: str | None = None) -> str | None:
        value = self.values.get(key, default)
        if value is not None and not isinstance(value, str):
            self._wrong(key, _("must be a text"))
            return default
        return value

    def texts(self, key: str) -> list[str]:
        return [text for text in self.items(key) if isinstance(text, str)]

    def items(self, key: str) -> list[Any]:
        value = self.values.get(key) or []
        if not isinstance(value, list):
            self._wrong(key, _("must be a list"))
            return []
        return value


def read(value: Any) -> Hardware:
    """See Hardware.from_dict."""
    problems: list[str] = []
    top = _Fields(value, "hardware", problems)
    accelerators = [
        _accelerator(_Fields(item, f"accelerators[{i}]", problems), i)
        for i, item in enumerate(top.items("accelerators"))
    ]
    cpu = _Fields(top.values.get("cpu"), "cpu", problems)
    memory = cpu.number("memory_gib")
    hardware = Hardware(
        accelerators=accelerators,
        cpu=Cpu(
            cpu.text("model") or "",
            int(cpu.number("cores", 1)) or 1,
            memory,
            cpu.number("free_gib", memory),
            cpu.texts("features"),
        ),
        disk_free_gib=top.number("disk_free_gib", 100.0),
        shm_gib=None if top.values.get("shm_gib") is None else top.number("shm_gib"),
        driver=top.text("driver"),
        cuda=top.text("cuda"),
        container=top.values.get("container") is True,
        warnings=top.texts("warnings"),
    )
    if problems:
        raise ApplianceError(
            _("The description of the machine can't be used."),
            _("{count} things in it are wrong.").format(count=len(problems)),
            _("Mend them; `appliance probe --json` prints what such a file looks like."),
            problems,
        )
    return hardware


def _accelerator(fields: _Fields, position: int) -> Accelerator:
    kind = fields.text("kind") or ""
    if kind not in KINDS:
        fields.problems.append(f"{fields.where}.kind: " + _("must be one of {names}").format(names=", ".join(KINDS)))
    memory = fields.number("memory_gib")
    capability = _capability(fields) if kind == "cuda" else fields.text("compute_capability")
    by_silicon = kind != "cuda" or int((capability or "0").split(".")[0]) >= 8
    bf16 = fields.values.get("bf16")
    return Accelerator(
        kind=kind,
        name=fields.text("name") or kind,
        index=int(fields.number("index", position)),
        memory_gib=memory,
        nominal_gb=int(fields.number("nominal_gb", nominal_gb(memory))),
        free_gib=fields.number("free_gib", memory),
        compute_capability=capability,
        bf16=bf16 if isinstance(bf16, bool) else by_silicon,
        holders=[
            _holder(_Fields(item, f"{fields.where}.holders", fields.problems)) for item in fields.items("holders")
        ],
        uuid=fields.text("uuid"),
        parent=None if fields.values.get("parent") is None else int(fields.number("parent")),
        warnings=fields.texts("warnings"),
    )


def _holder(fields: _Fields) -> Holder:
    share = fields.values.get("memory_gib")
    return Holder(
        int(fields.number("pid", 0, 2**31)), fields.text("name"), None if share is None else fields.number("memory_gib")
    )


def _capability(fields: _Fields) -> str | None:
    """Written as "8.6", 8.6 or [8, 6]."""
    value = fields.values.get("compute_capability")
    if isinstance(value, list):
        value = ".".join(str(part) for part in value)
    major, _dot, minor = str(value).partition(".")
    if not (major.isdecimal() and (not minor or minor.isdecimal())):
        fields.problems.append(f"{fields.where}.compute_capability: " + _('must look like "8.6"'))
        return None
    return f"{major}.{minor or 0}"
