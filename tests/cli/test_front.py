"""The front stays light: no machine-learning library and no hub's client in its process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import tiny

from appliance import settings

LOOK = """
import json, pkgutil, sys
import appliance.menu
for module in pkgutil.walk_packages(appliance.menu.__path__, "appliance.menu."):
    __import__(module.name)
from appliance.cli import run
codes = {}
for words in json.loads(sys.argv[1]):
    sys.argv = ["appliance", *words]
    codes[words[0]] = run()
sys.stderr.write(json.dumps({"codes": codes, "modules": sorted(name.split(".")[0] for name in sys.modules)}))
"""
HEAVY = {
    "torch", "transformers", "datasets", "huggingface_hub", "modelscope", "modelscope_hub", "peft", "trl", "accelerate",
    "safetensors", "tokenizers", "pandas", "openai", "aiohttp",
}  # fmt: skip


def test_what_the_front_imports(home: Path, shelf: Path, tmp_path: Path) -> None:
    rows = tiny.write_rows(tmp_path / "rows.jsonl")
    words = [
        ["probe", "--json"],
        ["plan", "--model", str(shelf / "base-float32"), "--data", str(rows), "--json"],
        ["data", "check", str(rows), "--json"],
        ["jobs", "list", "--json"],
        ["merge", "none", "--json"],
        ["serve", str(shelf / "adapters" / "plain"), "--json"],
        ["run", str(tmp_path / "none.yaml"), "--json"],
    ]
    python = settings.environments_folder() / "core" / "bin" / "python"  # what the product runs in, not the tests
    python = python if python.exists() else Path(sys.executable)
    ran = subprocess.run([python, "-c", LOOK, json.dumps(words)], capture_output=True, text=True, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    seen = json.loads(ran.stderr.splitlines()[-1])
    assert seen["codes"] == {"probe": 0, "plan": 0, "data": 0, "jobs": 0, "merge": 1, "serve": 1, "run": 2}
    assert not HEAVY & set(seen["modules"])
    assert ran.stdout.count("\n") == len(words)
