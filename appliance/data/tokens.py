"""What only a model's own tokenizer and chat template can tell: asked from a process in the training environment.

There `appliance.work.preview` answers with the same code that a fine-tune uses; it is started by name.
"""

from __future__ import annotations

import json
import subprocess
from array import array
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any

from appliance import settings
from appliance.data.images import Images
from appliance.data.notes import Note
from appliance.data.rows import Row
from appliance.errors import ApplianceError
from appliance.locale import _, language

_MODULE = "appliance.work.preview"


class Asked:
    """A question to the worker's code about many rows, which are handed over one by one, in constant memory."""

    def __init__(self, question: str, model: Path | None, length: int | None = None, images: Images | None = None):
        python = settings.python_of("train")
        if not python.exists():
            raise ApplianceError(
                _("This needs the training environment, which is not installed."),
                _("{path} is not there.").format(path=python),
                _("Run `make setup`; without --model, `appliance data check` needs none."),
            )
        variables = {
            **settings.child_environment(),
            "CUDA_VISIBLE_DEVICES": "",  # the card need not be free for it
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONWARNINGS": "ignore",
        }
        self._log = TemporaryFile()  # noqa: SIM115  # closed on leaving, when the process has ended
        self._process = subprocess.Popen(
            [python, "-P", "-m", _MODULE],
            env=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        folder = None if model is None else str(model.absolute())
        where = None if images is None else [str(images.place.absolute()), images.below]
        self._say({"question": question, "model": folder, "length": length, "language": language(), "images": where})

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
        self._process.wait()
        self._log.close()

    def add(self, line: int, row: Row) -> None:
        """One more row."""
        self._say({"line": line, "row": row})

    def told(self) -> dict[str, Any]:
        """The answer, once all rows are there. Raises ApplianceError."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        text = self._process.stdout.read().decode()
        self._process.wait()
        try:
            answer = json.loads(text.splitlines()[-1])
        except (ValueError, IndexError):
            self._log.seek(0)
            last = (self._log.read().decode(errors="replace").strip().splitlines() or ["?"])[-1]
            raise ApplianceError(
                _("The rows could not be read with the model's tokenizer."), last, _("See `appliance doctor`.")
            ) from None
        if "error" in answer:
            raise ApplianceError.from_dict(answer["error"])
        return dict(answer)

    def _say(self, value: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(value).encode() + b"\n")
        except BrokenPipeError:  # it has ended early; `told` says why
            pass


@dataclass
class Counted:
    """Rows measured in tokens: how long, which too long and by how much at most, which the template can't write."""

    lengths: array[int]
    over: int
    too_long: Note
    refused: Note


class Counting(Asked):
    """Counts tokens with a model's own tokenizer and chat template. `length`: beyond it a row is too long."""

    def __init__(self, model: Path, length: int | None, images: Images | None = None):
        super().__init__("lengths", model, length, images)

    def answer(self) -> Counted:
        """What was counted. Raises ApplianceError."""
        told = self.told()
        found = array("I")
        for length, rows in told["counts"]:
            found.extend([length] * rows)
        return Counted(
            found,
            told["over"],
            Note("too_long", "", told["too_long"]["count"], told["too_long"]["lines"]),
            Note("template_refuses", told["refused"]["why"], told["refused"]["count"], told["refused"]["lines"]),
        )
