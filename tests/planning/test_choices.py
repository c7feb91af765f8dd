"""The table: machines × models → what the plan chooses there, each choice with its reason.

L8      LoRA on the model's own 16-bit weights, 8 rows at once; Q8 QLoRA
2*L4    two cards, each holds the model (data parallel); 8/L2 eight cards share its weights (FSDP2)
Q1<480  rows are cut at 480 tokens; ~ it may just fail; - it does not fit
"""

from __future__ import annotations

from pathlib import Path

import pytest
from machines import MACHINES

from appliance.planning import catalogue
from appliance.planning.plan import Plan, plan

MODELS = {
    "0.6B": "qwen3-0.6b",
    "1.7B": "qwen3-1.7b",
    "4B": "qwen3-4b",
    "L8B": "llama-3.1-8b",
    "8B": "qwen3-8b",
    "14B": "qwen3-14b",
    "24B": "mistral-small-24b",
    "30A3": "qwen3-30b-a3b-2507",
    "32B": "qwen3-32b",
    "70B": "llama-3.3-70b",
    "235A22": "qwen3-235b-a22b-2507",
}
# 1000 rows, the longest of 900 tokens.
CHOICES = """
                    0.6B    1.7B      4B     L8B      8B     14B     24B    30A3     32B     70B  235A22
T4                    L8      L8      L8      Q8      Q8      Q2       -       -       -       -       -
V100 16               L8      L8      L8      Q8      Q8      Q4 Q1<480~       -       -       -       -
V100 32               L8      L8      L8      L8      L8      L1      Q8       -      Q4       -       -
4060                  L8      L8      Q8      Q1      Q1       -       -       -       -       -       -
3060                  L8      L8      L4      Q4      Q4     Q1~       -       -       -       -       -
A10                   L8      L8      L8      L4      L4      Q8      Q4       -      Q1       -       -
L4                    L8      L8      L8      L4      L4      Q8      Q4       -      Q1       -       -
3090                  L8      L8      L8      L8      L4      Q8      Q4       -      Q2       -       -
4090                  L8      L8      L8      L8      L4      Q8      Q4       -      Q2       -       -
held 4090             L8      L8      L1      Q4      Q4       -       -       -       -       -       -
2x4090                L8    2*L8    2*L8    2*L8    2*L4    2/L4    2*Q4       -    2*Q1       -       -
2x4090, one held      L8      L8      L8      L8      L4      Q8      Q4       -      Q2       -       -
4090 and 3090         L8      L8      L8      L8      L4      Q8      Q4       -      Q2       -       -
A100 40               L8      L8      L8      L8      L8      L8      Q8       -      Q8       -       -
A100 80               L8      L8      L8      L8      L8      L8      L8      L8      L8      Q8       -
8xA100 80             L8    8*L2    8*L2    8*L2    8*L2    8*L2    8*L2    8*L2    8*L2    8/L2    8/L2
H100                  L8      L8      L8      L8      L8      L8      L8      L8      L8      Q8       -
H100 slice 40         L8      L8      L8      L8      L8      L8      Q8       -      Q8       -       -
H100 slice 10         L8      L8      Q8      Q4      Q2       -       -       -       -       -       -
H200                  L8      L8      L8      L8      L8      L8      L8      L8      L8      Q8       -
M1 8                  L1     L1~       -       -       -       -       -       -       -       -       -
M2 16                 L2      L2      L1       -       -       -       -       -       -       -       -
M3 Max 64             L2      L2      L2      L2      L2      L2       -       -       -       -       -
P100                  L4      L4      L4      L4      L4       -       -       -       -       -       -
RX 7900               L4      L4      L4      L4      L4       -       -       -       -       -       -
old driver            L4      L4      L4      L4      L4       -       -       -       -       -       -
processor             L4      L4      L4      L4      L4       -       -       -       -       -       -
small processor      L1~       -       -       -       -       -       -       -       -       -       -
old small card         -       -       -       -       -       -       -       -       -       -       -
"""
# What holds for a whole machine, whatever the model: profile, device, dtype, and words of the reason for the device.
WHOLE = {
    "T4": ("qlora", "cuda", "float16", "only GPU"),
    "V100 16": ("qlora", "cuda", "float16", "only GPU"),
    "V100 32": ("lora", "cuda", "float16", "only GPU"),
    "4060": ("qlora", "cuda", "bfloat16", "only GPU"),
    "3060": ("qlora", "cuda", "bfloat16", "only GPU"),
    "A10": ("lora", "cuda", "bfloat16", "only GPU"),  # 22.49 GiB, sold as 24 GB
    "L4": ("lora", "cuda", "bfloat16", "only GPU"),
    "3090": ("lora", "cuda", "bfloat16", "only GPU"),
    "4090": ("lora", "cuda", "bfloat16", "only GPU"),
    "held 4090": ("lora", "cuda", "bfloat16", "only GPU"),
    "2x4090": ("lora", "cuda", "bfloat16", "2"),
    "2x4090, one held": ("lora", "cuda", "bfloat16", "GPU 1 (RTX 4090) has the most free memory of 2"),
    "4090 and 3090": ("lora", "cuda", "bfloat16", "GPU 0 (RTX 4090) has the most free memory of 2"),
    "A100 40": ("lora", "cuda", "bfloat16", "only GPU"),
    "A100 80": ("lora", "cuda", "bfloat16", "only GPU"),
    "8xA100 80": ("lora", "cuda", "bfloat16", "8"),
    "H100": ("lora", "cuda", "bfloat16", "only GPU"),
    "H100 slice 40": ("lora", "cuda", "bfloat16", "MIG 3g.40gb"),
    "H100 slice 10": ("qlora", "cuda", "bfloat16", "MIG 1g.10gb"),
    "H200": ("lora", "cuda", "bfloat16", "only GPU"),
    "M1 8": ("mps", "mps", "float32", "only GPU"),  # bfloat16 where float32 does not fit
    "M2 16": ("mps", "mps", "bfloat16", "only GPU"),
    "M3 Max 64": ("mps", "mps", "bfloat16", "only GPU"),
    "P100": ("cpu", "cpu", "float32", "too old (compute capability 6.0"),
    "RX 7900": ("cpu", "cpu", "float32", "not supported in here"),
    "old driver": ("cpu", "cpu", "float32", "driver 535.1 is too old"),
    "processor": ("cpu", "cpu", "float32", "no GPU"),
    "small processor": ("cpu", "cpu", "float32", "no GPU"),
    "old small card": ("cpu", "cpu", "float32", "too old (compute capability 5.2"),
}
# Where other cards than the first are used, or not all.
CARDS = {
    "2x4090, one held": ([1], "Other programs hold memory of GPU 0"),
    "4090 and 3090": ([0], "another kind"),
    "H100 slice 40": ([0], None),
}


def rows() -> list[tuple[str, str, str]]:
    """(machine, model, choice) of every cell."""
    lines = CHOICES.strip("\n").splitlines()
    models = lines[0].split()
    cells = []
    for line in lines[1:]:
        machine, *choices = line.rsplit(maxsplit=len(models))
        cells += [(machine, model, choice) for model, choice in zip(models, choices, strict=True)]
    return cells


CELLS = rows()


@pytest.fixture(autouse=True)
def _workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPLIANCE_HOME", str(tmp_path))
    monkeypatch.setenv("APPLIANCE_LANG", "en")


def written(made: Plan) -> str:
    """A plan as the table has it."""
    if made.verdict == "exceeds":
        return "-"
    words = {"lora": "L", "qlora": "Q"}[made.method] + str(made.micro_batch)
    if made.gpus > 1:
        words = f"{made.gpus}{'/' if made.sharding == 'fsdp' else '*'}{words}"
    if made.length < 900:
        words += f"<{made.length}"
    return words + ("~" if made.verdict == "tight" else "")


@pytest.mark.parametrize(("machine", "model", "choice"), CELLS, ids=lambda value: value)
def test_choice(machine: str, model: str, choice: str) -> None:
    made = plan(MACHINES[machine], catalogue.find(MODELS[model]).shape(), rows=1000, longest=900)
    assert written(made) == choice
    profile, device, dtype, words = WHOLE[machine]
    assert (made.profile, made.device) == (profile, device)
    assert made.dtype == dtype or (device != "cuda" and made.dtype == "bfloat16")
    assert words in made.reasons["device"]
    reason = made.reasons["method"]
    if "Q" in choice:
        assert "under 24 GB" in reason if profile == "qlora" else "4-bit weights do" in reason
    elif choice != "-":
        assert "small enough for LoRA" in reason if profile == "qlora" else "best that fits" in reason
    fits = {"-": "Even so it needs", "~": "may just fail"}.get(choice[-1], "at most")
    assert fits in made.reasons["verdict"]
    if choice != "-":
        assert ("data parallel" in made.reasons.get("gpus", "")) == ("*" in choice)
        assert ("FSDP2" in made.reasons.get("gpus", "")) == ("/" in choice)
    assert ("cut at" in made.reasons["length"]) == (made.length < 900)
    if choice == "-":
        assert made.memory.total_gib > made.free_gib
    elif "~" not in choice:
        assert made.memory.high_gib <= made.free_gib
    if machine in CARDS:
        numbers, why = CARDS[machine]
        assert made.accelerators == numbers
        assert why is None or why in made.reasons["gpus"]


def test_the_table_is_large_enough() -> None:
    assert len({machine for machine, _model, _choice in CELLS}) == len(MACHINES) == len(WHOLE) >= 12
    assert len({model for _machine, model, _choice in CELLS}) >= 10
