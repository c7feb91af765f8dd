"""Models that see: pictures and words into what such a model reads, and the parts of it that learn.

The family's own processor from transformers turns a picture into tokens; what is learned is told apart by the same code
as for text. Only the language part learns. What sees, and what leads from there to the words, stays as it is and runs
without keeping anything for a backward pass.
"""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from appliance.data.images import UNREADABLE, Images
from appliance.errors import ApplianceError
from appliance.locale import _
from appliance.work.conversation import Written
from appliance.work.rows import READ_ONLY, Damaged, labelled

# What a processor is made from; serving needs it beside the model as training had it.
FILES = (
    "preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json", "chat_template.json",
)  # fmt: skip
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")
# Pixels of one picture: more is a bomb (a small file that unpacks to gigabytes), or nothing that a model would see.
_LARGEST_PIXELS = 100_000_000


def opened(data: bytes) -> Any:
    """A picture as PIL.Image in RGB, the right side up; what is transparent is white. Raises Damaged."""
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
            if picture.width * picture.height > _LARGEST_PIXELS:
                raise ValueError(f"{picture.width} × {picture.height}")
            picture.load()
            turned = ImageOps.exif_transpose(picture)
            if turned.mode in ("RGBA", "LA", "PA") or "transparency" in turned.info:
                white = Image.new("RGBA", turned.size, "white")
                turned = Image.alpha_composite(white, turned.convert("RGBA"))
            return turned.convert("RGB")
    # Broken files make Pillow raise nearly anything.
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, OverflowError, MemoryError) as error:
        raise Damaged(_("A picture can't be read."), str(error).split("\n")[0][:200]) from error


class Seer:
    """A model's processor, and where the pictures of its rows are. Pickles."""

    def __init__(self, processor: Any, tokenizer: Any, images: Images):
        self.processor, self.tokenizer, self.images = processor, tokenizer, images

    def read(self, names: Iterable[str]) -> list[Any]:
        """The pictures of these names. Raises Damaged."""
        found = []
        for name in names:
            try:
                data = self.images.read(name)
            except UNREADABLE as error:
                raise Damaged(_("A picture can't be read."), str(error).split("\n")[0][:200]) from error
            found.append(opened(data))
        return found

    def inputs(self, text: str, names: Sequence[str], **more: Any) -> dict[str, Any]:
        """What the model takes for this text, in which each picture has its sign. Raises ApplianceError."""
        pictures = self.read(names)
        try:
            made = self.processor(images=pictures or None, text=[text], add_special_tokens=False, **more)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise ApplianceError(
                _("The model's processor does not take this row."), str(error).split("\n")[0][:300]
            ) from error
        return dict(made)

    def encode(self, row: dict[str, Any]) -> dict[str, Any]:
        """input_ids, labels, the text with its signs, names of pictures, and where the last picture's tokens end.

        Raises ApplianceError where the template or the processor can't write it, Damaged for a bad picture.
        """
        names = list(row.get("images", ()))
        written = Written(self.tokenizer, row["messages"], row.get("tools"), pictures=bool(names))
        made = self.inputs(written.text, names, return_offsets_mapping=True, return_text_replacement_offsets=True)
        ids, offsets = list(made["input_ids"][0]), made["offset_mapping"][0]
        signs = (made.get("text_replacement_offsets") or [[]])[0]
        if len(signs) != len(names):
            raise ApplianceError(
                _("This model's chat template can't write such a row."),
                _("it leaves out: {what}").format(what=_("a picture")),
            )
        places = [(_moved(begin, signs), _moved(end, signs)) for begin, end in written.learned()]
        last = max((sign["new_span"][1] for sign in signs), default=0)
        return {
            "input_ids": ids,
            "labels": labelled(self.tokenizer, ids, offsets, places),
            "text": written.text,
            "pictures": names,
            "seen": sum(begin < last for begin, _end in offsets),
        }

    def batch(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Encoded rows as tensors, padded on the right; each row's tokens are those that were counted for it."""
        import torch

        rows = [self.inputs(one["text"], one["pictures"], return_tensors="pt") for one in examples]
        for row, one in zip(rows, examples, strict=True):
            if row["input_ids"][0, : len(one["input_ids"])].tolist() != one["input_ids"]:
                raise ApplianceError(_("The model's processor does not take this row."), one["text"][:200])
        width = max(len(one["input_ids"]) for one in examples)
        batch: dict[str, Any] = {}
        for name in dict.fromkeys(name for row in rows for name in row):
            found = [(row[name], row["input_ids"].shape, one) for row, one in zip(rows, examples, strict=True)
                     if name in row]  # fmt: skip
            if all(value.shape[:2] == shape for value, shape, _one in found):  # a number for each token
                empty = self.tokenizer.pad_token_id if name == "input_ids" else 0
                cut = [value[0, : len(one["input_ids"])] for value, _shape, one in found]
                batch[name] = torch.stack([_wide(value, width, empty) for value in cut])
            else:
                batch[name] = torch.cat([value for value, _shape, _one in found])
        labels = [torch.tensor(one["labels"]) for one in examples]
        batch["labels"] = torch.stack([_wide(value, width, READ_ONLY) for value in labels])
        return batch


def _wide(values: Any, width: int, empty: int) -> Any:
    import torch

    return torch.nn.functional.pad(values, (0, width - len(values)), value=empty)


def _moved(place: int, signs: list[dict[str, Any]]) -> int:
    """A place in the text once each picture's sign in it has become its tokens."""
    before = [sign for sign in signs if sign["span"][1] <= place]
    return place + sum(len(sign["replacement"]) - len(sign["text"]) for sign in before)


def load(base: Path, tokenizer: Any, images: Images) -> Seer:
    """The base model's processor. Raises ApplianceError."""
    from transformers import AutoConfig
    from transformers.models.auto.image_processing_auto import AutoImageProcessor
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES, processor_class_from_name

    try:
        kind = AutoConfig.from_pretrained(base, local_files_only=True, trust_remote_code=False).model_type
        family = processor_class_from_name(PROCESSOR_MAPPING_NAMES[kind])
        seen = AutoImageProcessor.from_pretrained(base, local_files_only=True, trust_remote_code=False, backend="pil")

        class WithoutVideos(family):  # type: ignore[misc, valid-type]
            """What reads videos wants libraries of its own; here there are none, and none are needed."""

            def check_argument_for_proper_class(self, name: str, value: Any) -> Any:
                return None if value is None else super().check_argument_for_proper_class(name, value)

            @classmethod
            def _get_arguments_from_pretrained(cls, *_words: Any, **_more: Any) -> list[Any]:
                parts = {"image_processor": seen, "tokenizer": tokenizer}
                return [parts.get(name) for name in cls.get_attributes()]

        processor = WithoutVideos.from_pretrained(base, local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError, TypeError, AttributeError) as error:
        raise ApplianceError(
            _("What reads pictures for the model in {folder} can't be loaded.").format(folder=base),
            str(error).strip().split("\n")[0],
            _("Download the model again (preprocessor_config.json belongs to it), or choose another one."),
        ) from error
    if not tokenizer.chat_template and isinstance(getattr(processor, "chat_template", None), str):
        tokenizer.chat_template = processor.chat_template
    return Seer(processor, tokenizer, images)


def keep(base: Path, folder: Path) -> None:
    """Copy what the processor is made from beside an adapter."""
    for name in FILES:
        if (base / name).exists():
            shutil.copyfile(base / name, folder / name)


def language_part(model: Any) -> tuple[str, Any]:
    """(name, module) of the part that reads and writes words. Raises ApplianceError for a model without one."""
    decoder = model.get_decoder()
    name = next((name for name, module in model.named_modules() if module is decoder), "")
    if not name:
        raise ApplianceError(
            _("The language part of this model can't be found."), type(model).__name__, _("Choose another model.")
        )
    return name, decoder


def targets(model: Any) -> str:
    """A pattern for peft that names the linear layers of the language part, and no other."""
    import torch

    name, decoder = language_part(model)
    linear = {at for at, module in decoder.named_modules() if isinstance(module, torch.nn.Linear)}
    last = sorted({at.rsplit(".", 1)[-1] for at in linear})
    return rf"{re.escape(name)}\.(?:.*\.)?(?:{'|'.join(map(re.escape, last))})"


def outside(model: Any) -> list[str]:
    """Names of the parts beside the language part: what sees, and what leads from there to the words."""
    name, decoder = language_part(model)
    above = model.get_submodule(name.rpartition(".")[0])
    head = model.get_output_embeddings()
    prefix = name.rpartition(".")[0]
    return [
        f"{prefix}.{part}" if prefix else part
        for part, module in above.named_children()
        if module is not decoder and module is not head
    ]


def not_packed(base: Path) -> list[str]:
    """The parts of a model that sees that 4 bits don't reach: all but the language part, and the head."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    config = AutoConfig.from_pretrained(base, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        return ["lm_head", *outside(AutoModelForImageTextToText.from_config(config))]


def freeze(model: Any) -> None:
    """What sees is run without a gradient. Also where a library wants one of all inputs, for gradient checkpointing."""
    import torch

    for name in outside(model):
        part = model.get_submodule(name)
        part.requires_grad_(False)
        part.forward = torch.no_grad()(part.forward)
