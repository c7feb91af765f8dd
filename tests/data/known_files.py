"""Tables as people have them, and files that hold no rows; see `known_shapes.py`."""

# ruff: noqa: E501  # Chinese counts twice

from __future__ import annotations

import json
from typing import Any

from known_shapes import QA, 文章
from real_sets import chat

# fmt: off
# ── spreadsheets and tables as people have them: header, rows ──
TABLES: dict[str, tuple[list[list[Any]], str]] = {}


def table(name: str, header: str, rows: list[list[Any]], means: str) -> None:
    TABLES[name] = ([header.split(), *rows], means)


问, 答 = "几点开门？", "早上九点开门，周末不休息。"
问答 = f"u:{问} | a:{答}"
table("people and departments", "姓名 问题 标准回答 备注 部门", [["王芳", 问, 答, "", "客服部"], ["李雷", "多少钱？", "三块钱一个。", "已核", "市场部"]], 问答)
table("service tickets", "工单号 客户名称 联系电话 问题描述 处理结果 处理人 创建时间 状态", [
      ["GD001", "张三", "13800138000", 问, 答, "小李", "2026-01-02", "已关闭"]], 问答)
table("standard and similar questions", "分类 标准问 相似问1 相似问2 答案", [["营业", 问, "何时开门", "开门时间", 答]], 问答)
table("standard and similar questions in one cell", "分类 标准问题 相似问法 答案", [["营业", 问, "何时开门|开门时间", 答]], 问答)
table("products", "产品名称 型号 规格 价格 产品描述", [[f"水杯{n}", f"B{n}", "500ml", str(n), f"第{n}号水杯，适合办公室使用。"]
      for n in range(12)], "?")
table("exam with an explanation", "序号 题目 选项A 选项B 选项C 选项D 答案 解析", [["1", "哪个？", "甲", "乙", "丙", "丁", "B",
      "因为"]], "u:哪个？\nA. 甲\nB. 乙\nC. 丙\nD. 丁 | a:B")
table("exam with all options in a cell", "题型 题干 选项 正确答案 解析", [["单选", "哪个？", "A.甲 B.乙", "B", "因为"]],
      "u:哪个？\nA.甲 B.乙 | a:B")
table("rules and laws", "标题 发布机构 发布日期 正文", [["规定", "国务院", "2026-01-01", 文章]], f"?text:{文章}")
table("a base of knowledge", "知识编号 知识标题 知识内容", [[f"K{n}", f"如何办理{n}", f"{n}。{文章}"] for n in range(12)],
      f"?u:如何办理0 | a:0。{文章}")
table("Feishu bot", "用户 用户提问 机器人回复 反馈 时间", [["ou_1", 问, 答, "赞", "2026-01-02 10:00"], ["ou_2", "多少？", "三块。", "踩",
      "2026-01-02 10:01"]], 问答)
table("Dingtalk bot", "提问人 提问时间 提问内容 回答人 回答内容 是否解决", [["王芳", "2026-01-02", 问, "小钉", 答, "是"]], 问答)
table("customers and service", "客户问题 客服回答 满意度", [[问, 答, "5"]], 问答)
table("two answers unjudged", "问题 答案1 答案2", [[问, 答, "不知道。"]], f"?{问答}")
table("Q and A", "Q A", [[问, 答]], 问答)
table("问 and 答", "问 答", [[问, 答]], 问答)
table("thumbs", "问题 回答 是否满意", [[f"{n}点？", f"是{n}点。", "满意" if n % 2 else "不满意"] for n in range(1, 6)],
      "?u:1点？ | a:是1点。 =good")
table("feelings", "内容 情感倾向", [[f"第{n}个很好用", "正面"] for n in range(6)], "?u:第0个很好用 | a:正面")
table("cMedQA questions", "question_id content", [["1", "头疼三天了怎么办"]], "text:头疼三天了怎么办")
table("lawyers", "title question reply is_best", [["离婚", 问, 答, "1"]], 问答)
table("a chat of a service", "会话ID 时间 角色 消息内容", [["s1", "10:00", "客户", "你好"], ["s1", "10:01", "客户", 问], ["s1", "10:02", "客服",
      答], ["s2", "11:00", "客户", "多少钱？"], ["s2", "11:01", "客服", "三块。"]], f"u:你好\n{问} | a:{答}")
table("a chat of people with names", "会话ID 时间 发送人 消息内容", [["s1", "10:00", "张三", 问], ["s1", "10:02", "李四", 答], ["s2",
      "11:00", "张三", "多少钱？"], ["s2", "11:01", "李四", "三块。"]], "!who asks")
table("better and worse", "问题 好的回答 差的回答", [[问, 答, "不知道。"]], f"u:{问} | +:{答} | -:不知道。")
table("remarks in headers", "问题（必填） 答案（必填） 分类（选填）", [[问, 答, "营业"]], 问答)
table("sickness", "主诉 现病史 诊断 治疗方案", [[f"头疼{n}天", f"{n}天前出现头疼，无发热。", "感冒", f"多休息，多喝水，{n}天后复查，必要时来院。"]
      for n in range(12)], "?")
table("waimai_10k", "label review", [[str(n % 2), f"第{n}家很快"] for n in range(6)], "?u:第0家很快 | a:0")
table("English service", "Ticket Customer_Question Agent_Reply Created_Date", [["T1", "When?", "At nine.", "2026"]],
      "u:When? | a:At nine.")
table("users' questions", "id user_question account_answer updated_date", [["1", "When?", "At nine.", "2026"]],
      "u:When? | a:At nine.")
table("personas", "name age city", [["Ann", "31", "Rome"], ["Bob", "42", "Oslo"]], "?")

table("tickets turn by turn", "工单号 时间 发言人类型 发言内容", [["T1", "10:00", "客服", "您好"], ["T1", "10:01", "客户", 问], ["T1", "10:02", "客服",
      答], ["T2", "11:00", "客户", "多少钱？"], ["T2", "11:01", "客服", "三块。"]], 问答)
table("comments of tickets", "ticket_id comment_id author_type comment_body", [["1", "1", "end-user", "When?"], ["1", "2", "agent",
      "At nine."], ["2", "3", "end-user", "So?"], ["2", "4", "agent", "Yes."]], "u:When? | a:At nine.")
table("a shop's chats", "会话编号 买家昵称 发送方 消息 发送时间", [["1", "a", "买家", 问, "t"], ["1", "a", "卖家", 答, "t"], ["2", "b", "买家", "多少？",
      "t"], ["2", "b", "卖家", "三块", "t"]], 问答)
table("conversations in cells", "编号 对话记录", [["1", f"客户：{问}\n客服：{答}"]], 问答)
table("letters and replies", "来信人 来信标题 来信内容 答复单位 答复内容", [["王", "咨询", "几点开门？谢谢。", "局", 答]], f"u:几点开门？谢谢。 | a:{答}")
table("mails", "发件人 收件人 主题 正文 回复正文", [["a@b.c", "d@e.f", "询价", "请报价。", "三块。"]], "u:请报价。 | a:三块。")
table("lawyers without questions", "title question reply is_best", [[问, "", 答, "1"], ["多少？", "多少钱？", "三块。", "1"]], 问答)
table("which is better", "问题 回答A 回答B 哪个更好", [[问, 答, "不知道。", "A"], ["多少？", "不知道", "三块", "B"]], f"u:{问} | +:{答} | -:不知道。")
table("good and poor answers", "问题 优质答案 劣质答案", [[问, 答, "不知道。"]], f"u:{问} | +:{答} | -:不知道。")
table("articles and summaries", "文章标题 文章内容 摘要", [["北京", 文章, "北京是首都"]], f"u:{文章} | a:北京是首都")
table("an exam of all kinds", "题型 题目内容 选项A 选项B 选项C 选项D 正确答案 分值 难度", [["单选题", "哪个？", "甲", "乙", "丙", "丁", "B", "2", "易"],
      ["判断题", "天是蓝的", "", "", "", "", "对", "1", "易"]], "u:哪个？\nA. 甲\nB. 乙\nC. 丙\nD. 丁 | a:B")
table("short cells below headers", "科室 病情描述 医生建议", [["内科", "头疼三天了", "多休息多喝水"]], "?u:头疼三天了 | a:多休息多喝水")
table("英文原文 and 中文译文", "序号 英文原文 中文译文", [["1", "Good day", "早上好"]], "?u:Good day | a:早上好")

# ── files that are not rows: name, text, means ──
FILES: dict[str, tuple[str, str, str]] = {
    "CMRC2018": ("cmrc.json", json.dumps({"version": "1", "data": [{"title": "北京", "paragraphs": [{"id": "D", "context":
        文章, "qas": [{"question": "首都？", "id": "Q1", "answers": [{"text": "北京", "answer_start": 0}]}, {"question":
        "建筑？", "id": "Q2", "answers": [{"text": "古老", "answer_start": 9}]}]}]}]}), f"u:首都？\n{文章} | a:北京"),
    "CMRC2018 as first given out": ("cmrc.json", json.dumps([{"context_id": "T", "context_text": 文章, "title": "北京",
        "qas": [{"query_text": "首都？", "query_id": "Q", "answers": ["北京", "北京市"]}]}]), f"u:首都？\n{文章} | a:北京"),
    "rows from a viewer": ("first.json", json.dumps({"dataset": "a/b", "features": [], "rows": [{"row_idx": 0, "row": {
        "question": "Why?", "answer": "Because."}, "truncated_cells": []}]}), QA),
    "lists of turns": ("chats.jsonl", "\n".join(json.dumps(chat(f"Why {n}?", "Because.")) for n in range(3)),
        "u:Why 0? | a:Because."),
    "Qianfan": ("qianfan.jsonl", json.dumps([{"prompt": "Why?", "response": [["Because."]]}]), QA),
    "WeChat": ("chat.txt", "".join(f"2026-01-02 10:0{n}:00 {who}\n{text}\n\n" for n, (who, text) in enumerate(
        [("张三", 问), ("李四", 答)] * 4)), "?text:2026-01-02…"),
    "WeChat of a service": ("chat.txt", "".join(f"{who} 2026/1/2 10:0{n}\n{text}\n\n" for n, (who, text) in enumerate(
        [("客户", 问), ("客服", 答)] * 4)), f"{问答} | {问答} | {问答} | {问答}"),
    "a program's log": ("log.txt", "".join(f"2026-01-02 10:0{n}:00 INFO: started {n}\n" for n in range(9)),
        "text:2026-01-02…"),
    "questions and answers as text": ("faq.txt", "常见问题\n\n" + "".join(f"{n}. 问：{问}{n}\n答：{答}\n还有{n}。\n\n"
        for n in range(1, 4)), f"u:{问}1 | a:{答}\n还有1。"),
    "questions and answers in Markdown": ("faq.md", "# FAQ\n" + "".join(f"**Q: Why {n}?**\n\nA: Because {n}.\n\n"
        for n in range(3)), "u:Why 0? | a:Because 0."),
    "LCCC": ("lccc.jsonl", '["Why?", "Because."]\n["So?", "Yes.", "Bye", "Bye!"]\n', QA),
    "one conversation": ("chat.json", json.dumps(chat("Why?", "Because.")), QA),
    "sep=; of Excel": ("rows.csv", f"sep=;\n问题;回复;备注\n{问};{答};\n", 问答),
    "tabs in a csv": ("rows.csv", f"问题\t回复\t备注\n{问}\t{答}\t\n", 问答),
    "joined tables": ("rows.csv", f"问题,回复\n{问},{答}\n问题,回复\n多少？,三块。\n", 问答),
    "a page for a spreadsheet": ("rows.xls", f"<html><table><tr><td>问题</td><td>回复</td></tr><tr><td>{问}</td><td>{答}"
        "</td></tr></table></html>", "!web browsers"),
    "THUCNews without headers": ("news.txt", "\n".join(f"体育\t第{n}场比赛开始了，双方球员进入场地。" for n in range(12)), "?"),
    "commas behind lines": ("rows.jsonl", '{"question": "Why?", "answer": "Because."},\n{"question": "So?", "answer": "Yes."},\n', QA),
    "rows further in": ("reply.json", json.dumps({"code": 0, "msg": "ok", "data": {"total": 2, "list": [{"question": "Why?", "answer":
        "Because."}, {"question": "So?", "answer": "Yes."}]}}), QA),
    "conversations further in": ("chats.json", json.dumps({"data": {"conversations": [{"id": "1", "messages": chat("Why?", "Because.")},
        {"id": "2", "messages": chat("So?", "Yes.")}]}}), QA),
    "a text that begins like headers": ("book.txt", "问题，与答案\n这是一本书，讲的是问题。\n第二行，讲的是答案。\n", "text:问题，与答案…"),
    "questions with their answers": ("faq.json", json.dumps({"Why?": "Because.", "So?": "Yes."}), QA),
    "a table as pandas splits it": ("rows.json", json.dumps({"columns": ["question", "answer"], "index": [0, 1], "data": [["Why?",
        "Because."], ["So?", "Yes."]]}), QA),
    "rows of different sizes by number": ("rows.json", json.dumps({"10": {"dialogue": [{"speaker": "患者", "sentence": "Why?"}, {"speaker":
        "医生", "sentence": "Because."}]}, "11": {"more": 1, "dialogue": [{"speaker": "患者", "sentence": "So?"}, {"speaker": "医生",
        "sentence": "Yes."}]}}), QA),
    "a table in Markdown": ("faq.md", f"# FAQ\n\n| 编号 | 问题 | 答案 |\n|:--|--|--:|\n| 1 | {问} | {答} |\n| 2 | 多少？ | 三块。 |\n", 问答),
    "headings that ask": ("faq.md", f"# 常见问题\n\n## {问}\n\n{答}\n\n## 多少钱？\n\n三块。\n", 问答),
    "questions in thick brackets": ("faq.txt", "".join(f"【问题】Why {n}?\n【答案】Because {n}.\n\n" for n in range(3)),
        "u:Why 0? | a:Because 0."),
    "a table as text": ("rows.txt", f"问题，答案\n{问}，九点。\n多少？，三块。\n", f"u:{问} | a:九点。"),
    "a page": ("page.html", f"<html><table><tr><td>问题</td><td>回复</td></tr><tr><td>{问}</td><td>{答}</td></tr></table></html>",
        "!web browsers"),
}
# fmt: on
