"""The words people use: column headers, turn roles and labels, in Chinese and English, and what they mean here."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping

# Our word -> the headers that mean it, the surest first. A column that could be two things goes to the first of them.
FIELDS: dict[str, tuple[str, ...]] = {
    "turns": (
        "messages", "conversations", "conversation", "dialogue", "dialog", "turns", "chat", "dialogs", "对话",
        "多轮对话", "对话内容", "聊天记录", "chat_rounds", "chat_messages", "contents", "utterances", "trajectory",
        "qa_pairs", "问答对", "对话记录", "沟通记录", "通话记录", "聊天内容",
    ),
    "tools": ("tools", "functions", "function_description", "available_tools", "工具"),
    "chosen": (
        "chosen", "preferred", "better", "good_answer", "response_chosen", "好回答", "好的回答", "优选", "优选回答",
        "更好的回答", "采纳", "选中", "chosen_response", "pos_resp", "chosen_answer", "accepted", "正例", "优质回答",
    ),
    "rejected": (
        "rejected", "dispreferred", "worse", "bad_answer", "response_rejected", "差回答", "差的回答", "坏回答", "拒绝",
        "更差的回答", "未采纳", "拒绝回答", "rejected_response", "rejected_messages", "neg_resp",
        "rejected_answer", "bad_response", "负例", "劣质回答",
    ),
    "label": ("kto_tag", "label", "is_safe", "thumbs_up", "标签", "是否好", "好坏", "评价", "是否满意"),
    "images": (
        "images", "image", "image_path", "image_paths", "image_file", "image_url", "figure_path", "img", "img_path",
        "picture", "pictures", "image_base64_str", "image_base64", "图片", "图像",
        "图片路径", "图片地址", "照片", "file_name",
    ),
    "system": (
        "system", "system_prompt", "system_message", "meta_instruction", "系统", "系统提示", "系统提示词", "人设",
    ),
    "history": ("history", "历史", "历史对话"),
    "thought": (
        "reasoning_content", "thinking", "think", "thought", "thoughts", "complex_cot", "cot", "chain_of_thought",
        "reasoning", "reasoning_process", "thinking_process", "thinking_content", "reasoning_trace",
        "deepseek_reasoning", "思考", "思考过程", "思维链", "推理过程",
    ),
    "question": (
        "question", "instruction", "prompt", "query", "ask", "user", "user_input", "问题", "提问", "问", "指令",
        "用户问题", "用户",
        "题目", "题目内容", "试题内容", "标准问题", "标准问", "提示", "提示词", "q", "questions", "problem", "患者提问",
        "咨询内容", "问题描述",
        "problem_statement", "human", "input", "输入", "inputs_pretokenized", "inputs", "sql_prompt", "题干", "试题",
        "original_text", "input_text", "human_input", "user_message", "提问内容", "标题", "title", "subject",
    ),
    "answer": (
        "multiple_choice_answer", "answer", "output", "ideal", "completion", "response", "generated_solution", "reply",
        "answers", "outputs", "generated", "assistant", "答案", "回答", "答", "回复", "答复", "标准答案", "参考答案",
        "输出", "响应", "解答",
        "客服回复", "a", "target", "solution", "gpt", "bot",
        "医生回复", "医生回答", "回答内容", "解决方案", "解决办法", "解决方法", "处理结果", "处理方案", "处理意见",
        "targets_pretokenized", "targets", "canonical_solution", "gold_standard_solution", "sql", "patch",
        "reference_strs", "caption", "描述", "内容", "正文", "content", "best_answer", "correct_answer", "code", "ans",
        "model_output", "generated_text", "expected_output", "output_text", "ground_truth", "机器人回复", "模型回答",
        "captions", "助手",
    ),
    "input": (
        "input", "context", "passage", "article", "sql_context", "evidence", "desc", "body", "selftext", "passages",
        "contexts", "retrieved_contexts", "documents", "paragraphs", "输入", "材料", "阅读材料", "补充",
        "背景", "上下文",
    ),
    "text": (
        "text", "文本", "正文", "内容", "content", "document", "plain_text", "sentence", "review", "句子", "评论",
        "留言", "raw_content", "sample", "transcript",
    ),
}  # fmt: skip

# What `--map` may name besides our own words.
ALIASES = {
    "instruction": "question", "prompt": "question", "query": "question", "output": "answer", "response": "answer",
    "completion": "answer", "messages": "turns", "conversations": "turns", "问题": "question", "答案": "answer",
    "回答": "answer", "image": "images", "图片": "images", "文本": "text", "对话": "turns", "标签": "label",
    "系统": "system", "输入": "input", "context": "input",
}  # fmt: skip

# A better answer and a worse one, by names that say it only where both are there.
_SIDES = (
    ("chosen", "reject"), ("winner", "loser"), ("win", "lose"), ("response_w", "response_l"), ("y_w", "y_l"),
    ("优质答案", "劣质答案"), ("优质回复", "劣质回复"), ("好答案", "差答案"), ("好的答案", "差的答案"),
    ("更优回答", "较差回答"), ("较好回答", "较差回答"), ("较优回答", "较差回答"), ("更好的答案", "更差的答案"),
    ("edited_response", "original_response"), ("revised_response", "original_response"),
)  # fmt: skip

# Longer headers are recognised by what they contain ("客户问题描述"), unless they only tell about it ("问题编号").
_CONTAINED = {
    "question": ("问题", "提问", "question", "query", "instruction", "prompt"),
    "answer": ("答案", "回答", "回复", "答复", "answer", "reply", "response"),
}
_ABOUT = re.compile(
    r"编号|序号|类型|分类|类别|时间|日期|数量|单位|机构|方式|来源|等级|人员|字数|人$|者$|姓名|部门|状态|渠道|次数|得分|评分|标签|关键词|链接"
    r"|_id\b|\bid\b|(type|category|date|time|source|concept|index|idx|score|len|counts?|user|author|toks|tokens|url|link)\d*$"
)
# What is asked is answered under a word of its own, before any other that could mean an answer.
_PARTNERS = {
    "instruction": ("output", "response"), "input": ("output",), "prompt": ("completion", "response"),
    "query": ("response",), "question": ("solution", "answer"), "problem": ("solution",),
}  # fmt: skip

# What is written about something longer, and what that is called: the longer one asks for it.
_SUMMARIES = ("summary", "highlights", "摘要", "总结", "tldr", "abstract")
DOCUMENTS = (
    "article", "document", "dialogue", "dialog", "passage", "全文", "原文", "文章", "对话", "text", "文本", "正文",
    "content", "内容", "post", "文章内容", "文章正文", "新闻内容", "新闻正文",
)  # fmt: skip

# Columns that say what kind a text is.
CLASSES = (
    "label_desc", "label_des", "label_text", "label", "labels", "标签", "类别", "分类", "category", "class",
    "sentiment", "情感", "情感倾向", "intent", "意图", "类型", "emotion", "cat", "stars", "rating", "星级", "评分",
)  # fmt: skip

# What somebody marked in a text: names, relations. Nothing that a model can be asked for as it stands.
MARKINGS = (
    "label", "labels", "entities", "entity", "spans", "relations", "relation", "annotations", "spo_list", "triples",
    "events", "event_list", "ner", "ner_tags", "实体", "标注",
)  # fmt: skip

MEDIA = ("video", "videos", "audio", "audios", "视频", "音频", "录音")
TITLES = ("title", "标题", "subject")
ARTICLES = ("content", "正文", "内容")
_PEOPLE = ("user", "用户", "客户", "human")  # who asks, where another column has what
_ALONE = ("code", "completion")  # what is learned as plain text where nothing asks for it

ROLES = {
    "system": "system", "developer": "system", "系统": "system",
    "user": "user", "human": "user", "用户": "user", "问": "user", "customer": "user", "prompter": "user",
    "患者": "user", "病人": "user", "客户": "user", "instruction": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant", "bot": "assistant",
    "ai": "assistant", "助手": "assistant", "答": "assistant", "bing": "assistant", "bard": "assistant",
    "claude": "assistant", "moss": "assistant", "response": "assistant", "医生": "assistant", "客服": "assistant",
    "client": "user", "counselor": "assistant", "seeker": "user", "supporter": "assistant", "patient": "user",
    "doctor": "assistant", "student": "user", "teacher": "assistant", "来访者": "user", "咨询师": "assistant",
    "咨询者": "user", "律师": "assistant", "学生": "user", "老师": "assistant", "agent": "assistant",
    "usr": "user", "sys": "system", "q": "user", "a": "assistant", "买家": "user", "卖家": "assistant", "访客": "user",
    "顾问": "assistant",
    "visitor": "user", "end-user": "user", "end_user": "user", "admin": "assistant", "support": "assistant",
    "商家": "assistant", "inbound": "user", "outbound": "assistant", "人工": "assistant", "人工客服": "assistant",
    "机器人": "assistant", "chatbot": "assistant", "坐席": "assistant", "专家": "assistant", "顾客": "user",
    "function_call": "call", "function-call": "call", "tool_call": "call", "tool_calls": "call", "tool-call": "call",
    "tool": "tool", "observation": "tool", "function": "tool", "function_response": "tool", "function response": "tool",
    "function-response": "tool", "tool_response": "tool", "tool-response": "tool", "ipython": "tool", "工具": "tool",
}  # fmt: skip

_YES = {
    "true", "1", "1.0", "yes", "y", "good", "up", "thumbs_up", "like", "liked", "upvote", "helpful", "desirable",
    "chosen", "accepted", "accept", "👍", "是", "好", "对", "正确", "满意", "赞", "点赞", "合格", "好评", "采纳",
    "有用", "有帮助", "喜欢", "优",
}  # fmt: skip
_NO = {
    "false", "0", "0.0", "no", "n", "bad", "down", "-1", "thumbs_down", "dislike", "disliked", "downvote", "unhelpful",
    "undesirable", "rejected", "reject", "👎", "否", "坏", "差", "错", "错误", "不满意", "踩", "点踩", "不合格", "不好",
    "差评", "未采纳", "不采纳", "没用", "无用", "没帮助", "无帮助", "不喜欢", "劣",
}  # fmt: skip


_LONGEST = 200  # characters of a header that count
_HUMPS = re.compile(r"(?<=[a-z])(?=[A-Z][a-z])|(?<=[a-z])(?=ID\b)")  # questionText, questionID


def plain(header: object) -> str:
    """A header for comparing: lower case, without blanks, marks and remarks in brackets (`问题（必填）` -> `问题`)."""
    text = re.sub(r"[(（\[【].*?[)）\]】]", "", _HUMPS.sub("_", str(header)[:_LONGEST]).lower())
    return re.sub(r"[\s\-]+", "_", text.strip().strip(":：*#?？_\ufeff").strip())


def is_known(header: object) -> bool:
    """Whether a cell is one of the header words."""
    return bool(plain(header)) and any(plain(header) in words for words in FIELDS.values())


def is_name(cell: str) -> bool:
    """Whether a cell is written like the name of a column: `author_role`, 病情描述."""
    return _NAME.fullmatch(cell.strip()) is not None


_NAME = re.compile(
    r"[A-Za-z]+(?:_[A-Za-z]+)+|.{0,8}(?:编号|序号|时间|日期|姓名|部门|科室|类型|类别|分类|内容|描述|建议|状态|名称|标题|原文"
    r"|译文|来源|备注|题型|难度|分值|正确答案|选项[ ]?[A-Ha-h])|[a-z]{2}-[A-Z]{2}"
)


def match(headers: Iterable[str]) -> dict[str, str]:
    """Our words -> the headers that mean them; a header is used once. Exact words first, then contained ones."""
    names = {plain(header): header for header in reversed(list(headers))}
    found: dict[str, str] = {}
    used: set[str] = set()
    for field, words in FIELDS.items():
        word = next((word for word in words if word in names and word not in used), None)
        if word:
            found[field] = names[word]
            used.add(word)
    for better, worse in _SIDES if "rejected" not in found else ():
        if better in names and worse in names:
            found = {word: key for word, key in found.items() if key not in (names[better], names[worse])}
            found |= {"chosen": names[better], "rejected": names[worse]}
            used |= {better, worse}
    letter = plain(found.get("answer", "")) in ARTICLES
    replied = [name for name in _containing("answer", names, used) if letter and _REPLY.search(name)]
    if replied and ("question" not in found or plain(found["question"]) in TITLES):  # a letter, and what was answered
        found = {word: key for word, key in found.items() if word != "text"}
        found |= {"question": found["answer"], "answer": names[replied[-1]]}
        used.add(replied[-1])
    asked = plain(found.get("question", ""))
    if asked in _PEOPLE and (fitting := _containing("question", names, used)):
        found["question"] = names[fitting[-1]]
        used.add(fitting[-1])
    free = used - {plain(found.get("answer", ""))}
    partner = next((word for word in _PARTNERS.get(asked, ()) if word in names and word not in free), None)
    if partner:
        used.discard(plain(found.get("answer", "")))
        found["answer"] = names[partner]
        used.add(partner)
    for field in _CONTAINED:
        if field not in found and (fitting := _containing(field, names, used)):
            found[field] = names[fitting[-1]]
            used.add(fitting[-1])
    if not {"question", "text"} & found.keys() and _REPLY.search(plain(found.get("answer", ""))):
        asking = [name for name in names if name not in used and name.endswith(("内容", "描述", "诉求"))]
        if asking:  # 来信内容, 留言内容
            found["question"] = names[asking[-1]]
            used.add(asking[-1])
    summary = next((word for word in _SUMMARIES if word in names), None)
    whole = next((word for word in DOCUMENTS if word in names), None)
    asked = plain(found.get("question", ""))
    if summary and whole and (not asked or asked in TITLES or asked in (summary, whole)):
        kept = {word: key for word, key in found.items() if key not in (names[summary], names[whole])}
        kept.pop("text", None)
        return {**kept, "question": names[whole], "answer": names[summary]}
    # An article has a title beside its text: that asks for nothing.
    if "text" in found and "answer" not in found and plain(found.get("question", "")) in TITLES:
        found.pop("question")
    # "text" loses to a question with an answer, and a lone "title" or "content" is no pair.
    if "question" in found and "answer" in found:
        found.pop("text", None)
    elif "answer" in found and "text" in found and "question" not in found and "images" not in found:
        found["question"] = found.pop("text")
    elif "answer" in found and "text" not in found and plain(found["answer"]) in (*FIELDS["text"], *_ALONE):
        found["text"] = found.pop("answer")
    return found


def _containing(field: str, names: Iterable[str], used: Container[str]) -> list[str]:
    """Longer headers that hold one of a field's words and do not only tell about it."""
    parts = _CONTAINED[field]
    fitting = [n for n in names if n not in used and any(part in n for part in parts) and not _ABOUT.search(n)]
    return sorted(fitting, key=lambda n: not n.endswith(_HEADINGS))  # those taken first stand last


_HEADINGS = ("title", "标题")
_REPLY = re.compile("回复|答复|reply")


def rivals(answer: str, headers: Iterable[str]) -> list[str]:
    """Other headers that answer as well as the one taken, where no plain word for an answer is among them."""
    named = plain(answer)
    if named in FIELDS["answer"]:
        return []
    return [header for header in headers if header != answer and _containing("answer", [plain(header)], (named,))]


def is_article(fields: Mapping[str, str]) -> bool:
    """Whether nothing but a title asks, and nothing but a content answers."""
    return plain(fields.get("question", "")) in TITLES and plain(fields.get("answer", "")) in ARTICLES


def truth(value: object) -> bool | None:
    """A label as yes or no; None when it says neither."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    return True if word in _YES else False if word in _NO else None


def pair_name(fields: Mapping[str, str]) -> str:
    """The usual name of a layout with a question and an answer, by its headers."""
    question, answer = plain(fields.get("question", "")), plain(fields.get("answer", ""))
    if question == "instruction" and answer == "output":
        return "alpaca"
    if question == "prompt" and answer == "completion":
        return "prompt_completion"
    if question == "query" and answer == "response":
        return "query_response"
    return "question_answer"
