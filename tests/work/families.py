"""Tokenizers of three families, made on the spot: `python families.py FOLDER` in the training environment.

The templates are short ones of our own in each family's style: turns, tools, calls and results as these models have.
"""

from __future__ import annotations

import sys
from pathlib import Path

QWEN = """
{%- if tools %}
{{- '<|im_start|>system\\n' }}{% if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{% endif %}
{{- '<tools>' }}{% for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{% endfor %}{{- '\\n</tools><|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- for m in messages %}
{%- if m.role == 'user' %}{{- '<|im_start|>user\\n' + m.content + '<|im_end|>\\n' }}
{%- elif m.role == 'assistant' %}{{- '<|im_start|>assistant\\n' }}
{%- if loop.last %}{{- '<think>\\n\\n</think>\\n\\n' }}{% endif %}{{- m.content }}
{%- for call in m.tool_calls or [] %}{{- '\\n<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
{{- call.function.arguments | tojson }}{{- '}\\n</tool_call>' }}{% endfor %}{{- '<|im_end|>\\n' }}
{%- elif m.role == 'tool' %}{{- '<|im_start|>user\\n<tool_response>\\n' + m.content }}
{{- '\\n</tool_response><|im_end|>\\n' }}
{%- endif %}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{% endif %}
"""
LLAMA = """
{{- bos_token }}
{%- set system = messages[0].content if messages[0].role == 'system' else '' %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' + system }}
{%- for tool in tools or [] %}{{- '\\n' }}{{- tool | tojson }}{% endfor %}{{- '<|eot_id|>' }}
{%- for m in messages if m.role != 'system' %}
{%- if m.tool_calls %}
{%- if m.tool_calls | length > 1 %}{{ raise_exception('one call at a time') }}{% endif %}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n{"name": "' + m.tool_calls[0].function.name }}
{{- '", "parameters": ' }}{{- m.tool_calls[0].function.arguments | tojson }}{{- '}<|eot_id|>' }}
{%- else %}{{- '<|start_header_id|>' + ('ipython' if m.role == 'tool' else m.role) + '<|end_header_id|>\\n\\n' }}
{{- m.content + '<|eot_id|>' }}{% endif %}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}
"""
CHATML = """
{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{% endif %}
"""
# Ends a turn with the sign that begins the next one, so that the last turn has no end; wants arguments as text.
GLM = """
{{- '[gMASK]' }}{% for tool in tools or [] %}{{- tool | tojson }}{% endfor %}
{%- for m in messages %}{{- '<|' + {'tool': 'observation'}.get(m.role, m.role) + '|>\\n' + m.content }}
{%- for call in m.tool_calls or [] %}{{- call.function.name + '\\n' + call.function.arguments }}{% endfor %}{% endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>\\n' }}{% endif %}
"""
NO_SYSTEM = """
{{- '<bos>' }}{% for m in messages %}
{%- if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{{- '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' + m.content | trim }}
{{- '<end_of_turn>\\n' }}
{%- endfor %}{%- if add_generation_prompt %}{{- '<start_of_turn>model\\n' }}{% endif %}
"""
NO_END = "{%- for m in messages %}{{- m.role + ': ' + m.content + '\\n' }}{% endfor %}"
FAMILIES = {
    "qwen": (QWEN, "<|im_end|>", ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]),
    "llama": (LLAMA, "<|eot_id|>", ["<|begin|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]),
    "chatml": (CHATML, "<|im_end|>", ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]),
    "glm": (GLM, "<|endoftext|>", ["<|system|>", "<|user|>", "<|assistant|>", "<|observation|>", "<|endoftext|>"]),
    "no_system": (NO_SYSTEM, "<end_of_turn>", ["<bos>", "<start_of_turn>", "<end_of_turn>"]),
    "no_end": (NO_END, "<|endoftext|>", ["<|endoftext|>"]),
}


def main(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    for name, (template, end, special) in FAMILIES.items():
        letters = sorted(pre_tokenizers.ByteLevel.alphabet())
        made = Tokenizer(models.BPE(vocab={letter: n for n, letter in enumerate(letters)}, merges=[]))
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        made.add_special_tokens(special)
        fast = PreTrainedTokenizerFast(
            tokenizer_object=made, eos_token=end, pad_token=end, bos_token=special[0], chat_template=template.strip(),
            additional_special_tokens=special,
        )  # fmt: skip
        fast.save_pretrained(folder / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
