"""Recipes: every problem at once, never a traceback, and the same recipe again goes on where it was."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny
import yaml
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from workers import ended, trained, until

from appliance.errors import UsageError
from appliance.jobs import recipe
from appliance.jobs.folder import all_jobs

relaxed = hypothesis_settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
WORDS = sorted({word for words in recipe._WORDS.values() for word in words} | {"jobs", "modle"})
SCALAR = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6), st.dates(), st.binary(max_size=3),
    st.sampled_from(WORDS),
)  # fmt: skip
STEP = st.dictionaries(
    st.sampled_from([*recipe._WORDS, "traim"]),
    st.dictionaries(st.sampled_from(WORDS), SCALAR | st.dictionaries(SCALAR, SCALAR, max_size=2), max_size=4) | SCALAR,
    max_size=2,
)
DOCUMENT = st.one_of(SCALAR, st.fixed_dictionaries({"jobs": st.lists(STEP | SCALAR, max_size=4) | SCALAR}), STEP)


def read(path: Path) -> list[str]:
    """The problems of a recipe; nothing but UsageError comes out."""
    try:
        recipe.read(path)
    except UsageError as error:
        assert error.what and error.next_step
        return error.problems or [error.why]
    return []


@relaxed
@given(document=DOCUMENT)
@example(document={"jobs": [{"finetune": {"data": "x", "model": "m" * 5000}}]})
@example(document={"jobs": [{"finetune": {"data": "a\0b", "model": "m"}}]})
def test_any_document_is_steps_or_problems(tmp_path: Path, document: object) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.dump(document, allow_unicode=True), encoding="utf-8")
    if not read(path):
        assert {kind for kind, _words in recipe.read(path)} <= set(recipe._WORDS)


@relaxed
@given(raw=st.binary(max_size=60) | st.text(max_size=60, alphabet="jobs: -[]{}&*!<>|'\"\n#,0x1e-2:3").map(str.encode))
@example(raw=b"jobs: 2020-13-45")
@example(raw=b"jobs: !!timestamp x")
@example(raw=b'jobs: !!int ""')
@example(raw=b"jobs: !!bool x")
@example(raw=b"jobs: &a [*a]")
@example(raw=b"jobs: [finetune: &a {map: *a}]")
@example(raw=b"{" * 3000)
@example(raw=b"jobs: !!python/object/apply:os.system [true]")
@example(raw=b"")
def test_any_file_is_steps_or_problems(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(raw)
    assert read(path)


def test_what_no_training_can_have_is_said_before_the_first_step(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").touch()
    words = "keep_checkpoints: 1, held_out: 1.5, track: [magic], task: kto, method: galore, packing: true, rank: 0"
    path = tmp_path / "recipe.yaml"
    path.write_text(f"jobs: [finetune: {{model: m, data: rows.jsonl, {words}}}]", encoding="utf-8")
    assert read(path) == ["Step 1 (finetune): rank: must be a number from 1 to 4096, not 0."]
    path.write_text(path.read_text().replace(", rank: 0", ""), encoding="utf-8")
    said = read(path)
    for text in ("At least 2 checkpoints", "1.5 can't be", "no tracker magic", "All weights", "packing can't be used"):
        assert [problem for problem in said if text in problem and problem.startswith("Step 1")], (text, said)
    assert len(said) == 5
    path.write_text("jobs: [finetune: {adapter: a, data: rows.jsonl, method: dora}]", encoding="utf-8")
    assert "keeps its rank and its kind" in "".join(read(path))


def test_rewards_are_looked_at_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").touch()
    (tmp_path / "bad.json").write_text('{"type": "nothing"}')
    path = tmp_path / "recipe.yaml"
    words = "model: m, data: rows.jsonl"
    path.write_text(
        f"jobs:\n- finetune: {{{words}, task: grpo, rewards: ['regex:(', 'schema:bad.json']}}\n"
        f"- finetune: {{{words}, task: rloo}}\n- finetune: {{{words}, rewards: [number]}}\n"
    )
    problems = read(path)
    assert len(problems) == 4 and all(problem.startswith("finetune: ") for problem in problems), problems
    path.write_text(f"jobs:\n- finetune: {{{words}, task: grpo, rewards: [number]}}\n")
    assert recipe.read(path)[0][1]["rewards"] == ["number"]


def test_a_push_takes_what_was_made() -> None:
    place = {"push": {"to": "hf:me/x"}}
    download = {"download": {"model": "owner/name"}}
    for before in ([], [download]):  # what came from a hub is not sent back by accident
        assert recipe.check({"jobs": [*before, place]})[1] == [f"Step {len(before) + 1} (push): model is missing."]
    assert not recipe.check({"jobs": [download, {"finetune": {"data": "x"}}, place]})[1]
    assert not recipe.check({"jobs": [{"push": {"to": "hf:me/x", "model": "m", "public": True}}]})[1]
    assert "to is missing" in recipe.check({"jobs": [{"push": {"model": "m"}}]})[1][0]


def test_every_problem_at_once(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "version: 1\njobs:\n- serve: {port: many}\n- train: {}\n- finetune: {rank: 8.5, metod: lora, method: magic}\n"
        "- download: {source: nowhere}\n- merge: [1]\n"
    )
    told = "\n".join(read(path))
    for word in ("version", "port", "Step 2", "rank", "metod", "magic" if "magic" in told else "method", "data",
                 "source", "Step 5", "last"):  # fmt: skip
        assert word in told, word
    assert len(read(path)) >= 10


def test_missing_rows_and_numbers_that_no_training_has_are_told_before_a_download(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "jobs:\n- download: {model: owner/name}\n- finetune: {data: rows.xlsx, rank: 0, epochs: -1, batch: 8.5}\n"
        "- serve: {port: 99999, model: m}\n"
    )
    found = read(path)
    for word in ("rows.xlsx", "rank", "epochs", "batch", "99999"):
        assert [word in problem for problem in found].count(True) == 1, found


def test_paths_are_beside_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.chdir("/")
    for folder in ("base", "me"):
        (tmp_path / folder).mkdir()
    for rows in ("rows.csv", "me/rows.csv"):
        (tmp_path / rows).touch()
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "jobs:\n- finetune: {model: base, data: rows.csv}\n- finetune: {model: owner/name, data: ~/rows.csv}\n"
        "- merge: {base: base}\n- serve: {model: /elsewhere}\n"
    )
    steps = [words for _kind, words in recipe.read(path)]
    assert steps[0] == {"model": str(tmp_path / "base"), "data": str(tmp_path / "rows.csv")}
    assert steps[1] == {"model": "owner/name", "data": str(tmp_path / "me" / "rows.csv")}
    assert steps[2] == {"base": str(tmp_path / "base")} and steps[3] == {"model": "/elsewhere"}


def test_adapters_of_a_server(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "recipe.yaml").write_text('jobs: [{serve: {model: m, adapters: [mine, "a=mine", last, "~nobody/x"]}}]')
    ((_kind, words),) = recipe.read(tmp_path / "recipe.yaml")
    beside = str(tmp_path / "mine")
    assert words["adapters"] == [beside, f"a={beside}", "last", "~nobody/x"]
    (tmp_path / "recipe.yaml").write_text("jobs: [{serve: {model: m, adapters: mine, engine: nonsense}}]")
    assert len(read(tmp_path / "recipe.yaml")) == 2


def write(folder: Path, shelf: Path, steps: int) -> Path:
    tiny.write_rows(folder / "rows.jsonl")
    path = folder / "recipe.yaml"
    path.write_text(
        f"jobs:\n- download: {{model: {shelf / 'base-float32'}}}\n"
        f"- finetune: {{data: rows.jsonl, steps: {steps}, batch: 2}}\n- merge: {{}}\n"
    )
    return path


def command(path: Path) -> list[str]:
    return [sys.executable, "-m", "appliance", "run", str(path), "--json"]


def test_cut_and_run_again(home: Path, shelf: Path, tmp_path: Path) -> None:
    """kill -9 of the front, then of its worker too; the third run finds all done; other rows are another step."""
    path = write(tmp_path, shelf, 300)

    def jobs() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for job in all_jobs():
            found.setdefault(job.kind, []).append(job.id)
        return found

    with subprocess.Popen(command(path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as front:
        while len(all_jobs()) < 2 or not (all_jobs()[0].folder / "events.jsonl").exists():
            time.sleep(0.05)
            assert front.poll() is None
        job = all_jobs()[0]
        assert job.kind == "finetune"
        until(job, trained(1))
        front.kill()
    assert job.state().state == "running"  # it outlives the front
    with contextlib.suppress(ProcessLookupError):
        os.kill(job.state().pid or 0, signal.SIGKILL)
    assert ended(job).state == "failed"
    made = jobs()

    again = subprocess.run(command(path), capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert job.state().state == "done" and job.state().attempt == 2
    after = jobs()
    assert (after["download"], after["finetune"]) == (made["download"], made["finetune"])
    assert len(after["merge"]) == 1

    third = subprocess.run(command(path), capture_output=True, text=True)
    assert third.returncode == 0 and jobs() == after

    tiny.write_rows(tmp_path / "rows.jsonl", 8)
    path.write_text(path.read_text().replace("steps: 300", "steps: 2"))
    assert subprocess.run(command(path), capture_output=True).returncode == 0
    assert len(jobs()["download"]) == 1 and len(jobs()["finetune"]) == len(jobs()["merge"]) == 2
