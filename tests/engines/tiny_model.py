"""A tiny Qwen3 from scratch, with tokenizer and chat template: `python tiny_model.py FOLDER`, where transformers is.

Prints every route that transformers' server registers, as JSON: [[method, path], …].
"""

import json
import sys

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from transformers.cli.serving.server import build_server

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]

folder = sys.argv[1]
alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
tokenizer.add_special_tokens(SPECIAL)
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
    max_position_embeddings=512,
    tie_word_embeddings=True,
    eos_token_id=fast.eos_token_id,
    pad_token_id=fast.pad_token_id,
    bos_token_id=None,
)
model = Qwen3ForCausalLM(config).to(torch.bfloat16)
model.save_pretrained(folder)

app = build_server(*[None] * 7)
print(json.dumps([[method, route.path] for route in app.routes for method in sorted(route.methods)]))
