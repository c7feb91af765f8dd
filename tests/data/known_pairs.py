"""Preferences, pictures and plain text; see `known_shapes.py`."""

# ruff: noqa: E501  # Chinese counts twice

from __future__ import annotations

import json

from known_shapes import ARTICLE, PIXEL, QA, shape, 文章
from real_sets import chat, said

# fmt: off
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
shape("HuggingFaceH4/stack-exchange-preferences", {"qid": 1, "question": "Why?", "answers": [{"answer_id": 1, "author":
      "a", "pm_score": 1, "selected": False, "text": "No."}, {"answer_id": 2, "author": "b", "pm_score": 5, "selected":
      True, "text": "Because."}], "date": "2020", "metadata": ["x"]}, PAIR)
shape("ms-swift DPO", {"messages": chat("Why?", "Because."), "rejected_messages": chat("Why?", "No.")}, PAIR)
shape("ms-swift DPO in short", {"messages": chat("Why?", "Because."), "rejected_response": "No."}, PAIR)
shape("ms-swift KTO", [{"messages": chat(f"Why {n}?", f"Because {n}."), "label": n % 2 == 0} for n in range(4)],
      "u:Why 0? | a:Because 0. =good")
shape("nvidia/HelpSteer3 edit", {"domain": "x", "language": "english", "context": chat("Why?"), "original_response":
      "No.", "edited_response": "Because.", "change_summary": "y", "feedback": ["z"]}, PAIR)
shape("ministere-culture/comparia-votes", {"model_a_name": "x", "model_b_name": "y", "conversation_a": chat("Why?",
      "No."), "conversation_b": chat("Why?", "Because."), "chosen_model_name": "y", "both_equal": False}, PAIR)
shape("chosen and reject", {"prompt": "Why?", "chosen": "Because.", "reject": "No."}, PAIR)
shape("response_w and response_l", {"prompt": "Why?", "response_w": "Because.", "response_l": "No."}, PAIR)
shape("winner and loser", {"prompt": "Why?", "winner": "Because.", "loser": "No."}, PAIR)
shape("openbmb/RLHF-V-Dataset", {"idx": 0, "ds_name": "x", "image": PIXEL, "text": json.dumps({"question": "Why?",
      "chosen": "Because.", "rejected": "No."}), "origin_dataset": "y"}, "u:<image>\nWhy? | +:Because. | -:No. | img:1")
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
shape("Qwen-VL", {"id": "1", "conversations": [{"from": "user", "value": f"Picture 1: <img>{PIXEL}</img>\nWhat?"},
      {"from": "assistant", "value": "A <ref>bus</ref><box>(1,2),(3,4)</box>."}]},
      "u:Picture 1: <image>\nWhat? | a:A <ref>bus</ref><box>(1,2),(3,4)</box>. | img:1")
shape("Qwen-VL with two pictures", {"conversations": [{"from": "user", "value": f"Picture 1: <img>{PIXEL}</img>\n"
      f"Picture 2: <img>{PIXEL}</img>\nWhich?"}, {"from": "assistant", "value": "Both."}]},
      "u:Picture 1: <image>\nPicture 2: <image>\nWhich? | a:Both. | img:2")
shape("Qwen-VL behind texts", [{"conversations": said("Why?", "Because.")}, {"conversations": said(
      f"<img>{PIXEL}</img>So?", "Yes.")}], QA)
shape("a page's images", {"conversations": said("What is <img>?", "A tag: <img src='a.jpg'></img>")},
      "u:What is <img>? | a:A tag: <img src='a.jpg'></img>")
shape("ms-swift of old", {"query": f"<img>{PIXEL}</img>What?", "response": "A bus."}, "u:<image>What? | a:A bus. | img:1")
shape("OpenGVLab/InternVL lists", {"id": 1, "image": [PIXEL, PIXEL], "width_list": [1, 1], "height_list": [1, 1],
      "conversations": said("Image-1: <image>\nImage-2: <image>\nWhich?", "Both.")},
      "u:Image-1: <image>\nImage-2: <image>\nWhich? | a:Both. | img:2")
shape("MiniCPM-V", {"id": "0", "image": {"<image_00>": PIXEL, "<image_01>": PIXEL}, "conversations":
      chat("Which?\n<image_00>\n<image_01>", "Both.")}, "u:Which?\n<image>\n<image> | a:Both. | img:2")
shape("MMMU/MMMU", {"id": "1", "question": "<image 1> What?", "options": "['car', 'bus']", "explanation": "", "image_1":
      PIXEL, "image_2": None, "answer": "B", "question_type": "multiple-choice", "subfield": "x"},
      "u:<image> What?\nA. car\nB. bus | a:B | img:1")
shape("MMBench", {"index": 1, "question": "What?", "hint": "", "A": "car", "B": "bus", "answer": "B", "image":
      PIXEL.partition(",")[2]}, "u:<image>\nWhat?\nA. car\nB. bus | a:B | img:1")
shape("ms-swift boxes", {"messages": chat("<image>Where is <ref-object>?", "<bbox> and <bbox>"), "images": [PIXEL], "objects":
      {"ref": ["the bus"], "bbox": [[1, 2, 3, 4], [5, 6, 7, 8]]}},
      "u:<image>Where is the bus? | a:[1, 2, 3, 4] and [5, 6, 7, 8] | img:1")
shape("pages and their text", {"image": PIXEL, "markdown": "# A page\nwith text"}, "?u:<image> | a:# A page\nwith text | img:1")
shape("several captions", {"image": PIXEL, "captions": ["A bus.", "A red bus."]}, "u:<image> | a:A bus. | img:1")
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
shape("llm-blender/Unified-Feedback", {"conv_A": chat("Why?", "No."), "conv_B": chat("Why?", "Because."), "conv_A_rating": 2.0,
      "conv_B_rating": 4.0, "source": "x"}, PAIR)
shape("princeton-nlp/llama3-ultrafeedback", {"prompt_id": "1", "prompt": "Why?", "all_generated_responses": ["Eh.", "Because.",
      "No."], "all_rm_scores": [2.0, 3.0, 1.0]}, PAIR)
shape("PKU-Alignment/align-anything", {"question": "Why?", "response_1": "Because.", "response_2": "No.", "overall_response": 1}, PAIR)
for good, bad in (("desirable", "undesirable"), ("chosen", "rejected"), ("好评", "差评"), ("点赞", "点踩")):
    shape(f"KTO with {good}", [{"prompt": f"Why {n}?", "completion": f"Because {n}.", "label": (bad, good)[n % 2]} for n in range(6)],
          "?u:Why 0? | a:Because 0. =bad")
shape("MMInstruction/M3IT", {"instruction": "What?", "inputs": "", "image_base64_str": [PIXEL.partition(",")[2]], "outputs": "A bus."},
      SEEN)
shape("stars of a review", [{"text": f"Food {n}.", "stars": n % 5 + 1} for n in range(8)], "?u:Food 0. | a:1")
shape("a book by chapters", {"title": "Rome", "chapters": ["One.", "Two."]}, "text:Rome\nOne.\nTwo.")
# fmt: on
