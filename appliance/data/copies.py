"""Where the copy of a cleaned set goes: a file; of a folder or a zip with pictures, a folder with those it shows."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance import files
from appliance.data.images import Images
from appliance.data.rows import Row

Put = Callable[[Row], None]


@contextmanager
def copy_at(target: Path, ending: str, images: Images | None) -> Iterator[tuple[Path, Put]]:
    """(The file to write the rows to, what to call with each row that is kept).

    With `images`, `target` is a folder that takes its place when the block ends without an error, with the pictures
    of the rows under the names that rows give them; else it is the file itself.
    """
    if images is None:
        yield target, lambda row: None
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    staging.mkdir()

    def put(row: Row) -> None:
        for image in row.get("images", ()):
            if _is_inside(image) and not (place := staging / image).exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                images.put(image, place)

    try:
        yield staging / f"data{ending}", put
        files.sync_folder(staging)
        os.rename(staging, target)
        files.sync_folder(target.parent)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def _is_inside(image: str) -> bool:
    """Whether this names a file below the set's own folder; what is elsewhere stays there."""
    return not image.startswith(("data:", "http:", "https:", "file:", "/")) and ".." not in Path(image).parts
