"""The report of a fine-tune: what a person reads at the end, in one file that asks nothing of the network."""

from __future__ import annotations

import html.parser
import json
import re
from pathlib import Path
from typing import Any

import pytest
from workers import done

from appliance import locale, output, show
from appliance.jobs import control, plot, prepare, watch
from appliance.jobs.folder import events
from appliance.planning import words
from appliance.work import report, watching
from appliance.work.verdict import verdict


class Reader(html.parser.HTMLParser):
    """Fails for a tag that is closed wrongly; keeps the texts and every address."""

    _ALONE = ("meta", "line", "circle", "path", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self._ALONE:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_fine_tune_ends_with_a_report(
    home: Path, shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = [{"question": f"{n}?", "answer": "<b>yes</b> & so on"} for n in range(260)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    wish = {"steps": 60, "learning_rate": 1e-2, "batch": 4}
    job = control.submit(prepare.finetune(str(shelf / "base-float32"), str(file), wish=wish, accept_drops=True))
    result = done(job)
    text = Path(result["report"]).read_text(encoding="utf-8")
    read = Reader(text)
    shown = " ".join(read.texts)
    assert result["good"] and result["verdict"] in shown and "ready to merge" in result["verdict"]
    assert result["stops"] is True and "stops on its own" in result["verdict"]
    answers = result["answers"]
    assert answers and all(one["after"] == "<b>yes</b> & so on" != one["before"] for one in answers), answers
    assert "<b>yes</b> & so on" in shown and "<b>yes" not in text  # what a model says is text, never a tag
    assert not read.addresses and "default-src 'none'" in text
    plan = job.described["plan"]
    chosen = words.rows(plan)
    assert len(chosen) > 15 and all(label in read.texts and reason in read.texts for label, reason in chosen)
    assert {f"{result['memory'][which]:.2f} GiB" for which in ("predicted_gib", "measured_gib")} <= set(read.texts)
    assert text.count("<svg") >= 3 and "<circle" in text  # loss with held-out rows, learning rate, gradient
    # The same in the terminal.
    show.job(job)
    told = capsys.readouterr().out
    flat = " ".join(told.split())
    assert result["verdict"] in flat and all(" ".join(reason.split()) in flat for _label, reason in chosen[:3])
    (line,) = {line for line in told.splitlines() if line.startswith(answers[0]["question"])}
    assert line.split(None, 1)[1].endswith("<b>yes</b> & so on") and "●" in told and "┤" in told
    assert f"predicted {result['memory']['predicted_gib']} GiB" in flat
    # And while it learns.
    picture = watch.Picture(job)
    picture.add(job.state(), [event for event in events(job)[0] if event.get("phase") != "saving"])
    output.console().print(picture)
    told = capsys.readouterr().out
    for word in ("┤", "●", "held-out", "rate", "gradient", "tokens/s", "memory", "loss", "60/60"):
        assert word in told, (word, told)


CASES: list[tuple[dict[str, Any], bool, str]] = [
    ({"loss_first": None, "loss_last": None}, False, "no step"),
    ({"loss_first": 2.0, "loss_last": 1.99}, False, "hardly anything"),
    ({"loss_first": 2.0, "loss_last": 1.0}, True, "Loss 2.00 → 1.00; ready to merge."),
    ({"loss_first": 2.0, "loss_last": 1.0, "stops": False}, False, "does not stop"),
    (
        {"held_out": {"first": 2.1, "best": 1.3, "best_step": 40, "last": 1.3}, "stops": True},
        True,
        "Held-out loss 2.10 → 1.30; stops on its own; ready to merge.",
    ),
    (
        {"held_out": {"first": 2.0, "best": 1.5, "best_step": 40, "last": 1.9}, "loss_first": 2, "loss_last": 0.1},
        True,
        "after step 40",
    ),
]


@pytest.mark.parametrize(("result", "good", "words"), CASES)
def test_the_verdict_is_one_sentence(home: Path, result: dict[str, Any], good: bool, words: str) -> None:
    found, sentence = verdict(result)
    assert found is good and words in sentence and sentence.count(".") - len(re.findall(r"\d\.\d", sentence)) == 1


def test_the_terminals_curve_shows_every_look() -> None:
    """The one before the first step too, also where a step is wide."""
    drawn = plot.curve([(1, 3.0), (2, 2.0), (3, 1.0)], [(0, 3.0), (3, 1.0)], last=3, width=40, height=4).plain
    lines = drawn.splitlines()
    assert lines[0].startswith("   3.000 ┤●") and lines[3].startswith("   1.000 │") and lines[3].endswith("●")
    assert lines[4].split() == ["└1", "3"] and not plot.curve([(1, 3.0)], last=3).plain


def test_a_chart_stands_any_numbers() -> None:
    for line in ([(1, 0.0)], [(1, 2.0), (1, 2.0)], [(n, -n / 7) for n in range(5000)]):
        drawn = report.chart(line, [(3, 1.0)])
        Reader(drawn)
        assert "nan" not in drawn and len(drawn) < 50_000
    found = report.series(
        [{"step": 1, "loss": None}, {"step": 2, "loss": float("inf")}, {"step": 3, "loss": 1}], "loss"
    )
    assert found == [(3, 1.0)]


def test_a_loss_that_explodes_is_told_from_one_that_jumps() -> None:
    calm = [3.0, 2.5, 2.0, 1.5, 1.0]
    assert not watching.exploded(calm)
    assert not watching.exploded([*calm, 12.0, 1.0, 11.0])
    assert watching.exploded([*calm, 9.0, 11.0, 15.0])
    assert not watching.exploded([0.3, 0.1, 0.01, 0.2, 0.2, 0.2])  # small losses may jump
    assert not watching.exploded([9.0, 1.0, 5.0, 5.0, 5.0])  # no worse than at the beginning
    for count in range(1, 12):  # what is kept of a long curve says the same
        kept: list[float] = []
        for loss in (curve := [*calm, 0.1, 9.0, 11.0, 15.0, 2.0, 16.0][:count]):
            kept = watching.shortened([*kept, loss])
        assert len(kept) <= 5 and watching.exploded(kept) is watching.exploded(curve)


def test_in_chinese_all_of_it_is(tmp_path: Path) -> None:
    locale.set_language("zh")
    try:
        answers = [{"question": "1?", "before": "2", "after": "3", "stopped": True}]
        result = {"model": "m", "good": True, "verdict": "", "memory": {"measured_gib": 1.0}, "answers": answers}
        text = report.write(tmp_path, {"plan": {"reasons": {"rank": ""}, "rank": 8}}, result).read_text(
            encoding="utf-8"
        )
    finally:
        locale.set_language()
    headings = re.findall(r"<h[12]>(.*?)</h[12]>", text)
    assert len(headings) == 4 and all(re.search(r"[\u4e00-\u9fff]", heading) for heading in headings), headings


def test_the_curves_are_there_for_tensorboard_as_well(home: Path, shelf: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"question": f"{n}?", "answer": f"{n}!"}) + "\n" for n in range(20)))
    job = control.submit(prepare.finetune(str(shelf / "base-float32"), str(file), wish={"steps": 2}))
    done(job)
    written = [path for path in (job.folder / "tensorboard").iterdir() if path.name.startswith("events.out.tfevents")]
    assert written and b"train/loss" in b"".join(path.read_bytes() for path in written)
