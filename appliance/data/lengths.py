"""How long a row is in tokens, as far as that can be told without the model's tokenizer."""

from __future__ import annotations

from appliance.data.rows import Row, contents

# Tokens a character, on the safe side: of Chinese, current tokenizers make 0.6 to 0.8 each; of English 0.25, of code
# 0.35, of long numbers up to 1.
_WIDE, _NARROW = 1.0, 0.5
# What a chat template writes before and around a question and its answer (a system prompt, roles, ends of turns).
_TEMPLATE = 64


def rough_tokens(row: Row) -> int:
    """About how many tokens the row has: rather too many than too few."""
    tokens = float(_TEMPLATE)
    for text in contents(row):
        # Chinese takes two bytes more than characters.
        wide = (len(text.encode(errors="replace")) - len(text)) / 2
        tokens += _WIDE * wide + _NARROW * (len(text) - wide)
    return round(tokens)
