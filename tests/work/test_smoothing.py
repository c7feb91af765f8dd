"""Where AWQ and SmoothQuant shift scales: at every place that is found, the model says the same afterwards."""

from __future__ import annotations

import json
import subprocess

from appliance import settings

# Divides what comes out of each norm by scales, and multiplies the columns of those that read it; then the inner pairs.
SHIFT = """
import json, torch, transformers as t
from appliance.work import seeing, smoothing
shape = dict(vocab_size=96, hidden_size=32, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=4, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=0)
kinds = {"llama": t.LlamaConfig(**shape), "gemma": t.Gemma3TextConfig(**shape, head_dim=8),
         "glm": t.Glm4Config(**shape, head_dim=8), "olmo": t.Olmo2Config(**shape), "phi": t.PhiConfig(**shape),
         "nemotron": t.NemotronConfig(**shape), "gpt2": t.GPT2Config(vocab_size=96, n_embd=32, n_layer=2, n_head=4)}
told = {}
for kind, config in kinds.items():
    torch.manual_seed(0)
    model = t.AutoModelForCausalLM.from_config(config).double().eval()
    given = {"input_ids": torch.randint(3, 96, (1, 12))}
    name, part = seeing.language_part(model)
    read, inner = smoothing.pairs(part, name, model, given), smoothing.inner(part, name)
    with torch.no_grad():
        before = model(**given).logits
        for first, readers in [*read, *inner]:
            scales = None
            for reader in map(model.get_submodule, readers):
                scales = torch.rand(reader.in_features).double() + 0.5 if scales is None else scales
                reader.weight.mul_(scales)
            model.get_submodule(first).register_forward_hook(lambda _m, _i, out, scales=scales: out / scales)
        apart = float((model(**given).logits - before).abs().max() / before.abs().max())
    told[kind] = [apart, [[a.split(".")[-1], [b.split(".")[-1] for b in readers]] for a, readers in (*read, *inner)]]
print("TOLD " + json.dumps(told))
"""
MLP, NORM = ["gate_proj", "up_proj"], "post_attention_layernorm"
ATTENTION = ["input_layernorm", ["q_proj", "k_proj", "v_proj"]]
INNER = [["v_proj", ["o_proj"]], ["up_proj", ["down_proj"]]]


def test_scales_shifted_where_it_was_found_change_nothing() -> None:
    ran = subprocess.run(
        [settings.python_of("train"), "-c", SHIFT], env=settings.child_environment(), capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    told = json.loads(ran.stdout.split("TOLD ")[1])
    assert max(apart for apart, _pairs in told.values()) < 1e-9, told
    found = {
        kind: [pair for number, pair in enumerate(pairs) if pair not in pairs[:number]]
        for kind, (_a, pairs) in told.items()
    }
    assert found["llama"] == [ATTENTION, [NORM, MLP], *INNER]
    assert found["gemma"] == [ATTENTION, ["pre_feedforward_layernorm", MLP], *INNER]  # not the norm behind attention
    assert found["glm"] == [ATTENTION, [NORM, ["gate_up_proj"]], INNER[0]]
    assert found["olmo"] == INNER  # its norms stand behind the layers
    assert found["nemotron"] == [ATTENTION, [NORM, ["up_proj"]], INNER[0]]  # `up` goes through a square
    assert found["gpt2"] == [] and ["input_layernorm", ["q_proj", "k_proj", "v_proj", "fc1"]] in found["phi"]
