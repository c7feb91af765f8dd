"""Files damaged at random: a report or a sentence, quickly, in little memory; never a traceback."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from real_sets import SETS
from spreadsheets import write_xlsx

SECONDS = 5.0
_CHECKER = """
import json, os, resource, sys, time
from pathlib import Path
from appliance.data import check
from appliance.errors import ApplianceError

for line in sys.stdin:
    file, begin, computed = Path(line.strip()), time.monotonic(), sum(os.times()[:4])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        report = check(file)
        accounted = report.kept + sum(note.count for note in report.dropped)
        json.dumps(report.as_dict()).encode()
        said = "" if accounted == report.rows else f"{report.rows} rows, {accounted} accounted for"
    except ApplianceError as error:
        said = "" if error.what and error.next_step else "no next step"
    except BaseException as error:
        said = repr(error)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    spent = [sum(os.times()[:4]) - computed, time.monotonic() - begin]
    print(json.dumps([said, spent, grown * 1024]), flush=True)
"""


def seeds(folder: Path) -> dict[str, bytes]:
    """A small file of every kind, by its ending."""
    rows = [row for row, _kind, _task in SETS.values()]
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["问题", "答案", "标签"])
    table.writerows([f"第{n}个问题？", f'第{n}个"答案"，\n两行', "好" if n % 2 else "差"] for n in range(20))
    book = write_xlsx(
        folder / "seed.xlsx", {"说明": [["x"]], "问答": [["问题", "答案"], *[["q", 3.0]] * 9]}, {"问答": ["A2:A3"]}
    )
    with zipfile.ZipFile(folder / "seed.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rows.jsonl", json.dumps(SETS["llava"][0]))
        archive.writestr("coco/1.jpg", b"\xff\xd8\xff")
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()
    made = {
        "jsonl": lines,
        "json": json.dumps(rows, ensure_ascii=False, indent=1).encode(),
        "csv": text.getvalue().encode(),
        "gb.csv": text.getvalue().encode("gb18030"),
        "wide.csv": text.getvalue().encode("utf-16"),
        "md": ("# 标题\n\n" + "一段话。" * 300).encode(),
        "xlsx": book.read_bytes(),
        "zip": (folder / "seed.zip").read_bytes(),
        "jsonl.gz": gzip.compress(lines),
    }
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return made
    out = io.BytesIO()
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist([{"question": f"q{n}", "answer": "a"} for n in range(9)]), out
    )
    return {**made, "parquet": out.getvalue()}


def damaged(seed: bytes, chance: random.Random) -> bytes:
    """A copy with some of what goes wrong: bits, cuts, repeats, foreign pieces, brackets and marks without end."""
    data = bytearray(seed)
    for _change in range(chance.choice((1, 1, 2, 5, 20))):
        place = chance.randrange(len(data) + 1)
        kind = chance.randrange(7)
        if kind == 0 and place < len(data):
            data[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[place : place + chance.choice((1, 10, 1000))]
        elif kind == 2:
            data[place:place] = data[place : place + chance.choice((1, 10, 300))] * chance.choice((1, 3, 50))
        elif kind == 3:
            data[place:place] = chance.randbytes(chance.choice((1, 4, 100)))
        elif kind == 4:
            piece = chance.choice(
                (b"[", b"{", b'"', b"\\", b'{"a":', b"[[1,", b"\r", b"\0", b"\xff\xfe", b"<tool_call>")
            )
            data[place:place] = piece * chance.choice((1, 2, 2000))
        elif kind == 5:
            piece = chance.choice(
                (b"1e999", b"-", b"9" * 5000, b"NaN", b"null", b"\xef\xbf\xbd", "锟斤拷".encode(), b"\xed\xa0\x80")
            )
            data[place:place] = piece
        else:
            del data[place:]
        if not data:
            data = bytearray(seed[:1])
    return bytes(data)


def survive(folder: Path, count: int, seed: int) -> None:
    chance = random.Random(seed)
    made = seeds(folder)
    files = folder / "files"
    files.mkdir()
    environment = {**os.environ, "APPLIANCE_HOME": str(folder / "home")}
    checker = subprocess.Popen(
        [sys.executable, "-c", _CHECKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert checker.stdin and checker.stdout
    try:
        for number in range(count):
            # Each start of the reader of spreadsheets takes a while: fewer of those.
            ending = (
                chance.choice(sorted(made)) if number % 4 == 0 else chance.choice(("jsonl", "json", "csv", "gb.csv"))
            )
            file = files / f"{number}.{ending}"
            file.write_bytes(damaged(made[ending], chance))
            print(file, file=checker.stdin, flush=True)
            answer = checker.stdout.readline()
            assert answer, f"{file.name}: the process ended; {file.read_bytes()[:300]!r}"
            said, (computed, waited), grown = json.loads(answer)
            assert not said, f"{file.name}: {said}; {file.read_bytes()[:300]!r}"
            # On a machine with other work a wait says nothing: what counts is what was computed meanwhile.
            assert computed < SECONDS and waited < 12 * SECONDS, f"{file.name}: {computed:.1f} s, {waited:.1f} s waited"
            # What libraries take when they are first used is not the file's.
            assert grown < 10 * file.stat().st_size + (64 << 20), f"{file.name}: {grown >> 20} MB"
            file.unlink()
    finally:
        checker.kill()
        checker.communicate()


def test_damaged_files_end_in_a_report_or_a_sentence(tmp_path):
    survive(tmp_path, 300, 1)


@pytest.mark.long
def test_ten_thousand_damaged_files(tmp_path):
    survive(tmp_path, 10_000, 2)
