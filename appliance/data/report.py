"""What a data file holds and what is wrong with it: the reasons, and the report that `check` fills."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Any

from appliance.data import lengths
from appliance.data.notes import Note
from appliance.data.rows import Row
from appliance.locale import _, marked

REASONS = {
    "not_json": marked("the line is not valid JSON"),
    "not_a_row": marked("the line is not a row of the table"),
    "quote_not_closed": marked("a quotation mark opens here and is never closed"),
    "too_many_columns": marked("more cells than columns: probably a delimiter inside a text that is not in quotes"),
    "not_an_object": marked("not an object with named fields"),
    "other_format": marked("another format than most rows of the file"),
    "too_deep": marked("nested too deeply"),
    "not_text": marked("a field that should be text is something else (a list, an object, an image)"),
    "not_a_turn": marked("a turn of the conversation is not an object"),
    "history_unreadable": marked("the history is not a list of pairs"),
    "header_again": marked("the headers once more, as where two tables were joined"),
    "empty_question": marked("the question is empty"),
    "nobody_asks": marked("there is only an answer: what was asked stands nowhere, perhaps in another file"),
    "empty_answer": marked("the answer is empty"),
    "empty_text": marked("the text is empty"),
    "unknown_role": marked("a turn has no role or an unknown one"),
    "roles_out_of_order": marked("the roles are out of order"),
    "last_not_assistant": marked("the last turn is not the assistant's"),
    "nothing_learned": marked("every answer is marked as not to be learned"),
    "tool_call_unreadable": marked("a tool call can't be parsed"),
    "tools_unreadable": marked("the list of tools can't be parsed"),
    "label_unreadable": marked("the label is neither yes nor no"),
    "answer_equals_question": marked("the answer equals the question"),
    "no_preference": marked("neither answer is marked as the better one"),
    "chosen_equals_rejected": marked("the chosen answer equals the rejected one"),
    "images_do_not_match": marked("the text marks other images than the row has"),
    "mojibake": marked("the text is garbled (wrong encoding somewhere on its way)"),
    "duplicate": marked("exactly the same as an earlier row"),
    "other_media": marked("it has a video or a sound, from which nothing is learned here"),
    "image_missing": marked("an image that it names is not there"),
    "image_unreadable": marked("an image can't be read"),
    "image_elsewhere": marked("an image is at an address in the net, not on this machine"),
}
# In the order in which a person should hear of them. Fields: n, names, length, over, why.
WARNINGS = {
    "template_refuses": marked("Rows that this model's chat template can't write: {n} ({why})"),
    "too_long": marked("Rows longer than {length} tokens: {n}, the longest by {over}; their ends would be cut off."),
    "placeholders": marked("Rows with placeholders that were never filled: {n} ({names})"),
    "tool_not_listed": marked(
        "Rows that call a tool that is not among their tools: {n}; a model learns to make up tools."
    ),
    "no_tools_listed": marked("Rows that call tools but list none: {n}"),
    "only_read": marked("Rows with answers that are marked as not to be learned: {n}; those are only read."),
    "near_duplicates": marked("Rows that are nearly the same as an earlier one: {n}"),
    "keys": marked("Rows with what looks like a key or token, which the model would learn: {n}"),
    "identity_numbers": marked("Rows with what looks like identity card numbers: {n}"),
    "bank_cards": marked("Rows with what looks like bank card numbers: {n}"),
    "phone_numbers": marked("Rows with what looks like phone numbers: {n}"),
    "mail_addresses": marked("Rows with mail addresses: {n}"),
    "some_mojibake": marked("Rows with single damaged characters: {n}"),
}
_TASK_NAMES = {
    "sft": marked("fine-tuning on questions and answers"),
    "dpo": marked("training on preferences"),
    "kto": marked("training on good and bad examples"),
    "pretrain": marked("further pretraining on plain text"),
}
_FORMAT_NAMES = {
    "alpaca": marked("Alpaca (instruction, input, output)"),
    "sharegpt": marked("ShareGPT conversations"),
    "messages": marked("OpenAI messages"),
    "prompt_completion": marked("prompt and completion"),
    "query_response": marked("query and response"),
    "question_answer": marked("a question and an answer in each row"),
    "preference": marked("a question with a better and a worse answer"),
    "caption": marked("an image with a text in each row"),
    "transcript": marked("conversations written as one text"),
    "text": marked("plain text"),
}
# How the kinds of `composed.py` are read.
READ_AS = {
    "sides": marked("of two answers the one that is marked as better is chosen, the other rejected"),
    "ranked": marked("of several answers the best is chosen and the worst rejected"),
    "options": marked("the options are asked with their question; the answer is the letter or number of the right one"),
    "rewarded": marked("the right answer is the one that an answer would be compared with"),
    "captions": marked("pictures with questions and answers"),
    "pieces": marked("paragraphs, put together below their title"),
    "two_texts": marked("two texts are asked about together; the answer is their label"),
    "languages": marked("a text and its translation"),
    "several": marked("several questions with their answers make one conversation"),
}
CONSENT_SHARE = 0.1  # above this share of rows left out, a person should say yes


@dataclass
class Question:
    """Two readings were possible: what was taken, what else there is, and the words that choose it."""

    key: str  # columns | restated | sheet | speaker | task
    sentence: str
    chosen: str
    choices: list[str]
    ways: list[dict[str, Any]] = field(default_factory=list)  # words (sheet, map, task) for each way to read it

    def as_dict(self) -> dict[str, Any]:
        """For `--json` and the menu."""
        return dict(vars(self))


@dataclass
class Report:
    """What a file holds. Lengths in characters; lines count from 1 (row numbers in a spreadsheet)."""

    file: str
    format: str
    task: str
    encoding: str | None
    sheet: str | None = None
    sha256: str = ""  # of the file, known where its rows were written out: a look alone should not wait for it
    columns: dict[str, str] = field(default_factory=dict)  # our words -> the file's columns, as they were read
    columns_unread: list[str] = field(default_factory=list)  # that the file has besides
    read_as: str = ""  # how rows were put together from several columns, in a sentence
    rows: int = 0
    kept: int = 0
    images: int = 0  # that the kept rows show
    longest_characters: int = 0
    lengths: array[int] = field(default_factory=lambda: array("I"))  # of each kept row, in tokens
    rough: bool = True  # the lengths are guesses: no tokenizer was asked
    dropped: list[Note] = field(default_factory=list)
    warnings: list[Note] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    sample: list[Row] = field(default_factory=list)
    length: int | None = None  # tokens, where the caller said beyond which rows are cut
    languages: list[dict[str, Any]] = field(default_factory=list)
    languages_sampled: bool = False  # in a large file not every row is asked
    compared: int = 0  # rows among which near-duplicates were looked for
    placeholders: dict[str, int] = field(default_factory=dict)  # name -> rows that hold it

    @property
    def task_word(self) -> str:
        """What the rows are for, for a person."""
        return _(_TASK_NAMES[self.task])

    @property
    def format_word(self) -> str:
        """The rows' layout, for a person."""
        return _(_FORMAT_NAMES.get(self.format, self.format))

    @property
    def needs_consent(self) -> bool:
        """More than a tenth of the rows was left out: ask before going on."""
        return self.rows - self.kept > CONSENT_SHARE * self.rows

    @property
    def verdict(self) -> str:
        """The report in one sentence."""
        values: dict[str, int | str] = {
            "kept": self.kept,
            "rows": self.rows,
            "left": self.rows - self.kept,
            "task": self.task_word,
        }
        if self.needs_consent:
            return _(
                "{left} of {rows} rows are left out: look at the reasons before you train on the other {kept}."
            ).format(**values)
        if any(note.key == "placeholders" for note in self.warnings):
            return _("Good for {task} once the placeholders are filled: {kept} of {rows} rows.").format(**values)
        if self.kept < self.rows:
            return _("Good for {task}: {kept} of {rows} rows; {left} are left out.").format(**values)
        return _("Good for {task}: all {rows} rows.").format(**values)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`, job.json and events."""
        return {
            "file": self.file,
            "format": self.format,
            "task": self.task,
            "rows": self.rows,
            "kept": self.kept,
            "images": self.images,
            "dropped": [note.as_dict("reason") for note in self.dropped],
            "warnings": [note.as_dict("kind") for note in self.warnings],
            "encoding": self.encoding,
            "sheet": self.sheet,
            "columns": self.columns,
            "columns_unread": self.columns_unread,
            "read_as": self.read_as,
            "verdict": self.verdict,
            "needs_consent": self.needs_consent,
            "questions": [question.as_dict() for question in self.questions],
            "longest_characters": self.longest_characters,
            "length": self.length,
            "lengths": lengths.described(self.lengths, self.rough),
            "languages": self.languages,
            "languages_sampled": self.languages_sampled,
            "compared": self.compared,
            "placeholders": self.placeholders,
            "sample": self.sample,
        }
