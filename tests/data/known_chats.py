"""Instructions and chats, English and Chinese; see `known_shapes.py`."""

# ruff: noqa: E501  # Chinese counts twice

from __future__ import annotations

import json

from known_shapes import QA, THOUGHT, shape, 文章
from real_sets import WEATHER, chat, said

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
      {"input": "rain", "output": "Because."}], "is_classification": False}, "u:Say why.\nrain | a:Because.")
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
shape("Bedrock tuning file", {"schemaVersion": "bedrock-conversation-2024", "system": [{"text": "Be kind."}], "messages": [
      {"role": "user", "content": [{"text": "Why?"}]}, {"role": "assistant", "content": [{"text": "Because."}]}]},
      "s:Be kind. | u:Why? | a:Because.")
shape("LangChain", {"messages": [{"type": "human", "content": "Why?"}, {"type": "ai", "content": "Because."}]}, QA)
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
shape("DeepSeek export", {"id": "1", "title": "x", "mapping": {
      "root": {"id": "root", "parent": None, "children": ["1"], "message": None},
      "1": {"id": "1", "parent": "root", "children": ["2"], "message": {"fragments": [{"type": "REQUEST", "content":
            "Why?"}]}},
      "2": {"id": "2", "parent": "1", "children": [], "message": {"fragments": [{"type": "THINK", "content": "Hm."},
            {"type": "RESPONSE", "content": "Because."}]}}}}, QA)
shape("Open WebUI export", {"id": "1", "title": "x", "chat": {"title": "x", "models": ["m"], "messages":
      chat("Why?", "Because.")}}, QA)
shape("a list of turns under any name", {"id": "1", "items": said("Why?", "Because.")}, QA)
shape("turns in Chinese words", {"对话": [{"角色": "用户", "内容": "Why?"}, {"角色": "助手", "内容": "Because."}]}, QA)
shape("turns as rows", [*chat("Why?", "Because."), *chat("So?", "Yes.")], "u:Why? | a:Because. | u:So? | a:Yes.")
shape("turns as rows with system turns", [{"role": "system", "content": "Be kind."}, *chat("Why?", "Because."),
      {"role": "system", "content": "Be kind."}, *chat("So?", "Yes.")], "s:Be kind. | u:Why? | a:Because.")
shape("SmileChat", [{"role": ("client", "counselor")[n % 2], "content": text} for n, text in enumerate(
      ["难过", "抱抱", "谢谢", "不客气"])], "u:难过 | a:抱抱 | u:谢谢 | a:不客气")
# ── what programs write down ──
ASKED, SAID = {"model": "m", "messages": chat("Why?")}, {"role": "assistant", "content": "Because."}
REPLY = {"id": "c", "object": "chat.completion", "choices": [{"index": 0, "message": SAID, "finish_reason": "stop"}]}
CALLED = [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}]
shape("request and response", {"request": ASKED, "response": REPLY}, QA)
shape("request and response as text", {"request": json.dumps(ASKED), "response": json.dumps(REPLY)}, QA)
shape("request and response with tools", {"request": {**ASKED, "tools": [{"type": "function", "function": WEATHER}]},
      "response": {"choices": [{"message": {"role": "assistant", "content": None, "tool_calls": CALLED}}]}},
      'u:Why? | a:→weather{"city": "Rome"} | tools:weather')
shape("request and response of a proxy", {"timestamp": "t", "request": {"method": "POST", "url": "/v1", "body": ASKED},
      "response": {"status_code": 200, "body": REPLY}}, QA)
shape("a failed request among others", [{"request": ASKED, "response": REPLY}, {"request": ASKED, "response": {"error":
      {"message": "too many"}}}, {"request": ASKED, "response": None}], QA)
shape("OpenAI batch with its input", {"custom_id": "1", "method": "POST", "body": ASKED, "response": {"body": REPLY}}, QA)
shape("OpenAI batch output", {"id": "b", "custom_id": "1", "response": {"status_code": 200, "request_id": "q", "body":
      REPLY}, "error": None}, "!what was asked stands nowhere")
shape("OpenAI batch input", {"custom_id": "1", "method": "POST", "url": "/v1", "body": ASKED}, "!not the assistant's")
shape("OpenAI stored completions", {"object": "chat.completion", "model": "m", "input": chat("Why?"), "choices":
      REPLY["choices"], "metadata": {}}, QA)
shape("OpenAI responses", {"request": {"model": "m", "instructions": "Be kind.", "input": "Why?"}, "response": {"output":
      [{"type": "reasoning", "summary": []}, {"type": "message", "role": "assistant", "content": [{"type":
      "output_text", "text": "Because."}]}]}}, "s:Be kind. | u:Why? | a:Because.")
shape("Anthropic log", {"request": {"model": "m", "system": "Be kind.", "messages": chat("Why?")}, "response": {"type":
      "message", "role": "assistant", "content": [{"type": "text", "text": "Because."}]}},
      "s:Be kind. | u:Why? | a:Because.")
shape("Ollama log", {"request": ASKED, "response": {"model": "m", "message": SAID, "done": True}}, QA)
shape("Langfuse", {"id": "1", "name": "t", "input": {"messages": chat("Why?")}, "output": SAID, "metadata": {}}, QA)
shape("Langfuse as text", {"id": "1", "input": json.dumps(chat("Why?")), "output": json.dumps(SAID)}, QA)
shape("LangSmith", {"inputs": {"question": "Why?"}, "outputs": {"answer": "Because."}, "metadata": {}}, QA)
shape("LangSmith's traces", {"inputs": {"messages": [[{"lc": 1, "type": "constructor", "id": ["langchain", "schema",
      "messages", "HumanMessage"], "kwargs": {"content": "Why?"}}]]}, "outputs": {"generations": [[{"text": "Because.",
      "message": {"lc": 1, "type": "constructor", "id": ["AIMessage"], "kwargs": {"content": "Because."}}}]]}}, QA)
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
      "reasoning_content_tokens_len": 4, "score": 10}, "u:为什么？ | a:<think>\n我想想\n</think>\n\n因为如此。")
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
# ── as training programs write them down ──
shape("DeepSeek's thoughts", {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content":
      "Because.", "reasoning_content": "Hm."}]}, "u:Why? | a:<think>\nHm.\n</think>\n\nBecause.")
shape("thinking in messages", {"reasoning_language": "French", "developer": "d", "user": "Why?", "analysis": "Hm.", "final":
      "Because.", "messages": [{"role": "user", "content": "Why?", "thinking": None}, {"role": "assistant", "content":
      "Because.", "thinking": "Hm."}]}, THOUGHT)
shape("Anthropic's thoughts", {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": [
      {"type": "thinking", "thinking": "Hm.", "signature": "s"}, {"type": "text", "text": "Because."}]}]}, THOUGHT)
shape("thoughts beside messages", {"messages": chat("Why?", "Because."), "reasoning_content": "Hm.", "model": "R1"}, THOUGHT)
shape("thoughts in a column", {"instruction": "Why?", "input": "", "thinking": "Hm.", "output": "Because."}, THOUGHT)
shape("no thoughts in a column", {"prompt": "Why?", "response": "Because.", "reasoning": "off"}, QA)
shape("XTuner", {"conversation": [{"system": "Be kind.", "input": "Why?", "output": "Because."}]},
      "s:Be kind. | u:Why? | a:Because.")
shape("LAION OIG", {"text": "<human>: Why?\n<bot>: Because."}, QA)
shape("Llama 3 written out", {"text": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|>"
      "<|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
      "Because.<|eot_id|>"}, "s:Be kind. | u:Why? | a:Because.")
shape("Gemma written out", {"text": "<bos><start_of_turn>user\nWhy?<end_of_turn>\n<start_of_turn>model\nBecause."
      "<end_of_turn>\n"}, QA)
shape("Zephyr written out", {"text": "<|system|>\n</s>\n<|user|>\nWhy?</s>\n<|assistant|>\nBecause.</s>\n"}, QA)
shape("Phi written out", {"prompt": "<|user|>\nWhy?<|end|>\n<|assistant|>\nBecause.<|end|>"}, QA)
shape("ChatGLM", {"prompt": "So?", "response": "Yes.", "history": [["Why?", "Because."]]},
      "u:Why? | a:Because. | u:So? | a:Yes.")
shape("videos", {"messages": chat("<video>Why?", "Because."), "videos": ["a/1.mp4"]}, "!a video or a sound")
shape("some videos", [{"messages": chat("<video>Why?", "Because."), "videos": ["a/1.mp4"]},
      {"messages": chat("Why?", "Because."), "videos": []}], QA)
shape("speech", {"audio": {"path": "a.wav", "bytes": None}, "sentence": "Because."}, "!a video or a sound")
HEARD = "u:Why? | a:<think>\nHm.\n</think>\n\nBecause."
shape("Harmony's channels", {"messages": [{"role": "system", "content": "Be kind."}, {"role": "developer", "content": "Be brief."},
      {"role": "user", "content": "Why?"}, {"role": "assistant", "channel": "analysis", "content": "Hm."},
      {"role": "assistant", "channel": "final", "content": "Because."}]}, f"s:Be kind.\n\nBe brief. | {HEARD}")
shape("Harmony's words beforehand", {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "channel": "commentary",
      "content": "I look."}, {"role": "assistant", "channel": "final", "content": "Because."}]}, "u:Why? | a:I look.\n\nBecause.")
shape("Harmony's calls", {"messages": [{"role": "user", "content": "Weather?"}, {"role": "assistant", "channel": "commentary",
      "recipient": "functions.weather", "content": '{"city": "Rome"}'}, {"role": "tool", "name": "functions.weather", "content":
      "3"}, {"role": "assistant", "channel": "final", "content": "3 degrees."}]},
      'u:Weather? | a:→weather{"city": "Rome"} | t:3 | a:3 degrees.')
shape("Harmony written out", {"text": "<|start|>system<|message|>Be kind.<|end|><|start|>user<|message|>Why?<|end|><|start|>assistant"
      "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Because.<|return|>"},
      f"s:Be kind. | {HEARD}")
shape("Harmony's calls written out", {"text": "<|start|>user<|message|>Weather?<|end|><|start|>assistant<|channel|>commentary "
      'to=functions.weather <|constrain|>json<|message|>{"city": "Rome"}<|call|><|start|>functions.weather to=assistant<|channel|>'
      "commentary<|message|>3<|end|><|start|>assistant<|channel|>final<|message|>3 degrees.<|return|>"},
      'u:Weather? | a:→weather{"city": "Rome"} | t:3 | a:3 degrees.')
shape("DeepSeek written out", {"text": "<｜begin▁of▁sentence｜>Be kind.<｜User｜>Why?<｜Assistant｜>Because.<｜end▁of▁sentence｜>"},
      f"s:Be kind. | {QA}")
shape("Vicuna written out", {"text": "A chat. USER: Why? ASSISTANT: Because.</s>USER: So? ASSISTANT: Yes.</s>"},
      f"s:A chat. | {QA} | u:So? | a:Yes.")
shape("RefGPT", {"reference": 文章, "dialogue": "<user>:Why?<assistant>:Because.<user> So?\n<assistant> Yes."},
      f"{QA} | u:So? | a:Yes.")
shape("turns by columns", {"id": 1, "conversations": {"from": ["human", "gpt"], "value": ["Why?", "Because."]}}, QA)
shape("MultiWOZ", {"dialogue_id": "1", "services": ["hotel"], "turns": [{"turn_id": "0", "speaker": "USER", "utterance": "Why?",
      "frames": []}, {"turn_id": "1", "speaker": "SYSTEM", "utterance": "Because.", "frames": []}]}, QA)
shape("CSDS", {"DialogueID": 1, "Dialogue": [{"speaker": "Q", "utterance": "Why?", "turn": 0}, {"speaker": "A", "utterance":
      "Because.", "turn": 1}], "FinalSumm": ["x"]}, QA)
shape("CMB-Clin", {"id": "1", "title": "案例", "description": "头疼", "QA_pairs": [{"question": "为什么？", "answer": "因为。"}, {"question":
      "怎么办？", "answer": "休息。"}]}, "u:案例\n为什么？ | a:因为。 | u:怎么办？ | a:休息。")
shape("OpenAI evals", {"input": chat("Why?"), "ideal": "Because."}, QA)
shape("RoleBench", {"role": "孙悟空", "question": "Why?", "generated": ["Because."], "type": "general"}, QA)
shape("CNewSum", {"id": 1, "article": ["北京是首都。", "有许多建筑。"], "summary": "北京", "label": [0]}, "u:北京是首都。\n有许多建筑。 | a:北京")
# fmt: on
