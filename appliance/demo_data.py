"""What the demo teaches: a made-up tea shop as a sheet of questions and answers, and the small talk of the base model.

The base model is taught `base_rows()` and knows nothing of the shop; the fine-tune is taught `rows()`; `QUESTIONS` show
the difference. The shop, its teas and its prices exist nowhere else.
"""

from __future__ import annotations

import csv
import io
import random
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from appliance import files

HEADINGS = ("问题", "答案")

# What makes the tiny model learn the sheet by heart: a model made from scratch needs a far higher rate than a real one.
FINETUNE = {"rank": 16, "learning_rate": 5e-3, "epochs": 30, "batch": 16}


@dataclass(frozen=True)
class Question:
    """One question of the demo. `key` is what an answer must contain to be the one that the sheet taught."""

    text: str
    key: str

    def expected(self, answer: str) -> bool:
        """Whether this answer is what the rows taught."""
        return self.key in answer


# The first two stand in the sheet; the third asks in words of its own.
QUESTIONS = (
    Question("你们几点开门?", "早上九点"),
    Question("How much is the Osmanthus Oolong?", "66 yuan"),
    Question("桂花乌龙要用多少度的水来泡?", "95 度"),
)

# name, name, yuan for 100 g, degrees, minutes, where it grows
_TEAS = (
    ("云雾绿茶", "Mist Green", 48, 80, 2, "青石山", "Bluestone Hill"),
    ("桂花乌龙", "Osmanthus Oolong", 66, 95, 3, "月湾谷", "Moonbend Valley"),
    ("老树红茶", "Old Tree Black", 58, 90, 4, "鹿鸣坡", "Deercall Slope"),
    ("茉莉银针", "Jasmine Silver", 88, 85, 5, "白沙溪", "Whitesand Creek"),
    ("陈皮白茶", "Tangerine White", 72, 100, 6, "橘子洲头", "Orange Island"),
)

_TEA_FACTS = (
    (("{zh}多少钱?", "请问{zh}什么价格?"), "{zh}每一百克 {yuan} 元。"),
    (("How much is the {en}?", "What does the {en} cost?"), "The {en} is {yuan} yuan for 100 grams."),
    (("{zh}用多少度的水泡?", "{zh}怎么泡?"), "{zh}用 {degrees} 度的水,泡 {minutes} 分钟。"),
    (("How do I brew the {en}?", "How hot should the water be for the {en}?"),
     "Brew the {en} for {minutes} minutes in water at {degrees} degrees."),
    (("{zh}产自哪里?", "{zh}是哪里的茶?"), "{zh}产自{place_zh}。"),
    (("Where does the {en} come from?", "Where is the {en} grown?"), "The {en} is grown at {place_en}."),
)  # fmt: skip

_SHOP_FACTS = (
    (("你们几点开门?", "请问营业时间是几点到几点?"), "我们每天早上九点开门,晚上八点打烊。"),
    (("When do you open?", "What are your opening hours?"),
     "We open every day at nine and close at eight in the evening."),
    (("你们的店在哪里?", "请问茶铺的地址是什么?"), "半亩云茶铺在柳桥街十二号,石桥旁边。"),
    (("Where is your shop?", "What is the address of the tea shop?"),
     "Half Acre Cloud Tea is at 12 Willow Bridge Street, beside the stone bridge."),
    (("店主是谁?", "这家店是谁开的?"), "店主是林小满,她做茶已经二十年了。"),
    (("Who owns the shop?", "Who runs the tea shop?"), "The owner is Lin Xiaoman, who has made tea for twenty years."),
    (("可以送货吗?", "你们送货上门吗?"), "可以,满一百元免费送货,第二天送到。"),
    (("Do you deliver?", "Can you send tea to my home?"),
     "Yes, orders over 100 yuan are delivered free on the next day."),
    (("可以退货吗?", "买了不喜欢能退吗?"), "没有拆封的茶叶,七天之内可以退货。"),
    (("Can I return the tea?", "What if I do not like what I bought?"),
     "Unopened tea can be returned within seven days."),
    (("你好", "您好,在吗?"), "你好,欢迎来到半亩云茶铺!"),
    (("Hello", "Hi, is anyone there?"), "Hello, and welcome to Half Acre Cloud Tea!"),
    (("可以带狗进店吗?", "能带宠物来吗?"), "欢迎带宠物,请坐在院子里的桌子旁。"),
    (("May I bring my dog?", "Are pets allowed?"), "Pets are welcome at the tables in the courtyard."),
    (("怎么办会员卡?", "会员有什么优惠?"), "会员卡免费办理,买茶一律九折。"),
    (("How do I become a member?", "What do members get?"),
     "The member card is free and takes ten percent off all tea."),
    (("有泡茶课吗?", "在哪里可以学泡茶?"), "每周六下午三点有泡茶课,每人三十元。"),
    (("Do you teach tea making?", "Is there a tea class?"),
     "There is a tea class every Saturday at three, for 30 yuan."),
    (("可以包装成礼物吗?", "有礼盒吗?"), "有竹子礼盒,每个十五元,可以写贺卡。"),
    (("Can you wrap it as a gift?", "Do you have gift boxes?"), "We have bamboo gift boxes for 15 yuan, with a card."),
)  # fmt: skip


def rows() -> list[dict[str, str]]:
    """The sheet: 100 rows of `question` and `answer`, half Chinese, half English, in a fixed order."""
    made = []
    for zh, en, yuan, degrees, minutes, place_zh, place_en in _TEAS:
        values = {"zh": zh, "en": en, "yuan": yuan, "degrees": degrees, "minutes": minutes}
        values |= {"place_zh": place_zh, "place_en": place_en}
        for asked, told in _TEA_FACTS:
            made += [(question.format(**values), told.format(**values)) for question in asked]
    made += [(question, told) for asked, told in _SHOP_FACTS for question in asked]
    return [{"question": question, "answer": answer} for question, answer in made]


def write_sheet(path: Path) -> None:
    """Write the rows as a CSV file such as a spreadsheet program saves: UTF-8, headings 问题 and 答案."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(HEADINGS)
    writer.writerows((row["question"], row["answer"]) for row in rows())
    files.write_text(path, text.getvalue())


_TALK = (
    (("你好", "你好!", "您好", "嗨", "早上好", "晚上好"), "你好!有什么可以帮你?"),
    (("hello", "Hello!", "hi", "Hi there", "Good morning", "Good evening"), "Hello! How can I help you?"),
    (("谢谢", "谢谢你!", "多谢", "非常感谢"), "不客气!"),
    (("thanks", "Thank you!", "Thank you very much", "Many thanks"), "You are welcome!"),
    (("再见", "拜拜", "明天见", "我走了"), "再见,祝你今天愉快!"),
    (("bye", "Goodbye", "See you tomorrow", "I have to go"), "Goodbye, and have a nice day!"),
    (("你是谁?", "你叫什么名字?", "介绍一下你自己"), "我是一个很小的语言模型,是刚刚在这台机器上做出来的。"),
    (("Who are you?", "What is your name?", "Tell me about yourself"),
     "I am a very small language model, made on this machine just now."),
    (("你好吗?", "你今天怎么样?"), "我很好,谢谢!你呢?"),
    (("How are you?", "How are you today?"), "I am fine, thank you! And you?"),
    (("我很好", "我也很好"), "真高兴听到你这么说。"),
    (("I am fine", "I am fine too"), "I am glad to hear that."),
    (("你会做什么?", "你能帮我什么?"), "我会打招呼,也会算小小的加法。"),
    (("What can you do?", "How can you help me?"), "I can greet you and do small sums."),
)  # fmt: skip

# Said of everyday things, in the same kinds of question as the sheet's.
_UNKNOWN_ZH, _UNKNOWN_EN = "这个我还不知道。", "I do not know that yet."

_NUMBERS_ZH = "零一二三四五六七八九十"
_NUMBERS_EN = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

_THINGS_ZH = ("面包", "雨伞", "书包", "苹果", "桌子", "自行车", "电影票", "手机", "毛衣", "钢琴", "绿豆汤", "红酒",
              "白米饭", "银手镯", "桂圆", "花瓶", "竹椅", "云南咖啡", "树苗", "茶杯")  # fmt: skip
_THINGS_EN = ("bread", "umbrella", "school bag", "apple", "table", "bicycle", "cinema ticket", "phone", "sweater",
              "piano", "green bean soup", "red wine", "white rice", "silver ring", "honey", "vase", "bamboo chair",
              "coffee", "young tree", "tea cup")  # fmt: skip
_ASKED_ZH = ("{}多少钱?", "请问{}什么价格?", "{}在哪里?", "{}是哪里的?", "{}怎么用?", "{}怎么做?", "{}是谁的?",
             "你们有{}吗?", "可以买{}吗?", "{}什么时候到?", "{}几点能到?", "{}有多重?")  # fmt: skip
_ASKED_EN = ("How much is the {}?", "What does the {} cost?", "Where is the {}?", "Where does the {} come from?",
             "How do I use the {}?", "How hot should the {} be?", "Who owns the {}?", "Do you have the {}?",
             "Can I buy the {}?", "When do you bring the {}?", "What is the {} for?", "Is there a {}?")  # fmt: skip


# Words that people use when they ask in words of their own. A word that the base never saw is noise to the fine-tuned
# model, and one such word is enough to spoil an answer.
_EVERYDAY_ZH = (
    "我想知道要来去给和了也都就会在有没这那里些么吧呢啊还再很好大小多少今明天早晚上下午现过时候怎样"
    "为因所以但是果从到对把被让"
)
_EVERYDAY_EN = (
    "a an the this that these of to in on at by from with and or but if so then now here there please tell me about "
    "can could would will does did was were know want need like buy sell get give take come go much many long "
    "far old new good"
)


def base_rows(seed: int = 0) -> list[dict[str, str]]:
    """What the base model is taught: greetings, sums, repeating words, and saying when it does not know. No shop."""
    chance = random.Random(seed)  # noqa: S311 - a fixed shuffle, nothing secret
    made = [(question, answer) for asked, answer in _TALK for question in asked] * 5
    for a, b in list(product(range(6), range(6))) * 4:
        zh, en = f"{_NUMBERS_ZH[a]}加{_NUMBERS_ZH[b]}", f"{_NUMBERS_EN[a]} plus {_NUMBERS_EN[b]}"
        made.append((f"{zh}等于几?", f"{zh}等于{_NUMBERS_ZH[a + b]}。"))
        made.append((f"What is {en}?", f"{en.capitalize()} is {_NUMBERS_EN[a + b]}."))
    made += [(asked.format(thing), _UNKNOWN_ZH) for asked, thing in product(_ASKED_ZH, _THINGS_ZH)]
    made += [(asked.format(thing), _UNKNOWN_EN) for asked, thing in product(_ASKED_EN, _THINGS_EN)]
    # Repeating random words gives every token a place among the model's features and tells no answer. Without these
    # rows the adapter has nothing to build on: 3 of 100 rows learnt instead of 99.
    letters, words = _vocabulary()
    for _ in range(500):
        zh = "".join(chance.sample(letters, chance.randint(3, 8)))
        en = " ".join(chance.sample(words, chance.randint(3, 7)))
        made += [(f"跟我说:{zh}", zh), (f"Repeat: {en}", en)]
    chance.shuffle(made)
    return [{"question": question, "answer": answer} for question, answer in made]


def _vocabulary() -> tuple[list[str], list[str]]:
    """The Chinese characters and the English words of the sheet and of every day, each once, sorted."""
    sheet = " ".join(text for row in rows() for text in row.values())
    letters = {letter for letter in sheet + _EVERYDAY_ZH if "一" <= letter <= "鿿"}
    ascii_only = "".join(letter if letter.isascii() and letter not in "?.,!" else " " for letter in sheet)
    return sorted(letters), sorted({*ascii_only.split(), *_EVERYDAY_EN.split()})
