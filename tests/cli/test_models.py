"""`appliance models`: the three groups in a pipe, in JSON, for another machine; names of the catalogue elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len
from words import appliance

KEYS = {
    "name", "huggingface", "modelscope", "parameters_b", "kind", "licence", "languages", "context", "group", "sentence",
    "memory_gib", "method",
}  # fmt: skip


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """A probe's JSON of a machine with a 24 GB card."""
    found = {
        "accelerators": [
            {"kind": "cuda", "name": "NVIDIA GeForce RTX 4090", "index": 0, "memory_gib": 23.99, "nominal_gb": 24,
             "free_gib": 23.5, "compute_capability": "8.9", "bf16": True, "holders": []}
        ],
        "cpu": {"model": "x", "cores": 8, "memory_gib": 64.0, "free_gib": 60.0},
        "disk_free_gib": 500.0, "shm_gib": 8.0, "driver": "580.65", "warnings": [],
    }  # fmt: skip
    file = tmp_path / "machine.json"
    file.write_text(json.dumps(found))
    return file


@pytest.mark.parametrize("purpose", ["finetune", "serve"])
def test_json(home: Path, card: Path, purpose: str) -> None:
    said = appliance("models", "--for", purpose, "--hardware", card, "--json", "--lang", "en")
    assert said.code == 0 and said.json["purpose"] == purpose
    models = said.json["models"]
    assert len(models) >= 40 and all(model.keys() >= KEYS for model in models)
    assert {model["group"] for model in models} == {"runs", "runs_if", "does_not"}
    sizes = [model["parameters_b"] for model in models]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_words_fit_80_columns(home: Path, card: Path, language: str) -> None:
    said = appliance("models", "--hardware", card, "--lang", language)
    assert said.code == 0
    assert all(cell_len(line) <= 80 for line in said.out.splitlines())
    assert "qwen3-8b" in said.out and "QLoRA" in said.out


def test_this_machine_and_one_family(home: Path) -> None:
    said = appliance("models", "--family", "phi", "--json")
    assert {model["name"].split("-")[0] for model in said.json["models"]} == {"phi"}


def test_wrong_words(home: Path) -> None:
    assert appliance("models", "--for", "fun").code == 2
    said = appliance("models", "--family", "nosuch", "--lang", "en")
    assert said.code == 2 and "Qwen3" in said.err


def test_the_menu_opens_without_the_catalogue() -> None:
    code = "import sys, appliance.menu.main; print('appliance.planning.catalogue' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


@pytest.mark.parametrize("name", ["qwen3-8b", "Qwen/Qwen3-8B"])
def test_a_model_that_is_not_here_is_planned_by_the_catalogue(home: Path, card: Path, name: str) -> None:
    said = appliance("plan", "--model", name, "--hardware", card, "--method", "qlora", "--json", "--lang", "en")
    assert said.code == 0 and said.json["verdict"] == "fits"
    assert "appliance download qwen3-8b" in said.json["reasons"]["model"]
    said = appliance("estimate", "--model", name, "--json")
    assert said.json["source"] == "catalogue" and 16 < said.json["total_gib"] < 19
    assert "the catalogue's" in appliance("estimate", "--model", name, "--lang", "en").out


def test_neither_here_nor_in_the_catalogue(home: Path) -> None:
    said = appliance("plan", "--model", "nobody/nothing", "--lang", "en")
    assert said.code == 1 and "appliance download nobody/nothing" in said.err
