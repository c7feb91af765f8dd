"""`python -m appliance.work.lengths TOKENIZER.json`: tokens of rows, in the training environment, without a model.

A row a line on stdin, as a JSON list of its texts; a JSON list with one number for each row on stdout.
"""

from __future__ import annotations

import json
import sys

# What a chat template writes around each turn (roles, ends), and before all of them (a system prompt of its own).
_TURN, _START = 8, 48


def main() -> None:
    """Count and print."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(sys.argv[1])
    tokenizer.no_truncation()
    tokenizer.no_padding()
    rows = [json.loads(line) for line in sys.stdin]
    texts = [text for row in rows for text in row]
    counts = iter([len(one) for one in tokenizer.encode_batch_fast(texts, add_special_tokens=False)])
    print(json.dumps([_START + sum(next(counts) + _TURN for _text in row) for row in rows]))


if __name__ == "__main__":
    main()
