"""What well-known sets and people's own files look like: a row of each in its own columns, and what it means.

What a row means is written as `shape_of` in `test_known_shapes.py` writes it: `u:` user, `a:` assistant, `s:` system,
`t:` tool, `+:` chosen, `-:` rejected, `=good`, `=bad`, `text:`, `img:` how many images, `tools:` their names. A `?`
before it: the report has to ask; a `!`: the file is refused, with these words in what is said.
"""

from __future__ import annotations

import json
from typing import Any

from real_sets import WEATHER, chat, said

SHAPES: dict[str, tuple[Any, str]] = {}
PIXEL = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
QA = "u:Why? | a:Because."
ARTICLE = "Rome is the capital of Italy. It has many old houses and many new ones. " * 3
文章 = "北京是中国的首都，有许多古老的建筑，也有许多新的建筑，每年接待大量游客。" * 3


def shape(name: str, row: Any, means: str) -> None:
    assert name not in SHAPES
    SHAPES[name] = (row, means)


# fmt: off
# ── instructions and chats ──
shape("tatsu-lab/alpaca", {"instruction": "Why?", "input": "", "output": "Because.", "text": "Below is an instruction "
      "that describes a task.\n\n### Instruction:\nWhy?\n\n### Response:\nBecause."}, QA)
shape("yahma/alpaca-cleaned", {"output": "Because.", "input": "this", "instruction": "Why?"},
      "u:Why?\nthis | a:Because.")
shape("kunishou/databricks-dolly-15k-ja", {"output": "Because.", "input": "", "index": "0", "category": "open_qa",
      "instruction": "Why?"}, QA)
shape("databricks/databricks-dolly-15k", {"instruction": "Who?", "context": "Ann met Bob.", "response": "Ann.",
      "category": "closed_qa"}, "u:Who?\nAnn met Bob. | a:Ann.")
shape("teknium/OpenHermes-2.5", {"custom_instruction": None, "topic": None, "model_name": None, "model": None,
      "skip_prompt_formatting": False, "category": "orca", "conversations": said("Why?", "Because.", weight=None),
      "views": None, "language": None, "id": None, "title": None, "idx": None, "hash": None, "avatarUrl": None,
      "system_prompt": None, "source": "airoboros2.2"}, QA)
shape("Open-Orca/SlimOrca", {"conversations": [{"from": "system", "value": "Be kind.", "weight": None},
      *said("Why?", "Because.", weight=1.0)]}, "s:Be kind. | u:Why? | a:Because.")
shape("Open-Orca/OpenOrca", {"id": "niv.1", "system_prompt": "Be kind.", "question": "Why?", "response": "Because."},
      "s:Be kind. | u:Why? | a:Because.")
shape("garage-bAInd/Open-Platypus", {"input": "", "output": "Because.", "instruction": "Why?", "data_source": "x"}, QA)
shape("HuggingFaceH4/no_robots", {"prompt": "Why?", "prompt_id": "1", "messages": chat("Why?", "Because."),
      "category": "Open QA"}, QA)
shape("HuggingFaceTB/smoltalk", {"messages": chat("Why?", "Because."), "source": "smol-magpie"}, QA)
shape("HuggingFaceTB/smoltalk2", {"messages": chat("Why?", "Because."), "chat_template_kwargs": {
      "custom_instructions": "", "enable_thinking": True, "python_tools": [], "xml_tools": []}, "source": "x"}, QA)
shape("allenai/tulu-3-sft-mixture", {"id": "1", "messages": chat("Why?", "Because."), "source": "ai2"}, QA)
shape("BAAI/Infinity-Instruct", {"id": 1, "conversations": said("Why?", "Because."), "label": {
      "ability_en": ["math"], "ability_zh": ["数学"], "cate_ability_en": [], "cate_ability_zh": []},
      "langdetect": "en", "source": "x", "reward": 1.5}, QA)
shape("lmsys/lmsys-chat-1m", {"conversation_id": "33f", "model": "wizardlm-13b", "conversation": [
      {"content": "Why?", "role": "user"}, {"content": "Because.", "role": "assistant"}], "turn": 1,
      "language": "English", "openai_moderation": [{"flagged": False}], "redacted": False}, QA)
shape("allenai/WildChat-1M", {"conversation_hash": "c", "model": "gpt-4", "timestamp": "2023", "conversation": [
      {"content": "Why?", "country": "US", "hashed_ip": "2", "header": {}, "language": "English", "redacted": False,
       "role": "user", "state": "T", "timestamp": None, "toxic": False, "turn_identifier": 1},
      {"content": "Because.", "country": None, "hashed_ip": None, "header": None, "language": "English",
       "redacted": False, "role": "assistant", "state": None, "timestamp": "x", "toxic": False,
       "turn_identifier": 1}], "turn": 1, "language": "English", "toxic": False, "country": "US"}, QA)
shape("LDJnr/Capybara", {"source": "x", "conversation": [{"input": "Why?", "output": "Because."},
      {"input": "So?", "output": "Yes."}]}, "u:Why? | a:Because. | u:So? | a:Yes.")
shape("tomg-group-umd/GenQA", {"prompt": "Pick a topic.", "text": [{"content": "Why?", "role": "user"},
      {"content": "Because.", "role": "assistant"}], "template": "t", "topic": "x", "category": "academic"}, QA)
shape("Magpie-Align/Magpie-Pro-300K-Filtered", {"uuid": "1", "instruction": "Why?", "response": "Because.",
      "conversations": said("Why?", "Because."), "gen_input_configs": {"temperature": 1.0}, "intent": "ask",
      "knowledge": "some", "difficulty": "easy", "input_quality": "good", "task_category": "Reasoning",
      "reward_model": "FsfairX", "instruct_reward": 1.0, "language": "EN"}, QA)
shape("argilla/magpie-ultra-v0.1", {"model_name_response_base": "x", "instruction": "Why?", "response": "Because.",
      "response_base": "No.", "intent": "ask", "knowledge": "some", "difficulty": "easy", "explanation": "x",
      "quality": "good", "primary_tag": "Math", "other_tags": ["x"], "score": 1.5, "score_base": -2.0}, QA)
shape("Muennighoff/natural-instructions", {"task_name": "task001", "id": "1", "definition": "Answer the question.",
      "inputs": "Why?", "targets": "Because."}, "u:Answer the question.\nWhy? | a:Because.")
shape("bigscience/P3", {"inputs": [1, 2], "inputs_pretokenized": "Why?", "targets": [3], "targets_pretokenized":
      "\nBecause."}, "u:Why? | a:\nBecause.")
shape("Open-Orca/FLAN", {"inputs": "Why?", "targets": "Because.", "_template_idx": 1, "_task_source": "NIv2",
      "_task_name": "task1", "_template_type": "zs_opt"}, QA)
shape("CohereLabs/aya_dataset", {"inputs": "Why?", "targets": "Because.", "language": "English", "language_code":
      "eng", "annotation_type": "original-annotations", "user_id": "f0"}, QA)
shape("IlyaGusev/ru_turbo_alpaca", [{"instruction": f"Почему {n}?", "input": "", "output": f"Потому что {n}.",
      "alternative_output": f"Так {n}.", "label": "ok", "all_labels": ["ok"], "agreement": 1.0} for n in range(3)],
      "u:Почему 0? | a:Потому что 0.")
shape("modelscope/self-cognition", {"query": "Why?", "response": "Because.", "tag": "en"}, QA)
shape("lightblue/tagengo-gpt4", {"conversation_id": "1", "conversations": said("Why?", "Because."), "language": "en",
      "lang_detect_result": {"lang": "en", "score": 0.9}, "response": ["Because.", "stop"]}, QA)
shape("TIGER-Lab/WebInstructSub", {"orig_question": "why", "orig_answer": "b", "source": "x", "index": 1,
      "question": "Why?", "answer": "Because."}, QA)
shape("GAIR/lima", {"conversations": ["Why?", "Because."], "source": "stackexchange"}, QA)
shape("stingning/ultrachat", {"id": "0", "data": ["Why?", "Because.", "So?", "Yes."]},
      "u:Why? | a:Because. | u:So? | a:Yes.")
shape("yizhongw/self_instruct seeds", {"id": "seed_0", "name": "x", "instruction": "Say why.", "instances": [
      {"input": "rain", "output": "Because."}], "is_classification": False}, "!--map")
shape("Hello-SimpleAI/HC3", {"question": "Why?", "human_answers": ["Because."], "chatgpt_answers": ["Just so it is."],
      "index": 0, "source": "reddit"}, "?u:Why? | a:Because.")
shape("anon8231489123/ShareGPT_Vicuna", {"id": "QW_0", "conversations": said("Why?", "Because.")}, QA)
shape("nvidia/Nemotron-Post-Training", {"input": chat("Why?"), "output": "Because.", "category": "math", "license":
      "cc", "reasoning": "on", "generator": "R1", "used_in_training": "Nano", "version": "v1",
      "system_prompt": "Be kind."}, "s:Be kind. | u:Why? | a:Because.")
shape("AM-DeepSeek-R1-Distilled", {"messages": [{"role": "user", "content": "Why?", "info": {"source": "x",
      "reference_answer": "b"}}, {"role": "assistant", "content": "<think>hm</think>Because.", "info": {}}]},
      "u:Why? | a:<think>hm</think>Because.")
shape("OpenAssistant/oasst1", [
      {"message_id": "m1", "parent_id": None, "text": "Why?", "role": "prompter", "lang": "en", "rank": None,
       "message_tree_id": "m1", "deleted": False, "tree_state": "ready_for_export"},
      {"message_id": "m2", "parent_id": "m1", "text": "No idea.", "role": "assistant", "lang": "en", "rank": 1,
       "message_tree_id": "m1", "deleted": False, "tree_state": "ready_for_export"},
      {"message_id": "m3", "parent_id": "m1", "text": "Because.", "role": "assistant", "lang": "en", "rank": 0,
       "message_tree_id": "m1", "deleted": False, "tree_state": "ready_for_export"},
      {"message_id": "m4", "parent_id": "m3", "text": "So?", "role": "prompter", "lang": "en", "rank": None,
       "message_tree_id": "m1", "deleted": False, "tree_state": "ready_for_export"},
      {"message_id": "m5", "parent_id": "m4", "text": "Yes.", "role": "assistant", "lang": "en", "rank": 0,
       "message_tree_id": "m1", "deleted": False, "tree_state": "ready_for_export"}],
      "u:Why? | a:Because. | u:So? | a:Yes.")
shape("OpenAI fine-tuning file", {"messages": [{"role": "system", "content": "Be kind."}, *chat("Why?", "Because.")],
      "parallel_tool_calls": False}, "s:Be kind. | u:Why? | a:Because.")
shape("Gemini tuning file", {"systemInstruction": {"role": "system", "parts": [{"text": "Be kind."}]}, "contents": [
      {"role": "user", "parts": [{"text": "Why?"}]}, {"role": "model", "parts": [{"text": "Because."}]}]},
      "s:Be kind. | u:Why? | a:Because.")
shape("Cohere tuning file", {"messages": [{"role": "User", "content": "Why?"}, {"role": "Chatbot", "content":
      "Because."}]}, QA)
shape("ChatGPT export", {"title": "x", "create_time": 1.0, "current_node": "c", "mapping": {
      "r": {"id": "r", "message": None, "parent": None, "children": ["b"]},
      "b": {"id": "b", "message": {"author": {"role": "user"}, "content": {"content_type": "text", "parts": ["Why?"]}},
            "parent": "r", "children": ["d", "c"]},
      "d": {"id": "d", "message": {"author": {"role": "assistant"}, "content": {"content_type": "text", "parts":
            ["No."]}}, "parent": "b", "children": []},
      "c": {"id": "c", "message": {"author": {"role": "assistant"}, "content": {"content_type": "text", "parts":
            ["Because."]}}, "parent": "b", "children": []}}}, QA)
shape("Claude export", {"uuid": "1", "name": "x", "chat_messages": [{"uuid": "2", "sender": "human", "text": "Why?"},
      {"uuid": "3", "sender": "assistant", "text": "Because."}]}, QA)
shape("rows from a hub's viewer", {"row_idx": 0, "row": {"question": "Why?", "answer": "Because."},
      "truncated_cells": []}, QA)
# ── Chinese instruction sets ──
shape("BelleGroup/train_1M_CN", {"instruction": "为什么？", "input": "", "output": "因为如此。"}, "u:为什么？ | a:因为如此。")
shape("BelleGroup/multiturn_chat_0.8M", {"instruction": "Human:你好\nAssistant:您好！\nHuman:再见\nAssistant:",
      "input": "", "output": "再见！"}, "u:你好 | a:您好！ | u:再见 | a:再见！")
shape("BelleGroup/train_3.5M_CN", {"id": "1", "conversations": [{"from": "human", "value": "你好"},
      {"from": "assistant", "value": "您好！"}]}, "u:你好 | a:您好！")
shape("BAAI/COIG", {"instruction": "请回答。", "conversations": [{"question": "为什么？", "answer": "因为如此。"}]},
      "u:请回答。\n为什么？ | a:因为如此。")
shape("m-a-p/COIG-CQIA", {"instruction": "写诗", "input": "", "output": "春眠不觉晓", "task_type": {"major": ["问答"],
      "minor": ["x"]}, "domain": ["文学"], "metadata": "", "answer_from": "human", "human_verified": True,
      "copyright": ""}, "u:写诗 | a:春眠不觉晓")
shape("YeungNLP/firefly-train-1.1M", {"kind": "NLI", "input": "判断对错", "target": "对的"}, "u:判断对错 | a:对的")
shape("shibing624/AdvertiseGen", {"content": "类型#裤*版型#宽松", "summary": "宽松的裤子，穿着舒适。"},
      "u:类型#裤*版型#宽松 | a:宽松的裤子，穿着舒适。")
shape("deepctrl-sft-data", {"id": 1, "instruction": "为什么？", "input": "", "output": "因为如此。", "history": [
      ["你好", "您好！"]], "language": "chinese", "data_source": "baidu", "input_len": 3, "output_len": 5,
      "num_utter": 2, "type": ["qa"], "type_keyword": ["x"]}, "u:你好 | a:您好！ | u:为什么？ | a:因为如此。")
shape("Congliu/Chinese-DeepSeek-R1-Distill-data-110k", {"input": "为什么？", "content": "因为如此。",
      "reasoning_content": "我想想", "repo_name": "gsm8k", "prompt_tokens_len": 12, "content_tokens_len": 5,
      "reasoning_content_tokens_len": 4, "score": 10}, "u:为什么？ | a:因为如此。")
shape("silk-road/alpaca-data-gpt4-chinese", {"instruction_zh": "为什么？", "input_zh": "", "output_zh": "因为。",
      "instruction": "Why?", "input": "", "output": "Because."}, QA)
shape("wangrui6/Zhihu-KOL", {"INSTRUCTION": "为什么？", "RESPONSE": "因为如此。", "SOURCE": "Zhihu", "METADATA": "{}"},
      "u:为什么？ | a:因为如此。")
shape("hugcyp/LCSTS", {"text": 文章, "summary": "北京是首都"}, f"u:{文章} | a:北京是首都")
shape("LCSTS in Chinese words", {"原文": 文章, "摘要": "北京是首都"}, f"u:{文章} | a:北京是首都")
shape("baike_qa2019", {"qid": "qid_1", "category": "健康", "title": "感冒了怎么办", "desc": "三天了", "answer":
      "多喝水。"}, "u:感冒了怎么办\n三天了 | a:多喝水。")
shape("webtext2019zh", {"qid": 1, "title": "北京有什么好玩的？", "desc": "", "topic": "旅游", "star": 3, "content":
      文章, "answer_id": 2, "answerer_tags": ""}, "?")
shape("news2016zh", {"news_id": "1", "keywords": "北京", "title": "北京新貌", "desc": "", "source": "新华社", "time":
      "2016", "content": 文章}, f"?text:{文章}")
shape("title and content", [{"title": f"第{n}条", "content": f"{n}。{文章}"} for n in range(5)], f"?text:0。{文章}")
shape("标题 and 正文", [{"标题": f"第{n}条", "正文": f"{n}。{文章}"} for n in range(5)], f"?text:0。{文章}")
shape("CLUE CSL", {"id": 1, "abst": 文章, "keyword": ["北京", "首都"], "label": "1"}, "?")
shape("NER jave", {"tokens": ["北", "京"], "ner_tags": [1, 2], "id": "0"}, "!--map")
shape("CLUENER", {"text": 文章, "label": {"address": {"北京": [[0, 1]]}}}, f"?text:{文章}")
shape("DuIE", {"text": 文章, "spo_list": [{"predicate": "首都", "subject": "中国"}]}, f"?text:{文章}")
shape("FewCLUE/tnews", {"label": "108", "label_desc": "news_edu", "sentence": "上课时学生手机响", "keywords": "",
      "id": 0}, "?u:上课时学生手机响 | a:news_edu")
shape("iflytek", {"label": "11", "label_des": "薅羊毛", "sentence": "现价领券减免"}, "?u:现价领券减免 | a:薅羊毛")
shape("ChnSentiCorp", [{"label": n % 2, "text": f"房间{n}不错"} for n in range(4)], "?u:房间0不错 | a:0")
shape("online_shopping_10_cats", [{"cat": "书籍", "label": n % 2, "review": f"第{n}本不错"} for n in range(4)],
      "?u:第0本不错 | a:0")
shape("fudan-news", {"text": 文章, "cat": "体育"}, f"?u:{文章} | a:体育")
shape("AFQMC", [{"sentence1": f"花呗{n}怎么还", "sentence2": f"借呗{n}怎么还", "label": str(n % 2), "id": n}
      for n in range(4)], "?u:sentence1: 花呗0怎么还\nsentence2: 借呗0怎么还 | a:0")
shape("LCQMC", [{"text1": f"喜欢{n}么", "text2": f"爱{n}么", "label": n % 2} for n in range(4)],
      "?u:text1: 喜欢0么\ntext2: 爱0么 | a:0")
shape("OCNLI", {"level": "medium", "sentence1": "身上裹一件大衣", "sentence2": "那人穿着衣服", "label": "entailment",
      "label0": "entailment", "label1": None, "genre": "lit", "prem_id": "l1", "id": 0},
      "?u:sentence1: 身上裹一件大衣\nsentence2: 那人穿着衣服 | a:entailment")
shape("facebook/xnli", {"premise": "It rains.", "hypothesis": "It is dry.", "label": 2},
      "?u:premise: It rains.\nhypothesis: It is dry. | a:2")
shape("CMRC2018 as JSON lines", {"id": "1", "context": 文章, "question": "首都？", "answers": {"text": ["北京"],
      "answer_start": [0]}}, f"u:首都？\n{文章} | a:北京")
shape("古文 and 现代文", {"古文": "学而时习之", "现代文": "学习并且时常温习它"}, "?u:学而时习之 | a:学习并且时常温习它")
shape("chinese-poetry", {"author": "李白", "paragraphs": ["床前明月光，", "疑是地上霜。"], "title": "静夜思", "id":
      "1"}, "text:静夜思\n床前明月光，\n疑是地上霜。")
shape("MNBVC", {"文件名": "a.txt", "是否待查文件": False, "段落数": 2, "段落": [{"行号": 0, "是否重复": False, "md5":
      "x", "内容": "甲"}, {"行号": 1, "是否重复": False, "md5": "y", "内容": "乙"}]}, "text:甲\n乙")
# ── questions, reading, exams ──
shape("openai/gsm8k", {"question": "2 + 2?", "answer": "2 + 2 = 4\n#### 4"}, "u:2 + 2? | a:2 + 2 = 4\n#### 4")
shape("rajpurkar/squad", {"id": "1", "title": "Rome", "context": "Rome is in Italy.", "question": "Where is Rome?",
      "answers": {"text": ["in Italy"], "answer_start": [8]}}, "u:Where is Rome?\nRome is in Italy. | a:in Italy")
shape("hotpotqa/hotpot_qa", {"id": "1", "question": "Which?", "answer": "Rome", "type": "comparison", "level": "hard",
      "supporting_facts": {"title": ["A"], "sent_id": [0]}, "context": {"title": ["A", "B"], "sentences": [
      ["One.", " Two."], ["Three."]]}}, "u:Which?\nA\nOne. Two.\nB\nThree. | a:Rome")
shape("qiaojin/PubMedQA", {"pubid": 1, "question": "Does it?", "context": {"contexts": ["One.", "Two."], "labels":
      ["A"], "meshes": ["B"]}, "long_answer": "It does so.", "final_decision": "yes"},
      "u:Does it?\nOne.\nTwo. | a:It does so.")
shape("mandarjoshi/trivia_qa", {"question": "Who?", "question_id": "tc_1", "question_source": "x", "entity_pages": {
      "title": []}, "search_results": {"title": []}, "answer": {"aliases": ["S. Lewis"], "normalized_aliases": [],
      "matched_wiki_entity_name": "", "normalized_value": "lewis", "type": "W", "value": "Sinclair Lewis"}},
      "u:Who? | a:Sinclair Lewis")
shape("nq_open", {"question": "who", "answer": ["Ann", "Anna"]}, "u:who | a:Ann")
shape("google/boolq", {"question": "is it", "answer": True, "passage": "It is."}, "u:is it\nIt is. | a:true")
shape("cais/mmlu", {"question": "Which?", "subject": "law", "choices": ["x", "y"], "answer": 1},
      "u:Which?\nA. x\nB. y | a:B")
shape("TIGER-Lab/MMLU-Pro", {"question_id": 1, "question": "Which?", "options": ["x", "y"], "answer": "B",
      "answer_index": 1, "cot_content": "", "category": "law", "src": "x"}, "u:Which?\nA. x\nB. y | a:B")
shape("haonan-li/cmmlu", {"Question": "哪个？", "A": "甲", "B": "乙", "C": "丙", "D": "丁", "Answer": "B"},
      "u:哪个？\nA. 甲\nB. 乙\nC. 丙\nD. 丁 | a:B")
shape("ceval/ceval-exam", {"id": 0, "question": "哪个？", "A": "甲", "B": "乙", "C": "丙", "D": "丁", "answer": "B",
      "explanation": "1. 因为"}, "u:哪个？\nA. 甲\nB. 乙\nC. 丙\nD. 丁 | a:B")
shape("allenai/ai2_arc", {"id": "M1", "question": "Which?", "choices": {"text": ["x", "y"], "label": ["A", "B"]},
      "answerKey": "B"}, "u:Which?\nA. x\nB. y | a:B")
shape("allenai/openbookqa", {"id": "7", "question_stem": "Which?", "choices": {"text": ["x", "y"], "label": ["A",
      "B"]}, "answerKey": "B"}, "u:Which?\nA. x\nB. y | a:B")
shape("tau/commonsense_qa", {"id": "0", "question": "Which?", "question_concept": "x", "choices": {"label": ["A", "B"],
      "text": ["x", "y"]}, "answerKey": "B"}, "u:Which?\nA. x\nB. y | a:B")
shape("allenai/sciq", {"question": "Which?", "distractor3": "d", "distractor1": "e", "distractor2": "f",
      "correct_answer": "y", "support": "It is y."}, "u:Which? | a:y")
shape("Rowan/hellaswag", {"ind": 4, "activity_label": "Roof", "ctx_a": "A man sits.", "ctx_b": "he", "ctx":
      "A man sits. he", "endings": ["x", "y"], "source_id": "a", "split": "train", "split_type": "indomain", "label":
      "1"}, "u:A man sits. he\nA. x\nB. y | a:B")
shape("ybisk/piqa", {"goal": "To boil water", "sol1": "freeze it", "sol2": "heat it", "label": 1},
      "u:To boil water\n1. freeze it\n2. heat it | a:2")
shape("allenai/winogrande", {"sentence": "Ann met Eve, _ smiled.", "option1": "Ann", "option2": "Eve", "answer": "1"},
      "u:Ann met Eve, _ smiled.\n1. Ann\n2. Eve | a:1")
shape("allenai/social_i_qa", {"context": "Ann fell.", "question": "Why?", "answerA": "ice", "answerB": "fun",
      "answerC": "no", "label": "1"}, "u:Why?\nAnn fell.\nA. ice\nB. fun\nC. no | a:A")
shape("ehovy/race", {"example_id": "h1", "article": "Long text.", "answer": "B", "question": "Which?", "options": [
      "x", "y"]}, "u:Which?\nLong text.\nA. x\nB. y | a:B")
shape("lucasmccabe/logiqa", {"context": "Text.", "query": "Which?", "options": ["x", "y"], "correct_option": 1},
      "u:Which?\nText.\nA. x\nB. y | a:B")
shape("deepmind/aqua_rat", {"question": "Which?", "options": ["A)21", "B)22"], "rationale": "It is 22.", "correct":
      "B"}, "u:Which?\nA. 21\nB. 22 | a:B")
shape("allenai/math_qa", {"Problem": "How many?", "Rationale": "It is 38.", "options": "a ) 38 , b ) 27", "correct":
      "a", "annotated_formula": "x", "linear_formula": "y", "category": "general"},
      "u:How many?\na ) 38 , b ) 27 | a:a")
shape("medmcqa", {"id": "e", "question": "Which?", "opa": "x", "opb": "y", "opc": "z", "opd": "w", "cop": 1,
      "choice_type": "single", "exp": "y it is", "subject_name": "Anatomy", "topic_name": None},
      "u:Which?\nA. x\nB. y\nC. z\nD. w | a:B")
shape("GBaker/MedQA-USMLE-4-options", {"question": "Which?", "answer": "y", "options": {"A": "x", "B": "y"},
      "meta_info": "step1", "answer_idx": "B"}, "u:Which?\nA. x\nB. y | a:B")
shape("FreedomIntelligence/CMB", {"exam_type": "医师考试", "exam_class": "执业医师", "exam_subject": "口腔", "question":
      "哪个？", "answer": "B", "question_type": "单项选择题", "option": {"A": "甲", "B": "乙"}},
      "u:哪个？\nA. 甲\nB. 乙 | a:B")
shape("JEC-QA", {"statement": "哪个？", "option_list": {"A": "甲", "B": "乙"}, "answer": ["B"], "id": "1"},
      "u:哪个？\nA. 甲\nB. 乙 | a:B")
shape("AGIEval", {"passage": "Text.", "question": "Which?", "options": ["(A)x", "(B)y"], "label": "B", "other": None},
      "u:Which?\nText.\nA. x\nB. y | a:B")
shape("Idavidrein/gpqa", {"Question": "Which?", "Correct Answer": "y", "Incorrect Answer 1": "x", "Incorrect Answer 2":
      "z", "Incorrect Answer 3": "w", "Explanation": "So.", "Subdomain": "Physics", "Record ID": "r"},
      "u:Which? | a:y")
shape("truthful_qa generation", {"type": "Adversarial", "category": "Misc", "question": "Why?", "best_answer":
      "Because.", "correct_answers": ["Because.", "So."], "incorrect_answers": ["No."], "source": "x"}, QA)
shape("truthful_qa multiple choice", {"question": "Why?", "mc1_targets": {"choices": ["Because.", "No."], "labels":
      [1, 0]}, "mc2_targets": {"choices": [], "labels": []}}, "!--map")
shape("abisee/cnn_dailymail", {"article": ARTICLE, "highlights": "Rome.", "id": "1"}, f"u:{ARTICLE} | a:Rome.")
shape("EdinburghNLP/xsum", {"document": ARTICLE, "summary": "Rome.", "id": "1"}, f"u:{ARTICLE} | a:Rome.")
shape("ccdv/arxiv-summarization", {"article": ARTICLE, "abstract": "Rome."}, f"u:{ARTICLE} | a:Rome.")
shape("knkarthick/dialogsum", {"id": "1", "dialogue": "#Person1#: Hi\n#Person2#: Ho", "summary": "They greet.",
      "topic": "x"}, "u:#Person1#: Hi\n#Person2#: Ho | a:They greet.")
shape("openai tldr", {"id": "t3", "subreddit": "r", "title": "Cat", "post": ARTICLE, "summary": "Rome."},
      f"u:{ARTICLE} | a:Rome.")
shape("wmt/wmt19", {"translation": {"en": "Good morning", "zh": "早上好"}}, "?u:Good morning | a:早上好")
shape("columns of languages", {"en": "Good morning", "zh": "早上好"}, "?u:Good morning | a:早上好")
shape("原文 and 译文", {"原文": "Good morning", "译文": "早上好"}, "?u:Good morning | a:早上好")
shape("中文 and 英文", {"编号": "1", "中文": "早上好", "英文": "Good morning to all of you"},
      "?u:早上好 | a:Good morning to all of you")
shape("source and target", {"source": "Good morning", "target": "早上好"}, "?u:Good morning | a:早上好")
shape("financial_phrasebank", [{"sentence": f"Profit rose {n}.", "label": n % 3} for n in range(6)],
      "?u:Profit rose 0. | a:0")
shape("dair-ai/emotion", [{"text": f"i feel {n}", "label": n % 6} for n in range(9)], "?u:i feel 0 | a:0")
shape("clinc_oos", {"text": "book a table", "intent": 4}, "?u:book a table | a:4")
shape("AmazonScience/massive", {"id": "1", "locale": "zh-CN", "partition": "train", "scenario": "alarm", "intent":
      "alarm_set", "utt": "五点叫我", "annot_utt": "[time : 五点]叫我", "worker_id": "1"}, "?")
shape("bitext customer support", {"flags": "B", "instruction": "Cancel it", "category": "ORDER", "intent":
      "cancel_order", "response": "I will."}, "u:Cancel it | a:I will.")
shape("camel-ai/math", {"role_1": "Mathematician", "topic;": "Algebra", "sub_topic": "x", "message_1": "Why?",
      "message_2": "Because."}, QA)
shape("NousResearch/CharacterCodex", [{"media_type": "Webcomics", "genre": "Fantasy", "media_source": "Tower",
      "character_name": f"Alice {n}", "description": f"Alice {n} is a woman of many talents.", "scenario":
      f"You stand {n} at the entrance of a place."} for n in range(12)], "?")
shape("proj-persona/PersonaHub", [{"input persona": f"A man of {n} years", "synthesized text":
      f"{n} years ago a man of many talents lived in Rome.", "description": "math problem"} for n in range(12)],
      f"?u:A man of 0 years | a:0 years ago a man of many talents lived in Rome.")
# ── medicine and law ──
shape("huatuo_encyclopedia_qa", {"questions": [["感冒怎么办？", "感冒了怎么办？"]], "answers": ["多喝水。"]},
      "u:感冒怎么办？ | a:多喝水。")
shape("FreedomIntelligence/Huatuo26M-Lite", {"id": 1, "answer": "多喝水。", "score": 5, "label": "内科", "question":
      "感冒怎么办？", "related_diseases": "感冒"}, "u:感冒怎么办？ | a:多喝水。")
shape("HuatuoGPT-sft-data-v1", {"data": ["问：头疼", "答：休息"]}, "u:头疼 | a:休息")
shape("Flmc/DISC-Med-SFT", {"_id": "1", "source": "x", "conversation": chat("头疼", "休息")}, "u:头疼 | a:休息")
shape("MedDialog-CN", {"description": "头疼三天", "utterances": ["病人：头疼", "医生：休息"]}, "u:头疼 | a:休息")
shape("Toyhom Chinese medical dialogue", {"department": "内科", "title": "头疼", "ask": "头疼三天了", "answer": "休息。"},
      "u:头疼三天了 | a:休息。")
shape("michaelwzhu/ChatMed", {"query": "头疼", "response": "休息"}, "u:头疼 | a:休息")
shape("FreedomIntelligence/medical-o1-reasoning-SFT", {"Question": "Why?", "Complex_CoT": "Let me think.", "Response":
      "Because."}, QA)
shape("shibing624/medical reward", {"question": "为什么？", "response_chosen": "因为如此。", "response_rejected": "不知道。"},
      "u:为什么？ | +:因为如此。 | -:不知道。")
shape("ShengbinYue/DISC-Law-SFT triplet", {"id": "1", "reference": ["第一条"], "input": "为什么？", "output":
      "因为如此。"}, "u:为什么？ | a:因为如此。")
shape("CAIL2018", {"fact": 文章, "meta": {"accusation": ["盗窃"], "criminals": ["张某"]}}, "?")
shape("tigerbot-law-plugin", {"type": "宪法", "title": "宪法", "chapter1": "第一章", "content": 文章}, f"?text:{文章}")
# ── code, mathematics, databases ──
shape("sahil2801/CodeAlpaca-20k", {"instruction": "Add", "input": "1, 2", "output": "print(1 + 2)"},
      "u:Add\n1, 2 | a:print(1 + 2)")
shape("ise-uiuc/Magicoder-OSS-Instruct-75K", {"lang": "python", "raw_index": 1, "index": 2, "seed": "def f",
      "openai_fingerprint": "fp", "problem": "Add.", "solution": "print(3)"}, "u:Add. | a:print(3)")
shape("ise-uiuc/Magicoder-Evol-Instruct-110K", {"instruction": "Add.", "response": "print(3)"}, "u:Add. | a:print(3)")
shape("m-a-p/CodeFeedback-Filtered-Instruction", {"query": "Add.", "answer": "print(3)", "resource": "evol", "lang":
      "python"}, "u:Add. | a:print(3)")
shape("codefuse-ai/CodeExercise-Python-27k", {"id": 0, "data_name": "code", "chat_rounds": [{"role": "human",
      "content": "Add."}, {"role": "bot", "content": "print(3)"}]}, "u:Add. | a:print(3)")
shape("nvidia/OpenCodeReasoning", {"id": "1", "input": "Add.", "output": "<think>x</think>print(3)", "source": "x",
      "license": "mit", "dataset": "y", "split": "train", "difficulty": "EASY", "solution": "print(3)"},
      "u:Add. | a:<think>x</think>print(3)")
shape("iamtarun/python_code_instructions_18k_alpaca", {"instruction": "Add.", "input": "", "output": "print(3)",
      "prompt": "Below is an instruction\n### Instruction:\nAdd.\n### Output:\nprint(3)"}, "u:Add. | a:print(3)")
shape("google-research-datasets/mbpp", {"task_id": 1, "text": "Add.", "code": "print(3)", "test_list": ["assert 1"],
      "test_setup_code": "", "challenge_test_list": []}, "u:Add. | a:print(3)")
shape("openai/openai_humaneval", {"task_id": "HumanEval/0", "prompt": "def f():\n", "canonical_solution":
      "    return 3\n", "test": "def check(): pass", "entry_point": "f"}, "u:def f():\n | a:    return 3\n")
shape("codeparrot/apps", {"problem_id": 1, "question": "Add.", "solutions": json.dumps(["print(3)", "print(1 + 2)"]),
      "input_output": "{}", "difficulty": "easy", "url": "u", "starter_code": ""}, "?")
shape("bigcode/the-stack", {"hexsha": "a", "size": 3, "ext": "py", "lang": "Python", "max_stars_repo_path": "a.py",
      "content": "import os\nprint(os.getcwd())\n" * 4, "avg_line_length": 3.0}, "text:import os…")
shape("codeparrot/github-code", {"code": "import os\nprint(os.getcwd())\n" * 4, "repo_name": "a/b", "path": "a.py",
      "language": "Python", "license": "mit", "size": 90}, "text:import os…")
shape("princeton-nlp/SWE-bench", {"repo": "a/b", "instance_id": "a__b-1", "base_commit": "c", "patch": "diff --git a",
      "test_patch": "diff --git t", "problem_statement": "It breaks.", "hints_text": "", "created_at": "2023",
      "version": "1.0", "FAIL_TO_PASS": "[]", "PASS_TO_PASS": "[]"}, "u:It breaks. | a:diff --git a")
shape("neulab/conala", {"question_id": 1, "intent": "add numbers", "rewritten_intent": "add 1 and 2", "snippet":
      "1 + 2"}, "?")
shape("hendrycks/competition_math", {"problem": "2 + 2?", "level": "Level 5", "type": "Algebra", "solution": "Four."},
      "u:2 + 2? | a:Four.")
shape("HuggingFaceH4/MATH-500", {"problem": "2 + 2?", "solution": "It is four.", "answer": "4", "subject": "Algebra",
      "level": 2, "unique_id": "x"}, "u:2 + 2? | a:It is four.")
shape("AI-MO/NuminaMath-1.5", {"problem": "2 + 2?", "solution": "It is four.", "answer": "4", "problem_type":
      "Algebra", "question_type": "math-word-problem", "problem_is_valid": "Yes", "solution_is_valid": "Yes", "source":
      "x", "synthetic": False}, "u:2 + 2? | a:It is four.")
shape("AI-MO/NuminaMath-CoT", {"source": "x", "problem": "2 + 2?", "solution": "4.", "messages": chat("2 + 2?",
      "It is 4.")}, "u:2 + 2? | a:It is 4.")
shape("simplescaling/s1K", {"solution": "128", "question": "2 ^ 7?", "cot_type": "math", "source_type": "x",
      "metadata": "{}", "cot": None, "thinking_trajectories": ["I think."], "attempt": "It is 128."}, "u:2 ^ 7? | a:128")
shape("open-r1/OpenR1-Math-220k", {"problem": "2 + 2?", "solution": "s", "answer": "4", "problem_type": "Algebra",
      "uuid": "1", "is_reasoning_complete": [True, True], "generations": ["g", "h"], "correctness_math_verify":
      [True, False], "correctness_count": 1, "messages": chat("2 + 2?", "It is 4.")}, "u:2 + 2? | a:It is 4.")
shape("open-thoughts/OpenThoughts-114k", {"system": "Think.", "conversations": [{"from": "user", "value": "Why?"},
      {"from": "assistant", "value": "Because."}]}, "s:Think. | u:Why? | a:Because.")
shape("nvidia/OpenMathInstruct-2", {"problem": "2 + 2?", "generated_solution": "It is 4.", "expected_answer": "4",
      "problem_source": "x"}, "u:2 + 2? | a:It is 4.")
shape("nvidia/OpenMathReasoning", {"expected_answer": "4", "problem_type": "x", "problem_source": "y",
      "generation_model": "R1", "pass_rate_72b_tir": "0.9", "problem": "2 + 2?", "generated_solution": "It is 4.",
      "inference_mode": "cot"}, "u:2 + 2? | a:It is 4.")
shape("meta-math/MetaMathQA", {"type": "GSM", "query": "2 + 2?", "original_question": "2+2", "response": "It is 4."},
      "u:2 + 2? | a:It is 4.")
shape("Azure99/blossom-math-v2", {"id": "1", "input": "2 + 2?", "output": "It is 4.", "answer": "4", "dataset": "x"},
      "u:2 + 2? | a:It is 4.")
shape("BytedTsinghua-SIA/DAPO-Math-17k", {"data_source": "math_dapo", "prompt": chat("2 + 2?"), "ability": "MATH",
      "reward_model": {"ground_truth": "4", "style": "rule"}, "extra_info": {"index": "1"}}, "u:2 + 2? | a:4")
shape("zwhe99/DeepMath-103K", {"question": "2 + 2?", "final_answer": "4", "difficulty": 4.5, "topic": "x",
      "r1_solution_1": "It is four.", "r1_solution_2": "Four it is.", "r1_solution_3": "So four."}, "u:2 + 2? | a:4")
shape("Jiayi-Pan/Countdown-Tasks-3to4", {"target": 98, "nums": [44, 19, 35]}, "!--map")
shape("PowerInfer/LONGCOT-Refine-500K", {"prompt": "Why?", "response": "Because."}, QA)
shape("open-r1/verifiable-coding-problems-python", {"source": "apps", "task_type": "x", "in_source_id": "1", "prompt":
      "Add.", "gold_standard_solution": "print(3)", "verification_info": {"language": "python"}, "metadata": {},
      "problem_id": "v1"}, "u:Add. | a:print(3)")
shape("Math23K", [{"id": str(n), "original_text": f"有{n}个苹果，又来{n}个，共几个？", "segmented_text":
      f"有 {n} 个 苹果 ， 又 来 {n} 个 ， 共 几个 ？", "equation": f"x={n}+{n}", "ans": str(2 * n)} for n in range(12)],
      "u:有0个苹果，又来0个，共几个？ | a:0")
shape("b-mc2/sql-create-context", {"answer": "SELECT 1", "question": "How many?", "context": "CREATE TABLE a"},
      "u:How many?\nCREATE TABLE a | a:SELECT 1")
shape("gretelai/synthetic_text_to_sql", {"id": 1, "domain": "x", "domain_description": "Data on x.", "sql_complexity":
      "basic", "sql_complexity_description": "y", "sql_task_type": "analytics", "sql_task_type_description": "z",
      "sql_prompt": "How many?", "sql_context": "CREATE TABLE a", "sql": "SELECT 1", "sql_explanation": "Counts."},
      "u:How many?\nCREATE TABLE a | a:SELECT 1")
shape("xlangai/spider", {"db_id": "farm", "query": "SELECT 1 FROM a", "question": "How many?", "query_toks": ["SELECT"],
      "query_toks_no_value": ["select"], "question_toks": ["How"]}, "?u:How many? | a:SELECT 1 FROM a")
shape("BIRD", {"question_id": 0, "db_id": "farm", "question": "How many?", "evidence": "heads count", "SQL": "SELECT 1",
      "difficulty": "simple"}, "u:How many?\nheads count | a:SELECT 1")
shape("Salesforce/wikisql", {"phase": 1, "question": "How many?", "table": {"header": ["a"], "rows": [["1"]]}, "sql": {
      "human_readable": "SELECT 1", "sel": 0, "agg": 0, "conds": {}}}, "u:How many? | a:SELECT 1")
# ── tools and agents ──
CALL = 'weather{"city": "Rome"}'
TOOLS = [{"type": "function", "function": WEATHER}]
shape("glaive-function-calling v1", {"sample": "SYSTEM: You are kind.\nUSER: Weather?\nASSISTANT: Where?\n"
      "USER: Rome\nASSISTANT: 3 degrees."}, "s:You are kind. | u:Weather? | a:Where? | u:Rome | a:3 degrees.")
shape("hiyouga/glaive-function-calling-v2-sharegpt", {"conversations": [{"from": "human", "value": "Weather?"},
      {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Rome"}}'},
      {"from": "observation", "value": '{"t": 3}'}, {"from": "gpt", "value": "3 degrees."}], "tools":
      json.dumps([WEATHER])}, f'u:Weather? | a:→{CALL} | t:{{"t": 3}} | a:3 degrees. | tools:weather')
shape("Salesforce/APIGen-MT-5k", {"conversations": [{"from": "human", "value": "Weather?"}, {"from": "function_call",
      "value": '{"name": "weather", "arguments": {"city": "Rome"}}'}, {"from": "observation", "value": "3"},
      {"from": "gpt", "value": "3 degrees."}], "tools": json.dumps([WEATHER]), "system": "Be kind."},
      f"s:Be kind. | u:Weather? | a:→{CALL} | t:3 | a:3 degrees. | tools:weather")
shape("Salesforce/xlam-function-calling-60k", {"id": 0, "query": "Weather?", "answers": json.dumps([{"name": "weather",
      "arguments": {"city": "Rome"}}]), "tools": json.dumps([WEATHER])}, f"u:Weather? | a:→{CALL} | tools:weather")
shape("xlam irrelevance", [{"id": 0, "query": "Weather?", "answers": json.dumps([{"name": "weather", "arguments": {
      "city": "Rome"}}]), "tools": json.dumps([WEATHER])}, {"id": 1, "query": "Hi", "answers": "[]", "tools": "[]"}],
      f"u:Weather? | a:→{CALL} | tools:weather")
shape("zai-org/AgentInstruct", {"conversations": [{"from": "human", "loss": None, "value": "Do it."}, {"from": "gpt",
      "loss": True, "value": "Think: x\n\nAct: bash"}], "id": "os_0"}, "u:Do it. | a:Think: x\n\nAct: bash")
shape("internlm/Agent-FLAN", {"conversation": [{"role": "system", "content": "Be kind.", "loss": False}, {"role":
      "user", "content": "Why?", "loss": False}, {"role": "assistant", "content": "Because.", "loss": True}], "id":
      "x"}, "s:Be kind. | u:Why? | a:Because.")
shape("ToolLLaMA", {"id": "Step 1: x", "conversations": [{"from": "system", "value": "You are AutoGPT."}, {"from":
      "user", "value": "Weather?"}, {"from": "assistant", "value": "\nThought: look\nAction: weather\nAction Input: "
      '{"city": "Rome"}'}, {"from": "function", "value": "3"}, {"from": "assistant", "value": "3 degrees."}]},
      f"s:You are AutoGPT. | u:Weather? | a:look→{CALL} | t:3 | a:3 degrees.")
shape("Locutusque/function-calling-chatml", {"system_message": "Be kind.", "function_description":
      json.dumps(WEATHER), "conversations": [{"from": "human", "value": "Weather?"}, {"from": "function-call", "value":
      '{"name": "weather", "arguments": \'{"city": "Rome"}\'}'}, {"from": "function-response", "value": "3"},
      {"from": "gpt", "value": "3 degrees."}]}, f"s:Be kind. | u:Weather? | a:→{CALL} | t:3 | a:3 degrees. | "
      "tools:weather")
shape("BFCL", {"id": "simple_0", "question": [[{"role": "user", "content": "Weather?"}]], "function": [WEATHER]}, "!")
shape("messages as JSON text", {"instance_id": "1", "messages": json.dumps(chat("Why?", "Because.")), "resolved":
      True, "model": "x", "traj_id": "t"}, QA)
shape("osunlp/Mind2Web", {"website": "a", "domain": "b", "subdomain": "c", "annotation_id": "d", "confirmed_task":
      "Book it.", "action_reprs": ["[button] Go -> CLICK"], "actions": [{"action_uid": "1", "raw_html": "<html>"}]},
      "!--map")
shape("tools in OpenAI messages", {"messages": [{"role": "user", "content": "Weather?"}, {"role": "assistant",
      "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments":
      '{"city": "Rome"}'}}]}, {"role": "tool", "tool_call_id": "c1", "content": "3"}, {"role": "assistant", "content":
      "3 degrees."}], "tools": TOOLS}, f"u:Weather? | a:→{CALL} | t:3 | a:3 degrees. | tools:weather")
# ── preferences ──
PAIR = "u:Why? | +:Because. | -:No."
shape("Anthropic/hh-rlhf", {"chosen": "\n\nHuman: Why?\n\nAssistant: Because.", "rejected":
      "\n\nHuman: Why?\n\nAssistant: No."}, PAIR)
shape("Dahoas/rm-static", {"prompt": "\n\nHuman: Why?\n\nAssistant:", "response": " Because.", "chosen": " Because.",
      "rejected": " No."}, "u:Why? | +: Because. | -: No.")
shape("Anthropic red team", {"min_harmlessness_score_transcript": -1.0, "num_params": "52B", "model_type": "rlhf",
      "transcript": "\n\nHuman: Why?\n\nAssistant: Because.", "rating": 4.0, "task_description": "x",
      "is_upworker": False}, QA)
shape("HuggingFaceH4/ultrafeedback_binarized", {"prompt": "Why?", "prompt_id": "1", "chosen": chat("Why?", "Because."),
      "rejected": chat("Why?", "No."), "messages": chat("Why?", "Because."), "score_chosen": 8.0, "score_rejected":
      4.0}, PAIR)
shape("openbmb/UltraFeedback", {"source": "x", "instruction": "Why?", "models": ["a", "b"], "completions": [
      {"annotations": {}, "custom_system_prompt": "s", "critique": "c", "model": "a", "overall_score": 8.0,
       "principle": "p", "response": "Because."}, {"annotations": {}, "custom_system_prompt": "s", "critique": "c",
       "model": "b", "overall_score": 2.0, "principle": "p", "response": "No."}], "correct_answers": ["None"],
      "incorrect_answers": ["None"]}, PAIR)
shape("stanfordnlp/SHP", {"post_id": "1", "domain": "x", "history": "Why?", "c_root_id_A": "a", "c_root_id_B": "b",
      "score_A": 5, "score_B": 2, "human_ref_A": "Because.", "human_ref_B": "No.", "labels": 1, "score_ratio": 2.5},
      PAIR)
shape("PKU-Alignment/PKU-SafeRLHF", {"prompt": "Why?", "response_0": "No.", "response_1": "Because.",
      "is_response_0_safe": True, "is_response_1_safe": True, "better_response_id": 1, "safer_response_id": 0}, PAIR)
shape("PKU-Alignment/BeaverTails", [{"prompt": f"Why {n}?", "response": f"Because {n}.", "category": {"x": False},
      "is_safe": n % 2 == 0} for n in range(4)], "u:Why 0? | a:Because 0. =good")
shape("nvidia/HelpSteer2", {"prompt": "Why?", "response": "Because.", "helpfulness": 4, "correctness": 4, "coherence":
      4, "complexity": 2, "verbosity": 1}, QA)
shape("nvidia/HelpSteer2 preference", {"split": "train", "prompt": "Why?", "response_1": "No.", "response_2":
      "Because.", "preference_strength": 2, "preference_statement": "x", "preference_elaboration": "y"}, PAIR)
shape("nvidia/HelpSteer3", {"domain": "general", "language": "english", "context": chat("Why?"), "response1":
      "Because.", "response2": "No.", "overall_preference": -2, "individual_preference": [{"score": -2, "reasoning":
      "x", "feedback1": "y", "feedback2": "z"}]}, PAIR)
shape("berkeley-nest/Nectar", {"prompt": "\n\nHuman: Why?\n\nAssistant: ", "answers": [{"answer": "No.", "model": "a",
      "rank": 2.0}, {"answer": "Because.", "model": "b", "rank": 1.0}], "turns": 1, "num_responses": 2, "source": ["x"],
      "good_natured": True}, PAIR)
shape("openai/webgpt_comparisons", {"question": {"dataset": "x", "id": "1", "full_text": "Why?"}, "quotes_0": {
      "title": [], "extract": []}, "answer_0": "Because.", "tokens_0": {}, "score_0": 1.0, "quotes_1": {}, "answer_1":
      "No.", "tokens_1": {}, "score_1": -1.0}, PAIR)
shape("openai/summarize_from_feedback", {"info": {"id": "t3", "post": "A long post.", "title": "x", "subreddit": "r",
      "site": None, "article": None}, "summaries": [{"text": "No.", "policy": "a", "note": "n"}, {"text": "Because.",
      "policy": "b", "note": "n"}], "choice": 1, "worker": "w", "batch": "b", "split": "train", "extra": {
      "confidence": 5}}, "u:A long post. | +:Because. | -:No.")
shape("lvwerra/stack-exchange-paired", {"qid": 1, "question": "Why?", "date": "2020", "metadata": ["x"], "response_j":
      "Because.", "response_k": "No."}, PAIR)
shape("argilla/distilabel-capybara-dpo-7k-binarized", {"source": "x", "conversation": [{"input": "Why?", "output":
      "Because."}], "original_response": "Because.", "generation_prompt": ["x"], "raw_generation_responses": ["No."],
      "new_generations": ["No."], "prompt": "Why?", "chosen": chat("Why?", "Because."), "rejected": chat("Why?", "No."),
      "rating_chosen": 5, "rating_rejected": 3, "chosen_model": "a", "rejected_model": "b"}, PAIR)
shape("argilla/distilabel-intel-orca-dpo-pairs", {"system": "Be kind.", "input": "Why?", "chosen": "Because.",
      "rejected": "No.", "generations": ["Because.", "No."], "order": ["a", "b"], "labelling_model": "x",
      "labelling_prompt": [{"content": "x", "role": "system"}], "raw_labelling_response": "9 3", "rating": [9.0, 3.0],
      "rationale": "x", "status": "unchanged", "original_chosen": "Because.", "original_rejected": "No.",
      "chosen_score": 9.0, "in_gsm8k_train": False}, f"s:Be kind. | {PAIR}")
shape("llamafactory/DPO-En-Zh-20k", {"conversations": said("Why?"), "chosen": {"from": "gpt", "value": "Because."},
      "rejected": {"from": "gpt", "value": "No."}}, PAIR)
shape("mlabonne/orpo-dpo-mix-40k", {"source": "x", "chosen": chat("Why?", "Because."), "rejected": chat("Why?", "No."),
      "prompt": "Why?", "question": "Why?"}, PAIR)
shape("Skywork/Skywork-Reward-Preference-80K", {"chosen": chat("Why?", "Because."), "rejected": chat("Why?", "No."),
      "source": "x"}, PAIR)
shape("openbmb/RLAIF-V-Dataset", {"ds_name": "x", "image": PIXEL, "question": "Why?", "chosen": "Because.", "rejected":
      "No.", "origin_dataset": "y", "origin_split": "{}", "idx": 0, "image_path": "a/1.jpg"},
      "u:<image>\nWhy? | +:Because. | -:No. | img:1")
shape("argilla/ultrafeedback-kto", [{"prompt": f"Why {n}?", "completion": f"Because {n}.", "label": n % 2 == 0}
      for n in range(4)], "u:Why 0? | a:Because 0. =good")
shape("trl-lib/kto-mix-14k", [{"prompt": chat(f"Why {n}?"), "completion": [{"role": "assistant", "content":
      f"Because {n}."}], "label": n % 2 == 0} for n in range(4)], "u:Why 0? | a:Because 0. =good")
shape("lmsys/chatbot_arena_conversations", {"question_id": "1", "model_a": "x", "model_b": "y", "winner": "model_b",
      "judge": "j", "conversation_a": chat("Why?", "No."), "conversation_b": chat("Why?", "Because."), "turn": 1,
      "anony": True, "language": "English", "tstamp": 1.0}, PAIR)
shape("lmsys/arena-human-preference-55k", {"id": 1, "model_a": "x", "model_b": "y", "prompt": '["Why?"]', "response_a":
      '["No."]', "response_b": '["Because."]', "winner_model_a": 0, "winner_model_b": 1, "winner_tie": 0}, PAIR)
shape("tatsu-lab/alpaca_farm", {"instruction": "Why?", "input": "", "output_1": "No.", "output_2": "Because.",
      "preference": 2}, PAIR)
shape("jondurbin/truthy-dpo", {"id": "1", "source": "x", "system": "Be kind.", "prompt": "Why?", "chosen": "Because.",
      "rejected": "No."}, f"s:Be kind. | {PAIR}")
shape("openbmb/UltraInteract_pair", {"task": "Coding", "dataset": "x", "trajectory": [{"from": "user", "value":
      "Why?"}], "chosen": "Because.", "rejected": "No.", "id": "1", "parent_id": "0"}, PAIR)
shape("xinlai/Math-Step-DPO-10K", {"dataset": "x", "prompt": "Why?", "initial_reason_steps": "Step 1", "chosen":
      "Because.", "rejected": "No.", "full_chosen": "Step 1 Because.", "full_rejected": "Step 1 No.", "answer": "B"},
      PAIR)
shape("allenai/reward-bench", {"prompt": "Why?", "chosen": "Because.", "chosen_model": "a", "rejected": "No.",
      "rejected_model": "b", "subset": "x", "id": 1}, PAIR)
shape("OpenAI preference file", {"input": {"messages": chat("Why?"), "tools": [], "parallel_tool_calls": True},
      "preferred_output": [{"role": "assistant", "content": "Because."}], "non_preferred_output": [{"role":
      "assistant", "content": "No."}]}, PAIR)
shape("shareAI/DPO-zh-en-emoji", {"question": "为什么？", "answer_zh": "因为🐱。", "answer_en": "Because."}, "?")
shape("CValues comparison", {"prompt": "为什么？", "pos_resp": "因为。", "neg_resp": "不知道。", "pos_type": "x", "neg_type":
      "y"}, "u:为什么？ | +:因为。 | -:不知道。")
shape("liyucheng/zhihu_rlhf_3k", {"prompt": "为什么？", "chosen": "因为。", "rejected": "不知道。"},
      "u:为什么？ | +:因为。 | -:不知道。")
shape("peiyi9979/Math-Shepherd", {"input": "2 + 2? Step 1: 4 ки", "label": "2 + 2? Step 1: 4 +", "task": "GSM8K"}, "!--map")
# ── pictures ──
SEEN = "u:<image>\nWhat? | a:A bus. | img:1"
shape("liuhaotian/LLaVA-Instruct-150K", {"id": "1", "image": PIXEL, "conversations": said("What?\n<image>", "A bus.")},
      "u:What?\n<image> | a:A bus. | img:1")
shape("BUAADreamer/llava-en-zh-2k", {"messages": chat("<image>What?", "A bus."), "images": [PIXEL]},
      "u:<image>What? | a:A bus. | img:1")
shape("HuggingFaceH4/llava-instruct-mix-vsft", {"messages": [{"role": "user", "content": [{"type": "text", "text":
      "What?", "index": None}, {"type": "image", "text": None, "index": 0}]}, {"role": "assistant", "content": [
      {"type": "text", "text": "A bus.", "index": None}]}], "images": [PIXEL]}, "u:What?<image> | a:A bus. | img:1")
shape("HuggingFaceM4/the_cauldron", {"images": [PIXEL], "texts": [{"user": "What?", "assistant": "A bus.", "source":
      "x"}, {"user": "So?", "assistant": "Yes.", "source": "x"}]},
      "u:<image>\nWhat? | a:A bus. | u:So? | a:Yes. | img:1")
shape("lmms-lab/DocVQA", {"questionId": "1", "question": "What?", "question_types": ["layout"], "image": PIXEL, "docId":
      1, "ucsf_document_id": "x", "ucsf_document_page_no": "1", "answers": ["A bus.", "bus"], "data_split": "val"}, SEEN)
shape("HuggingFaceM4/ChartQA", {"image": PIXEL, "query": "What?", "label": ["A bus."], "human_or_machine": 0}, SEEN)
shape("HuggingFaceM4/VQAv2", {"question_type": "what", "multiple_choice_answer": "A bus.", "answers": [{"answer": "bus",
      "answer_confidence": "yes", "answer_id": 1}], "image_id": 1, "answer_type": "other", "question_id": 1,
      "question": "What?", "image": PIXEL}, SEEN)
shape("HuggingFaceM4/A-OKVQA", {"image": PIXEL, "question_id": "1", "question": "What?", "choices": ["car", "bus"],
      "correct_choice_idx": 1, "direct_answers": "['bus']", "difficult_direct_answer": False, "rationales": ["x"]},
      "u:<image>\nWhat?\nA. car\nB. bus | a:B | img:1")
shape("derek-thomas/ScienceQA", [{"image": None, "question": "Which?", "choices": ["x", "y"], "answer": 1, "hint": "",
      "task": "closed choice", "grade": "grade5", "subject": "natural science", "topic": "physics", "category": "c",
      "skill": "s", "lecture": "l", "solution": "So."}], "u:Which?\nA. x\nB. y | a:B")
shape("linxy/LaTeX_OCR", {"image": PIXEL, "text": "x^2"}, "u:<image> | a:x^2 | img:1")
shape("flaviagiammarino/path-vqa", {"image": PIXEL, "question": "What?", "answer": "A bus."}, SEEN)
shape("howard-hou/OCR-VQA", {"image": PIXEL, "image_id": "1", "questions": ["What?", "So?"], "answers": ["A bus.",
      "Yes."], "ocr_tokens": ["a"], "ocr_info": [], "title": "Bus", "authorName": "Ann", "genre": "x", "image_width": 1,
      "image_height": 1, "set_name": "train"}, "u:<image>\nWhat? | a:A bus. | u:So? | a:Yes. | img:1")
shape("HuggingFaceM4/TextCaps", {"ocr_tokens": ["a"], "ocr_info": [], "image": PIXEL, "image_id": "1", "image_classes":
      ["x"], "image_width": 1, "image_height": 1, "flickr_original_url": "u", "reference_strs": ["A bus.", "Bus"],
      "reference_tokens": [["a"]], "reference_imgs": 1, "image_name": "1", "set_name": "train"},
      "u:<image> | a:A bus. | img:1")
shape("nlphuji/flickr30k", {"image": PIXEL, "caption": ["A bus.", "A red bus."], "sentids": ["0"], "split": "train",
      "img_id": "0", "filename": "1.jpg"}, "u:<image> | a:A bus. | img:1")
shape("leonardPKU/clevr_cogen_a_train", {"image": PIXEL, "problem": "What?", "solution": "<answer> 3 </answer>"},
      "u:<image>\nWhat? | a:<answer> 3 </answer> | img:1")
shape("lmms-lab/multimodal-open-r1-8k-verified", {"image": PIXEL, "problem": "What?", "solution": "A bus.",
      "original_question": "w", "original_answer": "b"}, SEEN)
shape("PMC-VQA", {"Figure_path": PIXEL, "Question": "What?", "Answer": "bus", "Choice A": "car", "Choice B": "bus",
      "Choice C": "c", "Choice D": "d", "Answer_label": "B"},
      "u:<image>\nWhat?\nA. car\nB. bus\nC. c\nD. d | a:B | img:1")
# ── plain text ──
TEXT = "text:Rome is the capital…"
shape("HuggingFaceFW/fineweb-edu", {"text": ARTICLE, "id": "<urn:1>", "dump": "CC", "url": "https://x.org",
      "file_path": "s3://x", "language": "en", "language_score": 0.9, "token_count": 9, "score": 3.1, "int_score": 3},
      TEXT)
shape("allenai/c4", {"text": ARTICLE, "timestamp": "2019", "url": "https://x.org"}, TEXT)
shape("tiiuae/falcon-refinedweb", {"content": ARTICLE, "url": "https://x.org", "timestamp": "2019", "dump": "CC",
      "segment": "1", "image_urls": [["https://x.org/1.jpg", ""]]}, TEXT)
shape("togethercomputer/RedPajama-Data-V2", {"raw_content": ARTICLE, "doc_id": "1", "meta": "{}", "quality_signals":
      "{}"}, TEXT)
shape("monology/pile-uncopyrighted", {"text": ARTICLE, "meta": {"pile_set_name": "Pile-CC"}}, TEXT)
shape("wikimedia/wikipedia", {"id": "1", "url": "https://x.org", "title": "Rome", "text": ARTICLE}, TEXT)
shape("pleisto/wikipedia-cn", {"completion": 文章, "source": "wikipedia.zh2307"}, f"text:{文章}")
shape("BAAI/CCI3-HQ", {"id": "1", "text": 文章, "score": 3.5}, f"text:{文章}")
shape("HuggingFaceTB/cosmopedia", {"prompt": "Write about Rome.", "text_token_length": 9, "text": ARTICLE, "seed_data":
      "web", "format": "blog", "audience": "general"}, f"?u:Write about Rome. | a:{ARTICLE}")
shape("Salesforce/wikitext", [{"text": ""}, {"text": " = Rome = \n"}, {"text": ARTICLE}], "text: = Rome = \n")
shape("fancyzhang/ag_news", [{"text": f"Stocks fell {n}.", "label": n % 4} for n in range(9)],
      "?u:Stocks fell 0. | a:0")
shape("a text with a date and a city", {"text": ARTICLE, "city": "Rome", "sentiment": "glad"}, "?")
# fmt: on
