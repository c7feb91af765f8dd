"""A row of well-known public sets, each in its own layout, written from memory."""

from __future__ import annotations

import json
from typing import Any

Rows = list[dict[str, Any]]


def chat(*turns: str) -> Rows:
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(turns)]


def said(*turns: str, **more: Any) -> Rows:
    return [{"from": ("human", "gpt")[n % 2], "value": text, **more} for n, text in enumerate(turns)]


WEATHER = {"name": "weather", "description": "d", "parameters": {"type": "object", "properties": {}}}
MOSS = {
    "turn_1": {"Human": "<|Human|>: 你好<eoh>\n", "Inner Thoughts": "<|Inner Thoughts|>: None<eot>\n",
               "Commands": "<|Commands|>: None<eoc>\n", "Tool Responses": "<|Results|>: None<eor>\n",
               "MOSS": "<|MOSS|>: 您好！<eom>\n"},
    "turn_2": {"Human": "<|Human|>: 再见<eoh>\n", "MOSS": "<|MOSS|>: 再见！<eom>\n"},
}  # fmt: skip
GLAIVE = {
    "system": "SYSTEM: You are a helpful assistant with access to the following functions. Use them if required -\n{}",
    "chat": "USER: Weather in Rome?\n\n\nASSISTANT: <functioncall> {\"name\": \"weather\", \"arguments\": "
            "'{\"city\": \"Rome\"}'} <|endoftext|>\n\n\nFUNCTION RESPONSE: {\"t\": 3}\n\n\n"
            "ASSISTANT: It is 3 degrees. <|endoftext|>\n\n\n",
}  # fmt: skip
HERMES = {
    "id": "1",
    "conversations": [
        {"from": "system", "value": "You are a function calling AI model. <tools>[]</tools>"},
        {"from": "human", "value": "Weather?"},
        {"from": "gpt", "value": "<tool_call>\n{'arguments': {'city': 'Rome'}, 'name': 'weather'}\n</tool_call>\n"},
        {"from": "tool", "value": "<tool_response>\n{\"t\": 3}\n</tool_response>\n"},
        {"from": "gpt", "value": "It is 3."},
    ],
    "tools": json.dumps([{"type": "function", "function": WEATHER}]),
    "category": "x", "subcategory": "y", "task": "z",
}  # fmt: skip
CLAUDE = {
    "system": "Be kind.",
    "tools": [{"name": "weather", "description": "d", "input_schema": {"type": "object"}}],
    "messages": [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": [
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Rome"}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "3"}]}]},
        {"role": "assistant", "content": [{"type": "text", "text": "3 degrees."}]},
    ],
}  # fmt: skip
TREE = {"message_tree_id": "1", "prompt": {"text": "Hi?", "role": "prompter", "replies": [
    {"text": "worse", "role": "assistant", "rank": 1, "replies": []},
    {"text": "Hello!", "role": "assistant", "rank": 0, "replies": [
        {"text": "Bye", "role": "prompter", "replies": [{"text": "Bye!", "role": "assistant", "rank": 0}]}]},
]}}  # fmt: skip

# name -> (a row, format, task)
SETS: dict[str, tuple[dict[str, Any], str, str]] = {
    "ultrafeedback_binarized": ({
        "prompt": "Why?", "prompt_id": "1f", "chosen": chat("Why?", "Because."), "rejected": chat("Why?", "No."),
        "messages": chat("Why?", "Because."), "score_chosen": 8.0, "score_rejected": 4.0}, "messages", "dpo"),
    "hh_rlhf": ({
        "chosen": "\n\nHuman: Why?\n\nAssistant: Tell me more.\n\nHuman: Just so\n\nAssistant: Because.",
        "rejected": "\n\nHuman: Why?\n\nAssistant: Tell me more.\n\nHuman: Just so\n\nAssistant: No."},
        "preference", "dpo"),
    "hh_rlhf_cn": ({
        "context": [{"text": "为什么？", "role": "human"}], "chosen": {"text": "因为如此", "role": "assistant"},
        "rejected": {"text": "不知道", "role": "assistant"}}, "messages", "dpo"),
    "cvalues": ({"prompt": "怎么办？", "pos_resp": "这样办", "neg_resp": "不知道", "pos_type": "x", "neg_type": "y"},
        "preference", "dpo"),
    "orca_dpo_pairs": ({"system": "Be kind.", "question": "Why?", "chosen": "Because.", "rejected": "No."},
        "preference", "dpo"),
    "argilla_ultrafeedback": ({
        "instruction": "Why?", "chosen_response": "Because.", "rejected_response": "No.", "chosen_avg_rating": 5.0,
        "rejected_avg_rating": 2.0, "chosen_model": "x"}, "preference", "dpo"),
    "swift_dpo": ({"messages": chat("Why?", "Because."), "rejected_response": "No."}, "messages", "dpo"),
    "swift_old_dpo": ({"query": "Why?", "response": "Because.", "rejected_response": "No."}, "preference", "dpo"),
    "dolly": ({"instruction": "Who?", "context": "Ann met Bob.", "response": "Ann.", "category": "closed_qa"},
        "question_answer", "sft"),
    "open_orca": ({"id": "flan.1", "system_prompt": "", "question": "Why?", "response": "Because."},
        "question_answer", "sft"),
    "belle": ({"instruction": "写一句话", "input": "", "output": "好的，这是一句话。"}, "alpaca", "sft"),
    "firefly": ({"kind": "NLI", "input": "判断对错", "target": "对的"}, "question_answer", "sft"),
    "firefly_multi": ({"conversation_id": 1, "category": "x", "conversation": [
        {"human": "你好", "assistant": "您好"}, {"human": "再见", "assistant": "再见！"}], "dataset": "moss"},
        "messages", "sft"),
    "coig_cqia": ({"instruction": "写诗", "input": "", "output": "春眠不觉晓", "task_type": {"major": ["问答"]},
        "domain": ["文学"], "metadata": "", "answer_from": "human", "human_verified": True, "copyright": ""},
        "alpaca", "sft"),
    "moss_003": ({"conversation_id": 1, "meta_instruction": "You are MOSS.", "num_turns": 2, "chat": MOSS},
        "messages", "sft"),
    "moss_002": ({"id": 1, "plain_text": "[Human]: 你好<eoh> [MOSS]: 您好<eoa> [Human]: 再见<eoh> [MOSS]: 再见！<eoa>",
        "num_turns": 2}, "transcript", "sft"),
    "glaive_v2": (GLAIVE, "transcript", "sft"),
    "hermes_function_calling": (HERMES, "sharegpt", "sft"),
    "xlam": ({"id": 0, "query": "Weather in Rome?", "answers": json.dumps([
        {"name": "weather", "arguments": {"city": "Rome"}}]), "tools": json.dumps([WEATHER])},
        "question_answer", "sft"),
    "claude_tools": (CLAUDE, "messages", "sft"),
    "llava": ({"id": "1", "image": "coco/train2017/000000033471.jpg",
        "conversations": said("What is this?\n<image>", "A bus.")}, "sharegpt", "sft"),
    "sharegpt4v": ({"id": "1", "image": "sam/images/sa_1.jpg", "conversations": said("<image>\nWhat?", "A bus.")},
        "sharegpt", "sft"),
    "mllm_demo": ({"messages": chat("<image>Who are they?", "Kane."), "images": ["mllm_demo_data/1.jpg"]},
        "messages", "sft"),
    "openai_images": ({"messages": [
        {"role": "user", "content": [{"type": "text", "text": "What?"},
                                     {"type": "image_url", "image_url": {"url": "a/b.png"}}]},
        {"role": "assistant", "content": "A bus."}]}, "messages", "sft"),
    "captions": ({"image": "1.jpg", "caption": "A red bus."}, "caption", "sft"),
    "guanaco": ({"text": "### Human: Why?### Assistant: Because.### Human: Really?### Assistant: Yes."},
        "transcript", "sft"),
    "guanaco_llama2": ({"text": "<s>[INST] Why? [/INST] Because. </s><s>[INST] Really? [/INST] Yes. </s>"},
        "transcript", "sft"),
    "oasst_top1": ({"text": "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\nBecause.<|im_end|>\n"},
        "transcript", "sft"),
    "oasst_trees": (TREE, "messages", "sft"),
    "alpaca_text": ({"text": "Below is an instruction that describes a task.\n\n### Instruction:\nDo it.\n\n### Input:"
        "\nthis\n\n### Response:\nDone."}, "transcript", "sft"),
    "ultrachat": ({"id": "0", "data": ["Why?", "Because.", "Really?", "Yes."]}, "messages", "sft"),
    "ultrachat_200k": ({"prompt": "Why?", "prompt_id": "1", "messages": chat("Why?", "Because.")}, "messages", "sft"),
    "lima": ({"conversations": ["Why?", "Because."], "source": "x"}, "messages", "sft"),
    "capybara": ({"source": "x", "conversation": [{"input": "Why?", "output": "Because."}]}, "messages", "sft"),
    "slim_orca": ({"conversations": [{"from": "system", "value": "Be kind.", "weight": None},
        *said("Why?", "Because.", weight=1.0)]}, "sharegpt", "sft"),
    "gsm8k": ({"question": "2 + 2?", "answer": "2 + 2 = 4\n#### 4"}, "question_answer", "sft"),
    "meta_math": ({"type": "x", "query": "2 + 2?", "original_question": "2 + 2", "response": "It is 4."},
        "query_response", "sft"),
    "numina_math": ({"source": "x", "problem": "2 + 2?", "solution": "4.", "messages": chat("2 + 2?", "It is 4.")},
        "messages", "sft"),
    "squad": ({"id": "1", "title": "Rome", "context": "Rome is in Italy.", "question": "Where is Rome?",
        "answers": {"text": ["in Italy"], "answer_start": [8]}}, "question_answer", "sft"),
    "huatuo": ({"questions": [["感冒怎么办？", "感冒了怎么办？"]], "answers": ["多喝水，多休息。"]},
        "question_answer", "sft"),
    "zhihu_kol": ({"INSTRUCTION": "怎么学习？", "RESPONSE": "多看书，多练习。", "SOURCE": "Zhihu", "METADATA": "{}"},
        "question_answer", "sft"),
    "disc_med": ({"_id": 1, "source": "x", "conversation": chat("头疼怎么办？", "多休息。")}, "messages", "sft"),
    "chinese_medical_dialogue": ({"department": "内科", "title": "头疼", "ask": "头疼三天了怎么办？",
        "answer": "建议到医院检查。"}, "question_answer", "sft"),
    "kto_mix": ({"prompt": chat("Why?"), "completion": [{"role": "assistant", "content": "Because."}], "label": True},
        "prompt_completion", "kto"),
    "wikipedia": ({"id": "1", "url": "https://x.org", "title": "Rome", "text": "Rome is a city. " * 9},
        "text", "pretrain"),
    "c4": ({"text": "A long text about cities. " * 9, "timestamp": "2019", "url": "https://x.org"}, "text", "pretrain"),
    "self_cognition": ({"query": "你是谁？", "response": "我是{{NAME}}。", "tag": "zh"}, "query_response", "sft"),
    "openai_functions": ({"messages": [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "function_call": {"name": "weather", "arguments": "{\"city\": \"Rome\"}"}},
        {"role": "function", "name": "weather", "content": "3"}, {"role": "assistant", "content": "3 degrees."}],
        "functions": [WEATHER]}, "messages", "sft"),
}  # fmt: skip
