"""Questions, reading, exams, code, databases, tools; see `known_shapes.py`."""

# ruff: noqa: E501  # Chinese counts twice

from __future__ import annotations

import json

from known_shapes import ARTICLE, QA, THOUGHT, shape, 文章
from real_sets import WEATHER, chat

# fmt: off
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
shape("super_glue COPA", {"premise": "It rained.", "choice1": "wet", "choice2": "dry", "question": "effect", "idx": 0,
      "label": 0}, "u:It rained.\neffect\n1. wet\n2. dry | a:1")
shape("intents", {"intent": "greet", "utterances": ["hi", "hello"], "response": "Hello!"}, "?")
shape("MT-Bench", {"question_id": 1, "category": "math", "turns": ["Why?", "So?"], "reference": ["Because.", "Yes."]},
      "u:Why? | a:Because. | u:So? | a:Yes.")
shape("MT-Bench without answers", {"question_id": 1, "category": "math", "turns": ["Why?", "So?"]}, "!--map")
shape("lmsys/toxic-chat", {"conv_id": "1", "user_input": "Why?", "model_output": "Because.", "human_annotation": True,
      "toxicity": 0, "jailbreaking": 0, "openai_moderation": "[]"}, QA)
shape("PrimeIntellect/SYNTHETIC-1", {"response_id": "r", "problem_id": "p", "task_type": "x", "score": 1.0, "prompt":
      "Why?", "llm_response": "Because.", "metadata": "{}"}, QA)
shape("cognitivecomputations/dolphin-r1", {"messages": chat("Why?"), "reasoning": "Hm.", "answer": "Because.",
      "model": "R1"}, THOUGHT)
shape("THUDM/LongBench", {"input": "Why?", "context": "It rains.", "answers": ["Because."], "length": 3, "dataset":
      "qasper", "language": "en", "all_classes": None, "_id": "1"}, "u:Why?\nIt rains. | a:Because.")
shape("BGE pairs", {"query": "Why?", "pos": ["Because."], "neg": ["No."]}, "!--map")
shape("google/IFEval", {"key": 1, "prompt": "Why?", "instruction_id_list": ["x"], "kwargs": [{}]}, "!--map")
shape("microsoft/wiki_qa", [{"question_id": "Q1", "question": f"why {n}", "document_title": "Rome", "answer":
      f"Because {n}.", "label": n % 2} for n in range(4)], "?u:why 0 | a:Because 0. =bad")
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
shape("ARC as first given out", {"id": "1", "question": {"stem": "Which?", "choices": [{"label": "A", "text": "x"}, {"label":
      "B", "text": "y"}]}, "answerKey": "B"}, "u:Which?\nA. x\nB. y | a:B")
shape("choices as objects", {"question": "Which?", "choices": [{"label": "A", "text": "x"}, {"label": "B", "text": "y"}],
      "answerKey": "B"}, "u:Which?\nA. x\nB. y | a:B")
shape("deepmind/narrativeqa", {"document": {"id": "1", "text": "Long."}, "question": {"text": "Why?", "tokens": ["Why"]},
      "answers": [{"text": "Because.", "tokens": ["Because"]}, {"text": "So.", "tokens": ["So"]}]}, QA)
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
      "message_2": "Because."}, f"?{QA}")
shape("NousResearch/CharacterCodex", [{"media_type": "Webcomics", "genre": "Fantasy", "media_source": "Tower",
      "character_name": f"Alice {n}", "description": f"Alice {n} is a woman of many talents.", "scenario":
      f"You stand {n} at the entrance of a place."} for n in range(12)], "?")
shape("proj-persona/PersonaHub", [{"input persona": f"A man of {n} years", "synthesized text":
      f"{n} years ago a man of many talents lived in Rome.", "description": "math problem"} for n in range(12)],
      "?u:A man of 0 years | a:0 years ago a man of many talents lived in Rome.")
TOLD = "u:Rome is in Italy.\nWhere? | a:Italy | u:What? | a:Rome"
READ = "u:Where?\nRome is in Italy. | a:Italy"
shape("mrqa-workshop/mrqa lines", [{"header": {"dataset": "SQuAD", "split": "dev"}}, *[{"id": "", "context":
      "Rome is in Italy.", "qas": [{"qid": "1", "question": "Where?", "answers": ["Italy", "in Italy"]}, {"qid": "2",
      "question": "What?", "answers": ["Rome"]}], "context_tokens": [["Rome", 0]]}] * 2], READ)
shape("SQuAD lines", {"title": "Rome", "paragraphs": [{"context": "Rome is in Italy.", "qas": [{"id": "1", "question":
      "Where?", "answers": [{"text": "Italy", "answer_start": 11}], "is_impossible": False}, {"id": "2", "question":
      "Why?", "answers": [], "is_impossible": True}]}]}, READ)
shape("ucinlp/drop", {"section_id": "1", "query_id": "2", "passage": "Rome is in Italy.", "question": "Where?",
      "answers_spans": {"spans": ["Italy", "in Italy"], "types": ["span", "span"]}}, READ)
shape("stanfordnlp/coqa", {"source": "x", "story": "Rome is in Italy.", "questions": ["Where?", "What?"], "answers": {
      "input_text": ["Italy", "Rome"], "answer_start": [11, 0], "answer_end": [16, 4]}}, TOLD)
shape("allenai/quac", {"dialogue_id": "1", "context": "Rome is in Italy.", "questions": ["Where?", "What?"], "answers": {
      "texts": [["Italy"], ["Rome"]], "answer_starts": [[11], [0]]}}, TOLD)
shape("PsyQA", {"question": "Why?", "description": "三天了", "questionID": 1, "answers": [{"answer_text": "Because.",
      "has_label": False}]}, QA)
shape("rows as text in a column", [{"id": n, "data": json.dumps({"question": f"Why {n}?", "answer": f"Because {n}."})}
      for n in range(3)], "u:Why 0? | a:Because 0.")
shape("NaturalConv", {"dialog_id": "1", "document_id": 1, "content": ["Why?", "Because.", "So?", "Yes."]},
      "u:Why? | a:Because. | u:So? | a:Yes.")
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
shape("FreedomIntelligence/medical-o1-reasoning-SFT", {"Question": "Why?", "Complex_CoT": "Hm.", "Response":
      "Because."}, THOUGHT)
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
shape("Skywork/Skywork-OR1-RL-Data", {"data_source": "x", "prompt": chat("2 + 2?"), "ability": "math", "reward_model": {
      "ground_truth": '["4"]', "style": "rule"}, "extra_info": {"index": 0}}, "u:2 + 2? | a:4")
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
HERMES = [{"from": "system", "value": "You call functions. Here are they: <tools> " + json.dumps(TOOLS) + " </tools> For each "
      "call return JSON in <tool_call>.\n<tool_call>\n{}\n</tool_call>"}, {"from": "human", "value": "Weather?"}, {"from":
      "gpt", "value": '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'}]
CALLING = f"s:You call functions. Here are they: | u:Weather? | a:→{CALL} | tools:weather"
shape("NousResearch/hermes-function-calling-v1", {"id": "1", "conversations": HERMES, "tools": json.dumps(TOOLS),
      "category": "c", "subcategory": "s", "task": "t"}, CALLING)
shape("tools in the system message alone", {"conversations": HERMES}, CALLING)
shape("glaiveai/glaive-function-calling-v2", {"system": "SYSTEM: Use these functions if required -\n" + json.dumps(WEATHER,
      indent=4) + "\n", "chat": "USER: Weather?\n\n\nASSISTANT: <functioncall> {\"name\": \"weather\", \"arguments\": "
      "'{\"city\": \"Rome\"}'} <|endoftext|>\n\n\nFUNCTION RESPONSE: 3\n\n\nASSISTANT: 3 <|endoftext|>\n\n\n"},
      f"s:Use these functions if required - | u:Weather? | a:→{CALL} | t:3 | a:3 | tools:weather")
shape("smolagents traces", {"messages": [{"role": "user", "content": [{"type": "text", "text": "Weather?"}]}, {"role":
      "tool-call", "content": [{"type": "text", "text": "Calling tools:\n[{'id': 'c1', 'type': 'function', 'function': "
      "{'name': 'weather', 'arguments': {'city': 'Rome'}}}]"}]}, {"role": "tool-response", "content": [{"type": "text",
      "text": "3"}]}, {"role": "assistant", "content": "3 degrees."}]}, f"u:Weather? | a:→{CALL} | t:3 | a:3 degrees.")
shape("Gemini's calls", {"contents": [{"role": "user", "parts": [{"text": "Weather?"}]}, {"role": "model", "parts": [
      {"functionCall": {"name": "weather", "args": {"city": "Rome"}}}]}, {"role": "user", "parts": [{"functionResponse":
      {"name": "weather", "response": {"t": 3}}}]}, {"role": "model", "parts": [{"text": "3."}]}], "tools": [
      {"functionDeclarations": [WEATHER]}]}, f'u:Weather? | a:→{CALL} | t:{{"t": 3}} | a:3. | tools:weather')
shape("an answer like the tool's", {"messages": [*chat("Weather?"), {"role": "assistant", "tool_calls": [{"id": "c",
      "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}]}, {"role": "tool", "content": "3"},
      {"role": "assistant", "content": "3"}], "tools": TOOLS}, f"u:Weather? | a:→{CALL} | t:3 | a:3 | tools:weather")
shape("Llama's python tag", {"messages": [*chat("Weather?"), {"role": "assistant", "content": '<|python_tag|>{"name": "weather", '
      '"parameters": {"city": "Rome"}}'}, {"role": "ipython", "content": "3"}, {"role": "assistant", "content": "3 degrees."}]},
      f"u:Weather? | a:→{CALL} | t:3 | a:3 degrees.")
shape("2WikiMultihop", {"_id": "1", "question": "Where?", "context": [["A", ["Rome is.", " In Italy."]], ["B", ["So."]]],
      "supporting_facts": [["A", 0]], "answer": "Italy"}, "u:Where?\nA\nRome is. In Italy.\nB\nSo. | a:Italy")
shape("microsoft/ms_marco", {"answers": ["Italy"], "passages": {"is_selected": [1, 0], "passage_text": ["Rome is in Italy.", "So."],
      "url": ["u", "v"]}, "query": "Where?", "query_id": 1, "query_type": "LOCATION"}, "u:Where?\nRome is in Italy.\nSo. | a:Italy")
shape("MuSiQue", {"id": "1", "paragraphs": [{"idx": 0, "title": "A", "paragraph_text": "Rome is in Italy.", "is_supporting": True},
      {"idx": 1, "title": "B", "paragraph_text": "So."}], "question": "Where?", "answer": "Italy", "answer_aliases": []},
      "u:Where?\nA\nRome is in Italy.\nB\nSo. | a:Italy")
shape("RAGAS", {"user_input": "Why?", "retrieved_contexts": ["One.", "Two."], "response": "Because."}, "u:Why?\nOne.\nTwo. | a:Because.")
shape("DuReader", {"documents": [{"is_selected": True, "title": "北京", "paragraphs": ["北京是首都。"]}], "answers": ["北京"], "question":
      "首都？", "question_id": 1}, "u:首都？\n北京\n北京是首都。 | a:北京")
shape("solutions not worked out", {"problem": "2 + 2?", "answer": "4", "solution": ""}, "u:2 + 2? | a:4")
shape("GAIR/LIMO", {"question": "2 + 2?", "solution": "It is four.", "answer": "4"}, "u:2 + 2? | a:It is four.")
shape("newfacade/LeetCodeDataset", {"task_id": "x", "prompt": "import", "completion": "class S", "response": "```S```", "query":
      "Write code."}, "u:import | a:class S")
shape("CounselChat", {"questionID": 1, "questionTitle": "Sad?", "questionText": "I am sad.", "questionLink": "u", "topic": "x",
      "answerText": "Rest."}, "u:I am sad. | a:Rest.")
shape("support tickets", {"subject": "Quote", "body": "How much?", "answer": "Three.", "type": "x", "queue": "y", "priority": "low"},
      "u:Quote\nHow much? | a:Three.")
shape("TAT-QA", {"table": {"uid": "1", "table": [["a"], ["1"]]}, "paragraphs": [{"uid": "p", "order": 1, "text": "Rome is."}],
      "questions": [{"uid": "q", "order": 1, "question": "How many?", "answer": ["2"]}]}, "u:How many?\nRome is. | a:2")
shape("FinQA", {"pre_text": ["a"], "post_text": ["b"], "table": [["x"]], "qa": {"question": "How many?", "answer": "2"}, "id": "x"},
      "u:How many? | a:2")
shape("Elasticsearch", {"_index": "faq", "_id": "1", "_source": {"question": "Why?", "answer": "Because."}}, QA)
shape("intents of a bot", {"tag": "hi", "patterns": ["Hi", "Hey", "Ho"], "responses": ["Hello!", "Good day!"]}, "u:Hi | a:Hello!")
# fmt: on
