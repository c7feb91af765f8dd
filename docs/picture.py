"""The README's picture: the menu's first screen on a made-up 24 GB machine, in both languages (`make pictures`).

What it shows comes from the menu's own code; only the list, which questionary draws, is drawn again here in its form.
The machine, the width and the colours are fixed, so that the pictures are the same wherever they are made.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich.console import Console

from appliance import output
from appliance.hardware import Hardware
from appliance.locale import _, set_language
from appliance.menu import main as menu

HERE = Path(__file__).resolve().parent
COLUMNS = 88  # so that no line of this machine folds

MACHINE = {
    "accelerators": [
        {
            "kind": "cuda",
            "name": "NVIDIA GeForce RTX 4090",
            "index": 0,
            "memory_gib": 23.99,
            "nominal_gb": 24,
            "free_gib": 23.6,
            "compute_capability": "8.9",
            "bf16": True,
            "holders": [],
        }
    ],
    "cpu": {"model": "AMD Ryzen 9 7950X", "cores": 16, "memory_gib": 62.7, "free_gib": 58.0},
    "disk_free_gib": 812.0,
    "shm_gib": 8.0,
    "driver": "580.95.05",
    "warnings": [],
}


def picture(language: str) -> str:
    """The first screen as SVG."""
    set_language(language)
    console = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor",
        highlight=False, _environ={},
    )  # fmt: skip
    output._console = console
    menu._first_screen(Hardware.from_dict(MACHINE))
    console.print(
        f"[cyan bold]?[/] [bold]{_('What do you want to do?')}[/] "
        f"[bright_black]{_('(key or ↑↓, then Enter)')}[/]"
    )  # fmt: skip
    for number, (text, key) in enumerate(menu.entries()):
        pointer, style = (" » ", "cyan bold") if number == 0 else ("   ", "")
        console.print(f"{pointer}{key}) {text}", style=style, markup=False)
    svg = console.export_svg(title="appliance", unique_id=f"menu-{language}")
    # Rich names fonts on another host: a picture asks nobody for anything.
    return re.sub(r"\s*@font-face \{.*?\}\n", "\n", svg, flags=re.S).replace("Fira Code, monospace", "monospace")


if __name__ == "__main__":
    for code in ("en", "zh"):
        (HERE / f"menu_{code}.svg").write_text(picture(code), encoding="utf-8")
