"""Models that see learn from pictures: the real architectures, tiny; what sees stays as it was."""

from __future__ import annotations

import base64
import json
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import pytest
import tiny
from workers import done

from appliance import data, files, settings
from appliance.errors import ApplianceError
from appliance.hub.needed import choose
from appliance.jobs import control, prepare

HERE = Path(__file__).parent
COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220)}


def png(colour: tuple[int, int, int], width: int = 32, height: int = 32) -> bytes:
    def part(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    lines = zlib.compress((b"\0" + bytes(colour) * width) * height)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", lines) + part(b"IEND", b"")


def write_rows(folder: Path, count: int = 24) -> Path:
    """Squares of two colours, a little different each; a row without any; one inside of the file."""
    folder.mkdir(exist_ok=True)
    rows: list[dict[str, Any]] = []
    for number in range(count):
        name = ("red", "blue")[number % 2]
        shade = tuple(min(255, part + number) for part in COLOURS[name])
        (folder / f"{number}.png").write_bytes(png(shade, 32 + number, 32))  # type: ignore[arg-type]
        asked = {"role": "user", "content": "<image>What colour?"}
        rows.append({"messages": [asked, {"role": "assistant", "content": name}], "images": [f"{number}.png"]})
    inside = "data:image/png;base64," + base64.b64encode(png(COLOURS["red"])).decode()
    rows.append({**rows[0], "images": [inside]})
    rows.append({"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "me"}]})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "rows.jsonl"


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("qwen3-vl", "internvl", "gemma3")]


@pytest.mark.parametrize("name", ["qwen2.5-vl", *SLOW])
def test_it_learns_what_it_sees(home: Path, seers: Path, tmp_path: Path, name: str) -> None:
    file = write_rows(tmp_path / "rows")
    (tmp_path / "rows" / "3.png").write_bytes(png(COLOURS["blue"])[:-40] + b"0" * 20 + b"IEND\xaeB`\x82")
    wish = {"steps": 60, "batch": 4, "learning_rate": 1e-2}
    draft = prepare.finetune(str(seers / name), str(file), wish=wish)
    assert draft.plan and "26" not in draft.plan["reasons"]["length"]
    assert "processor makes of it" in draft.plan["reasons"]["pictures"]
    job = control.submit(draft)
    result = done(job)
    assert result["task"] == "sft" and result["rows"] == 25  # the damaged one is left out, and said
    said = (job.folder / "events.jsonl").read_text()
    assert "Rows left out because a picture of theirs can't be read: 1." in said
    assert result["loss_last"] < 0.3 * result["loss_first"]
    adapter = Path(result["adapter"])
    kept = {path.name for path in adapter.iterdir()}
    assert {"preprocessor_config.json", "tokenizer.json", "chat_template.jinja"} <= kept
    assert (adapter / "preprocessor_config.json").read_bytes() == (
        seers / name / "preprocessor_config.json"
    ).read_bytes()
    pictures = []
    for colour, value in COLOURS.items():
        (tmp_path / f"{colour}.png").write_bytes(png(value, 40, 36))
        pictures.append(tmp_path / f"{colour}.png")
    told = subprocess.run(
        [settings.python_of("train"), HERE / "asked_to_look.py", seers / name, adapter, *pictures],
        env=settings.child_environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    answer = json.loads(told.stdout.splitlines()[-1])
    assert answer["after"] == ["red", "blue"] != answer["before"], answer
    assert answer["graded"] and answer["outside"] and not answer["seeing_graded"] and not answer["seeing_adapted"]
    if result["answers"]:
        assert any(one["after"] == one["taught"] for one in result["answers"])
    merged = done(control.submit(prepare.merge(job.id)))
    assert merged["way"] == "streamed" and merged["proof"]["done"] and merged["proof"]["same"] >= 0.99
    beside = {path.name for path in Path(merged["model"]).iterdir()}
    assert "preprocessor_config.json" in beside
    if name == "qwen2.5-vl":
        assert files.read_json(adapter / "adapter_config.json")["target_modules"].startswith("model\\.language_model")


def tensors(file: Path) -> dict[str, bytes]:
    """What a safetensors file holds."""
    raw = file.read_bytes()
    begin = 8 + int.from_bytes(raw[:8], "little")
    places = {name: part["data_offsets"] for name, part in json.loads(raw[8:begin]).items() if name != "__metadata__"}
    return {name: raw[begin + first : begin + last] for name, (first, last) in places.items()}


@pytest.mark.slow
def test_where_all_weights_learn_what_sees_stays_and_goes_along(home: Path, seers: Path, tmp_path: Path) -> None:
    base = seers / "qwen2.5-vl"
    wish = {"steps": 2, "batch": 4, "method": "full", "learning_rate": 1e-3}
    result = done(control.submit(prepare.finetune(str(base), str(write_rows(tmp_path / "rows")), wish=wish)))
    made = Path(result["made"])
    assert (made / "preprocessor_config.json").read_bytes() == (base / "preprocessor_config.json").read_bytes()
    before, after = tensors(base / "model.safetensors"), tensors(made / "model.safetensors")
    changed = {name for name in before if before[name] != after[name]}
    assert changed and set(before) == set(after) and not [name for name in changed if "visual" in name]


def test_pictures_and_models_that_do_not_belong_together(home: Path, shelf: Path, seers: Path, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows")
    assert data.check(file).as_dict()["images"] == 25
    with pytest.raises(ApplianceError, match="show 25 pictures, and this model can't see"):
        prepare.finetune(str(shelf / "base-float32"), str(file))
    plain = tiny.write_rows(tmp_path / "plain.jsonl")
    with pytest.raises(ApplianceError, match="only learn from questions and answers"):
        prepare.finetune(str(seers / "gemma3"), str(plain), task="grpo", rewards=["exact"])


def test_a_job_has_its_own_pictures(tmp_path: Path) -> None:
    """What is changed or removed later can't hurt a resume."""
    file = write_rows(tmp_path / "rows", 4)
    report = data.write_rows(file, tmp_path / "copy.jsonl", pictures=tmp_path / "pictures")
    named = [row.get("images", []) for row in map(json.loads, (tmp_path / "copy.jsonl").read_text().splitlines())]
    assert named == [["0000000.png"], ["0000001.png"], ["0000002.png"], ["0000003.png"], ["0000004"], []]
    assert report.images == 5
    for path in (tmp_path / "rows").iterdir():
        path.unlink()
    assert (tmp_path / "pictures" / "0000004").read_bytes() == png(COLOURS["red"])
    assert (tmp_path / "pictures" / "0000001.png").read_bytes().startswith(b"\x89PNG")


def test_what_a_processor_needs_is_downloaded() -> None:
    wanted = {
        "preprocessor_config.json",
        "processor_config.json",
        "video_preprocessor_config.json",
        "chat_template.json",
    }
    listed = ["config.json", "model.safetensors", "tokenizer.json", *wanted]
    assert wanted <= set(choose(listed))
