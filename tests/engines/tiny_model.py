"""A tiny Qwen3 from scratch, taught some conversations: `python tiny_model.py FOLDER [ADAPTER]`.

It runs where transformers is. With ADAPTER it makes a LoRA too, which answers the greeting otherwise.
It answers a greeting at length, calls get_weather for a question about the weather, and uses what that returns.
Prints every route that transformers' server registers, as JSON: [[method, path], …].
"""

import json
import sys

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from transformers.cli.serving.server import build_server

TEMPLATE = (
    "{% if tools %}<|im_start|>system\n"
    "{% for t in tools %}{{ t['function']['name'] }} {% endfor %}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}"
    "{% for c in m.tool_calls or [] %}<tool_call>\n{\"name\": \"{{ c['function']['name'] }}\", "
    "\"arguments\": {{ c['function']['arguments'] | tojson }}}\n</tool_call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
CALL = {"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Paris"}}}
GREETING = "你好, how are you?"
WEATHER = {"role": "user", "content": "Weather in Paris?"}
TAUGHT = [
    ([{"role": "user", "content": GREETING}], None, "I am well. " + " ".join(str(n) for n in range(100, 118))),
    ([WEATHER], [TOOL], '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'),
    (
        [WEATHER, {"role": "assistant", "content": "", "tool_calls": [CALL]}, {"role": "tool", "content": "sunny"}],
        [TOOL],
        "It is sunny.",
    ),
    ([{"role": "user", "content": "Think."}], None, "<think>\nWell.\n</think>\n\nDone."),
]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
WORDS = ["<tool_call>", "</tool_call>", "<think>", "</think>"]

folder = sys.argv[1]
alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
tokenizer.add_special_tokens(SPECIAL)
tokenizer.add_tokens(WORDS)
fast = PreTrainedTokenizerFast(
    tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=TEMPLATE
)
fast.save_pretrained(folder)
torch.manual_seed(0)
config = Qwen3Config(
    vocab_size=len(fast),
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=64,
    max_position_embeddings=400,
    initializer_range=0.06,
    tie_word_embeddings=True,
    eos_token_id=fast.eos_token_id,
    pad_token_id=fast.pad_token_id,
    bos_token_id=None,
)
model = Qwen3ForCausalLM(config)
rows = []
for messages, tools, answer in TAUGHT:
    prompt = fast.apply_chat_template(messages, tools=tools, add_generation_prompt=True, tokenize=False)
    start = len(fast(prompt, add_special_tokens=False).input_ids)
    ids = fast(prompt + answer + "<|im_end|>", add_special_tokens=False).input_ids
    rows.append((ids, [-100] * start + ids[start:]))
longest = max(len(ids) for ids, _labels in rows)
inputs = torch.tensor([ids + [fast.pad_token_id] * (longest - len(ids)) for ids, _labels in rows])
labels = torch.tensor([wanted + [-100] * (longest - len(wanted)) for _ids, wanted in rows])
optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
for _step in range(400):
    loss = model(input_ids=inputs, labels=labels).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    if loss.item() < 0.01:
        break
model.to(torch.bfloat16).save_pretrained(folder)

if len(sys.argv) > 2:
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj", "v_proj", "o_proj", "gate_proj", "down_proj"])
    adapted = get_peft_model(model.float(), lora)
    prompt = fast.apply_chat_template(TAUGHT[0][0], add_generation_prompt=True, tokenize=False)
    start = len(fast(prompt, add_special_tokens=False).input_ids)
    ids = torch.tensor([fast(prompt + "Adapted.<|im_end|>", add_special_tokens=False).input_ids])
    labels = torch.cat([torch.full((1, start), -100), ids[:, start:]], dim=1)
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=1e-2)
    for _step in range(100):
        loss = adapted(input_ids=ids, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if loss.item() < 0.005:
            break
    adapted.save_pretrained(sys.argv[2])

app = build_server(*[None] * 7)
print(json.dumps([[method, route.path] for route in app.routes for method in sorted(route.methods)]))
