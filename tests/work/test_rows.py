"""What is learned and what is only read, with real tokenizers and templates of three kinds."""

from __future__ import annotations

import json
import subprocess
import textwrap
from pathlib import Path

from appliance import settings

_SCRIPT = textwrap.dedent(
    """
    import json, sys
    from transformers import AutoTokenizer
    from appliance.work.rows import READ_ONLY, encode
    tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
    start, end = "<|im_start|>", "<|im_end|>"
    turn = "{{- '" + start + "' + m.role + '\\n' }}"
    marked = (
        "{%- for m in messages %}" + turn + "{%- if m.role == 'assistant' %}{%- generation %}{{- m.content MARK }}"
        "{%- endgeneration %}{{- REST }}{%- else %}{{- m.content + '" + end + "\\n' }}{%- endif %}{%- endfor %}"
        "{%- if add_generation_prompt %}{{- '" + start + "assistant\\n' }}{%- endif %}"
    )
    templates = {
        "end inside the mark": marked.replace("MARK", "+ '" + end + "'").replace("REST", "'\\n'"),
        "end outside the mark": marked.replace("MARK", "").replace("REST", "'" + end + "\\n'"),
        "no marks": "{%- for m in messages %}" + turn + "{{- m.content + '" + end + "\\n' }}{%- endfor %}"
        "{%- if add_generation_prompt %}{{- '" + start + "assistant\\n' }}{%- endif %}",
    }
    row = {"messages": [
        {"role": "user", "content": "hello"}, {"role": "assistant", "content": "thanks"},
        {"role": "user", "content": "hello"}, {"role": "assistant", "content": "hello"},
    ]}
    answer = {}
    for name, template in templates.items():
        tokenizer.chat_template = template
        ids, labels = encode(tokenizer, row)
        assert all(label in (READ_ONLY, token) for token, label in zip(ids, labels, strict=True))
        answer[name] = tokenizer.decode([label for label in labels if label != READ_ONLY])
        row["messages"][1]["weight"] = 0
        ids, labels = encode(tokenizer, row)
        answer[name + ", the first only read"] = tokenizer.decode([label for label in labels if label != READ_ONLY])
        del row["messages"][1]["weight"]
    tokenizer.chat_template = None
    ids, labels = encode(tokenizer, {"text": "hello"})
    answer["plain text"] = tokenizer.decode(labels)
    print(json.dumps(answer))
    """
)


def test_learned_are_the_answers_and_their_end(shelf: Path) -> None:
    model = next(folder for folder in sorted(shelf.iterdir()) if (folder / "tokenizer.json").exists())
    done = subprocess.run(
        [str(settings.python_of("train")), "-c", _SCRIPT, str(model)],
        env=settings.child_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    learned = json.loads(done.stdout.splitlines()[-1])
    print(learned)
    answers = "thanks<|im_end|>hello<|im_end|>"
    for kind in ("end inside the mark", "end outside the mark", "no marks"):
        assert learned[kind].replace("\n", "").replace(" ", "") == answers, kind
        later = learned[kind + ", the first only read"]
        assert later.replace("\n", "").replace(" ", "") == "hello<|im_end|>", kind
    assert learned["plain text"].startswith("hello")
