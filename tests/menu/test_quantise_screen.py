"""Quantising by keys alone, of a model that really loses more than 5 %: nothing is kept without a yes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import Menu, at_first_screen
from screen import ENTER, squeezed

from appliance import settings
from appliance.hub import manifest, workspace
from appliance.jobs import folder, models, prepare
from appliance.locale import _
from appliance.planning.quantising import NAMES

LONG = 120.0
# It learns the rows; then one channel in 16 gets columns 300 times as large and norms as much smaller. That changes
# nothing of what it says, but 4 bits shared with such a channel leave nothing of the others.
FRAGILE = """
import json, sys, torch
from pathlib import Path
from transformers import AutoModelForCausalLM, AutoTokenizer
torch.manual_seed(0)
model, tokenizer = AutoModelForCausalLM.from_pretrained(sys.argv[1]), AutoTokenizer.from_pretrained(sys.argv[1])
rows = [json.loads(line) for line in Path(sys.argv[2]).read_text().splitlines()]
texts = [tokenizer.apply_chat_template([{"role": "user", "content": one["question"]},
         {"role": "assistant", "content": one["answer"]}], tokenize=False) for one in rows]
batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
for _step in range(60):
    optimizer.zero_grad()
    model(**batch, labels=labels).loss.backward()
    optimizer.step()
with torch.no_grad():
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        for norm, readers in ((layer.input_layernorm, (attention.q_proj, attention.k_proj, attention.v_proj)),
                              (layer.post_attention_layernorm, (mlp.gate_proj, mlp.up_proj))):
            norm.weight[::16] /= 300
            for reader in readers:
                reader.weight[:, ::16] *= 300
model.to(torch.bfloat16).save_pretrained(sys.argv[3])
tokenizer.save_pretrained(sys.argv[3])
"""


@pytest.fixture
def fragile(home: Path, shelf: Path, rows: Path) -> Path:
    """A workspace with one model in it."""
    to = home / "models" / "fragile"
    variables = {**settings.child_environment(), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    words = [settings.python_of("train"), "-c", FRAGILE, shelf / "base-float32", rows, to]
    made = subprocess.run(words, env=variables, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr[-3000:]
    manifest.write(to, source="folder", reference="", revision=None)
    return to


@pytest.mark.parametrize("language", ["zh", pytest.param("en", marks=pytest.mark.slow)])
def test_what_has_lost_much_is_kept_only_after_a_yes(menu: Menu, fragile: Path, rows: Path, language: str) -> None:
    screen = menu(language, lines=40)
    screen.keys("8", ENTER).asks(_("Which model?"), "fragile").keys(ENTER)
    screen.asks(_("Your data file (Excel, CSV, JSON, text):")).keys(str(rows), ENTER)
    # No card here: nothing is chosen, and it is said what for another machine can be.
    screen.asks(_("Which scheme?"), *NAMES.values()).wait_for(_("Quantising gains nothing on this machine."))
    screen.pick(NAMES["bnb4"]).asks(_("Start?"), _("start"), _("another scheme"), _("back")).keys(ENTER)
    screen.asks(_("Keep it all the same?"), _("no"), timeout=LONG)
    (job,) = folder.all_jobs()
    error = job.state().error
    assert error and squeezed(error["what"]) in screen.flat and squeezed(error["why"]) in screen.flat
    assert squeezed(f"appliance jobs resume {job.id} --accept-loss") in screen.flat
    assert prepare.lost_too_much(job) and [model.name for model in workspace.list_models()] == ["fragile"]

    screen.keys(ENTER).waits_for_any_key()  # no is what Enter says
    assert squeezed(prepare.command("jobs", "remove", job.id)) in screen.flat
    assert [model.name for model in workspace.list_models()] == ["fragile"]

    # Later, among the jobs, it can still be kept.
    at_first_screen(screen.keys(" ")).keys("5", ENTER).asks(_("Which job?")).keys(ENTER)
    screen.asks(_("What now?"), _("keep it all the same"), _("remove")).pick(_("keep it all the same"))
    screen.wait_for(_("Done."), LONG).waits_for_any_key()
    kept = models.find("fragile-bnb4")
    result = job.result or {}
    assert kept.state == "whole" and result["perplexity"]["loss"] > 0.05 and result["accepted"]
    assert squeezed(result["sentence"]) in screen.flat
    assert not screen.too_wide()
    if language == "zh":
        assert not screen.english()
