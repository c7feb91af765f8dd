"""The streamed merge against `cp` + `sync` of the same model on the same disk, and against peft's merge and save.

    bench/merge.py [GB …]        models of 1 and 4 GB, made on the spot and deleted afterwards

Whole jobs are timed, from the start of the worker's process to its end, without the proof. The runs are paired and the
shortest of a few counts, because other programs use the disk and the cores as well. The memory is what the worker
holds itself (Pss_Anon + Pss_Shmem, looked at every 50 ms), not the files that are mapped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from appliance import files, settings
from appliance.jobs import control, prepare
from appliance.jobs.folder import Job

HIDDEN, INNER, HEADS, VOCABULARY, RANK = 2048, 6144, 16, 65536, 16
LAYER = {
    "self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (HIDDEN // 2, HIDDEN),
    "self_attn.v_proj": (HIDDEN // 2, HIDDEN), "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INNER, HIDDEN), "mlp.up_proj": (INNER, HIDDEN), "mlp.down_proj": (HIDDEN, INNER),
}  # fmt: skip
NORMS = {
    "input_layernorm": HIDDEN, "post_attention_layernorm": HIDDEN, "self_attn.q_norm": HIDDEN // HEADS,
    "self_attn.k_norm": HIDDEN // HEADS,
}  # fmt: skip
SHARD_BYTES = 10**9
LIMITS = {1.0: 1.3, 4.0: 1.15}
ROUNDS = {1.0: 5, 4.0: 3}


def make_base(folder: Path, gigabytes: float) -> None:
    """A Qwen3 of random numbers in bfloat16, in shards of at most 1 GB."""
    folder.mkdir()
    embedding = 2 * VOCABULARY * HIDDEN
    each = 2 * (sum(a * b for a, b in LAYER.values()) + sum(NORMS.values()))
    layers = max(1, round((gigabytes * 1e9 - embedding) / each))
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN)}
    for number in range(layers):
        shapes |= {f"model.layers.{number}.{name}.weight": shape for name, shape in LAYER.items()}
        shapes |= {f"model.layers.{number}.{name}.weight": (size,) for name, size in NORMS.items()}
    shapes["model.norm.weight"] = (HIDDEN,)
    shards: list[dict[str, tuple[int, ...]]] = [{}]
    for name, shape in shapes.items():
        if sum(2 * int(np.prod(one)) for one in shards[-1].values()) + 2 * int(np.prod(shape)) > SHARD_BYTES:
            shards.append({})
        shards[-1][name] = shape
    chance = np.random.default_rng(0)
    weight_map = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors" if len(shards) > 1 else "model.safetensors"
        weight_map |= dict.fromkeys(shard, file)
        _write(folder / file, shard, chance)
    if len(shards) > 1:
        files.write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": weight_map})
    config = {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": HIDDEN, "intermediate_size": INNER,
        "num_hidden_layers": layers, "num_attention_heads": HEADS, "num_key_value_heads": HEADS // 2,
        "head_dim": HIDDEN // HEADS, "vocab_size": VOCABULARY, "tie_word_embeddings": True, "dtype": "bfloat16",
    }  # fmt: skip
    files.write_json(folder / "config.json", config)
    files.write_json(folder / "tokenizer.json", {})


def _write(path: Path, shapes: dict[str, tuple[int, ...]], chance: np.random.Generator) -> None:
    facts, at = {}, 0
    for name, shape in shapes.items():
        size = 2 * int(np.prod(shape))
        facts[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    header = _header(facts)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for shape in shapes.values():
            numbers = chance.standard_normal(int(np.prod(shape)), np.float32) * np.float32(0.02)
            file.write((numbers.view(np.uint32) >> 16).astype(np.uint16).data)


def _header(facts: dict[str, object]) -> bytes:
    """Filled up so that the numbers begin at a multiple of 8, as the safetensors library does."""
    text = json.dumps(facts).encode()
    return text + b" " * (-len(text) % 8)


def make_adapter(folder: Path, base: Path) -> None:
    """LoRA of rank 16 on every linear layer, in float32 as training leaves it."""
    folder.mkdir()
    layers = files.read_json(base / "config.json")["num_hidden_layers"]
    chance = np.random.default_rng(1)
    facts, parts, at = {}, [], 0
    for number in range(layers):
        for name, (rows, columns) in LAYER.items():
            for half, shape in (("lora_A", (RANK, columns)), ("lora_B", (rows, RANK))):
                values = chance.standard_normal(shape, np.float32) * np.float32(0.02)
                key = f"base_model.model.model.layers.{number}.{name}.{half}.weight"
                facts[key] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + values.nbytes]}
                at += values.nbytes
                parts.append(values)
    header = _header(facts)
    with (folder / "adapter_model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for values in parts:
            file.write(values.data)
    targets = [name.rsplit(".", 1)[-1] for name in LAYER]
    files.write_json(
        folder / "adapter_config.json",
        {"peft_type": "LORA", "r": RANK, "lora_alpha": 32, "target_modules": targets, "task_type": "CAUSAL_LM"},
    )


def copy(base: Path, to: Path) -> float:
    """Seconds of `cp` + `sync`."""
    began = time.monotonic()
    subprocess.run(["cp", "-r", base, to], check=True)
    subprocess.run(["sync", *to.iterdir()], check=True)
    seconds = time.monotonic() - began
    shutil.rmtree(to)
    return seconds


def merge(base: Path, adapter: Path, to: Path) -> tuple[float, float, float]:
    """(seconds, peak MB, seconds of the processor) of a merge job."""
    draft = prepare.merge(str(adapter), base=str(base), to=str(to))
    draft.spec["proof"] = False
    began = time.time()
    job = control.submit(draft)
    peak, busy = _watch(job)
    state = job.state()
    assert state.state == "done", state.error
    assert state.changed is not None
    seconds = state.changed - began  # when it said so, not when we looked next
    shutil.rmtree(to)
    return seconds, peak, busy


def _watch(job: Job) -> tuple[float, float]:
    """Peak memory (MB) and processor seconds of the worker."""
    peak = busy = 0.0
    while job.written_state().state in ("queued", "running"):
        pid = job.written_state().pid
        try:
            held = _held(pid)
            times = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        peak = max(peak, held / 1000)
        busy = max(busy, sum(map(int, times[11:13])) / os.sysconf("SC_CLK_TCK"))
        time.sleep(0.05)
    return peak, busy


def _held(pid: int | None) -> int:
    """kB of a process's own memory, and its part of what it shares."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith(("Pss_Anon", "Pss_Shmem")))


def peft(base: Path, adapter: Path, to: Path) -> float:
    """Seconds of peft's merge and save, its libraries' start included, and `sync`."""
    script = (
        "import sys, torch\nfrom peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n"
        "base, adapter, to = sys.argv[1:]\n"
        "model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)\n"
        "PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(to)\n"
    )
    began = time.monotonic()
    variables = {**settings.child_environment(), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [settings.python_of("train"), "-c", script, base, adapter, to], env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    subprocess.run(["sync", *to.iterdir()], check=True)
    seconds = time.monotonic() - began
    shutil.rmtree(to)
    return seconds


def main() -> int:
    """Print the table; 1 where a limit does not stand."""
    sizes = [float(word) for word in sys.argv[1:]] or [1.0, 4.0]
    held, peaks = True, []
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="merge-bench-") as place:
            root = Path(place)
            os.environ["APPLIANCE_HOME"] = str(root / "home")
            base, adapter = root / "base", root / "adapter"
            make_base(base, size)
            make_adapter(adapter, base)
            subprocess.run(["sync"], check=True)
            pairs = []
            for _round in range(ROUNDS.get(size, 3)):
                pairs.append((copy(base, root / "copy"), *merge(base, adapter, root / "merged")))
            copied, merged = min(pair[0] for pair in pairs), min(pair[1] for pair in pairs)
            peak, busy = max(pair[2] for pair in pairs), min(pair[3] for pair in pairs)
            limit = LIMITS.get(size, 1.3)
            print(
                f"merge, {size:g} GB: {merged:.2f} s; cp + sync {copied:.2f} s; {merged / copied:.2f} x"
                f" (at most {limit} x); best pair {min(pair[1] / pair[0] for pair in pairs):.2f} x;"
                f" {busy:.2f} s of the processor; peak {peak:.0f} MB; load {os.getloadavg()[0]:.1f}"
            )
            held &= merged / copied <= limit and peak <= 128
            peaks.append(peak)
            if size == sizes[0] and settings.python_of("train").exists():
                theirs = peft(base, adapter, root / "peft")
                print(f"  peft's merge and save: {theirs:.2f} s; {theirs / merged:.1f} x ours (at least 10 x)")
                held &= theirs >= 10 * merged
    if len(peaks) > 1:
        print(f"  peak memory: {', '.join(f'{peak:.0f} MB' for peak in peaks)} (at most 128 MB, equal for all sizes)")
        held &= max(peaks) - min(peaks) <= 8
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
