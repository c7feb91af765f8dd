"""Every machine that users have: real pynvml against a stub NVML library, each in a process of its own."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import nvml_machine as machine

from appliance.hardware import Hardware
from appliance.jobs.control import cards_of
from appliance.planning.generic import SHAPES
from appliance.planning.plan import plan
from appliance.planning.serving import serving_plan

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not shutil.which("cc"), reason="needs Linux and a C compiler for the stub"
)
NVIDIA = "0x10de"


@pytest.fixture(scope="session")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return machine.compile_stub(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def gpu_root(tmp_path: Path) -> Path:
    return machine.make_root(tmp_path / "root", vendors=(NVIDIA,), driver=True)


# name, MiB as the driver reports them, compute capability, expected: nominal GB, bf16
CARDS = [
    ("Tesla T4", 15360, "7 5", 16, False),
    ("Tesla T4 (ECC)", 14914, "7 5", 16, False),
    ("Tesla V100-SXM2-16GB", 16160, "7 0", 16, False),
    ("Tesla V100-SXM2-32GB", 32510, "7 0", 32, False),
    ("NVIDIA A10", 23028, "8 6", 24, True),
    ("NVIDIA L4", 23034, "8 9", 24, True),
    ("NVIDIA GeForce RTX 3090", 24576, "8 6", 24, True),
    ("NVIDIA GeForce RTX 4090", 24564, "8 9", 24, True),
    ("NVIDIA L40S", 46068, "8 9", 48, True),
    ("NVIDIA A100-SXM4-40GB", 40536, "8 0", 40, True),
    ("NVIDIA A100-SXM4-80GB", 81251, "8 0", 80, True),
    ("NVIDIA H100 80GB HBM3", 81559, "9 0", 80, True),
    ("NVIDIA H200", 143771, "9 0", 141, True),
]


def test_cards(stub: Path, gpu_root: Path) -> None:
    """All in one machine: one process instead of thirteen."""
    lines = [f"card {mib} 300 {capability} 0 {name}" for name, mib, capability, _gb, _bf16 in CARDS]
    seen = machine.probe(gpu_root, stub, "\n".join(lines))
    assert seen["probe"]["driver"] == "580.65.06"
    assert seen["cuda"] == "13.0"
    assert seen["probe"]["warnings"] == []
    assert seen["heavy"] == []
    assert [
        (card["name"], card["index"], card["nominal_gb"], card["bf16"], card["compute_capability"])
        for card in seen["probe"]["accelerators"]
    ] == [(name, i, gb, bf16, cap.replace(" ", ".")) for i, (name, _m, cap, gb, bf16) in enumerate(CARDS)]
    a10 = seen["probe"]["accelerators"][4]
    assert (a10["kind"], a10["memory_gib"], a10["free_gib"], a10["holders"]) == ("cuda", 22.49, 22.2, [])
    assert (a10["uuid"], a10["parent"], a10["warnings"]) == ("GPU-00000004-0000", None, [])
    assert seen["probe"]["cuda"] == "13.0"


def test_takes_at_most_50_ms(stub: Path, gpu_root: Path) -> None:
    spent = [machine.probe(gpu_root, stub, "card 24564 0 8 9 0 4090\n" * 2)["seconds"] for _ in range(3)]
    assert min(spent) <= 0.05


def test_two_cards_one_of_them_held(stub: Path, gpu_root: Path) -> None:
    text = "card 24564 20000 8 9 0 RTX 4090\ncard 24564 10 8 9 0 RTX 4090\nholder 0 4242424 19900\nholder 0 4242425 0\n"
    seen = machine.probe(gpu_root, stub, text)["probe"]
    first, second = seen["accelerators"]
    assert first["holders"] == [
        {"pid": 4242424, "name": "program-4242424", "memory_gib": 19.43},
        {"pid": 4242425, "name": "program-4242425", "memory_gib": None},
    ]
    assert first["free_gib"] == pytest.approx(4.46, abs=0.01)
    assert second["holders"] == []
    assert "program-4242424 (pid 4242424, 19.4 GiB), program-4242425 (pid 4242425)" in seen["warnings"][0]


def test_machines_of_several_cards(stub: Path, gpu_root: Path) -> None:
    two = machine.probe(gpu_root, stub, "card 24564 300 8 9 0 RTX 4090\n" * 2)["probe"]
    assert [card["index"] for card in two["accelerators"]] == [0, 1]
    eight = machine.probe(gpu_root, stub, "card 81251 300 8 0 0 NVIDIA A100-SXM4-80GB\n" * 8)
    assert [card["nominal_gb"] for card in eight["probe"]["accelerators"]] == [80] * 8
    assert eight["check"][0] and eight["seconds"] <= 0.05


H100 = "card 81559 0 9 0 0 NVIDIA H100 80GB HBM3\n"


@pytest.mark.parametrize("named", [0, 1])
def test_slices_are_cards_of_their_own(stub: Path, gpu_root: Path, named: int) -> None:
    """Two slices of the first card, the second one held by a program, and a whole card beside it."""
    text = H100 * 2 + f"mig 0 40192 20 3 3 {named}\nmig 0 9856 9000 1 1 {named}\nmig_holder 1 4242424 8000\n"
    seen = machine.probe(gpu_root, stub, text)["probe"]
    assert [
        (card["name"], card["index"], card["parent"], card["nominal_gb"], card["memory_gib"], card["uuid"])
        for card in seen["accelerators"]
    ] == [
        ("NVIDIA H100 80GB HBM3 MIG 3g.40gb", 0, 0, 40, 39.25, "MIG-00000100-0000"),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", 2, 0, 10, 9.62, "MIG-00000101-0000"),
        ("NVIDIA H100 80GB HBM3", 1, None, 80, 79.65, "GPU-00000001-0000"),
    ]
    first, second, _whole = seen["accelerators"]
    assert (first["compute_capability"], first["bf16"], first["holders"]) == ("9.0", True, [])
    assert second["holders"][0]["pid"] == 4242424
    assert "On GPU 2" in seen["warnings"][0]


def test_a_part_of_a_slices_compute(stub: Path, gpu_root: Path) -> None:
    (card,) = machine.probe(gpu_root, stub, H100 + "mig 0 40192 0 3 1 0\n")["probe"]["accelerators"]
    assert card["name"].endswith("MIG 1c.3g.40gb")
    assert card["nominal_gb"] == 40


def test_mig_mode_without_a_slice(stub: Path, gpu_root: Path) -> None:
    seen = machine.probe(gpu_root, stub, H100 + "mig 0 0 0 0 0 0\n")
    assert seen["probe"]["accelerators"] == []
    ok, _sentence, fix = seen["check"]
    assert not ok
    assert "nvidia-smi -i 0 -mig 0" in fix


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ecc 0 3 7", "3 memory errors since its last start"),
        ("ecc 0 0 7", "7 memory errors in its life"),
        ("ecc 0 0 0\nrows 0 0 0\npages 0 0", None),
        ("rows 0 1 0", "nvidia-smi -i 0 -r"),
        ("rows 0 0 1", "no spare memory rows"),
        ("pages 0 1", "nvidia-smi -i 0 -r"),
    ],
)
def test_a_card_that_is_ill_says_so(stub: Path, gpu_root: Path, text: str, words: str | None) -> None:
    seen = machine.probe(gpu_root, stub, f"{H100}{H100}{text}\n")["probe"]
    ill, well = seen["accelerators"]
    assert well["warnings"] == []
    assert ill["warnings"] == seen["warnings"]
    if words is None:
        assert seen["warnings"] == []
    else:
        assert len(seen["warnings"]) == 1 and words in seen["warnings"][0]


def test_the_only_card_is_lost(stub: Path, gpu_root: Path) -> None:
    seen = machine.probe(gpu_root, stub, "card 24564 0 8 9 15 RTX 4090\n")
    ok, sentence, fix = seen["check"]
    assert not ok
    assert "GPU 0 is lost" in sentence and "Restart the machine" in fix
    assert len(seen["probe"]["warnings"]) == 1


def test_a_lost_card_is_a_warning(stub: Path, gpu_root: Path) -> None:
    seen = machine.probe(gpu_root, stub, "card 24564 0 8 9 15 RTX 4090\ncard 24564 0 8 9 0 RTX 4090\n")["probe"]
    assert [card["index"] for card in seen["accelerators"]] == [1]
    assert "GPU 0" in seen["warnings"][0]
    assert "lost" in seen["warnings"][0].lower()


def test_a_chip_that_shares_memory_with_the_processor(stub: Path, gpu_root: Path) -> None:
    (card,) = machine.probe(gpu_root, stub, "card 0 0 12 1 0 NVIDIA GB10\n")["probe"]["accelerators"]
    assert (card["memory_gib"], card["free_gib"], card["compute_capability"]) == (32.0, 16.0, "12.1")


def test_cuda_visible_devices(stub: Path, gpu_root: Path) -> None:
    text = "card 24564 0 8 9 0 RTX 4090\n" * 4
    seen = machine.probe(gpu_root, stub, text, CUDA_VISIBLE_DEVICES="2,1")["probe"]
    assert [card["index"] for card in seen["accelerators"]] == [1, 2]
    assert "2 of 4" in seen["warnings"][0]
    seen = machine.probe(gpu_root, stub, text, CUDA_VISIBLE_DEVICES="GPU-00000003,GPU-9,0")["probe"]
    assert [card["index"] for card in seen["accelerators"]] == [3]
    assert machine.probe(gpu_root, stub, text, CUDA_VISIBLE_DEVICES="-1")["probe"]["accelerators"] == []


def test_old_driver(stub: Path, gpu_root: Path) -> None:
    seen = machine.probe(gpu_root, stub, "driver 535.183.01\ncuda 12020\ncard 24564 0 8 9 0 RTX 4090\n")
    ok, sentence, fix = seen["check"]
    assert not ok
    assert "535.183.01 is too old" in sentence
    assert "580" in fix
    assert sentence in seen["probe"]["warnings"][0]
    assert len(seen["probe"]["accelerators"]) == 1


@pytest.mark.parametrize(
    ("code", "container", "words"),
    [
        (9, False, "not loaded"),
        (18, False, "do not match"),
        (18, True, "do not match"),
        (4, False, "may not talk"),
        (999, False, "does not answer"),
        (9, True, "started without it"),
    ],
)
def test_a_library_that_does_not_start(stub: Path, tmp_path: Path, code: int, container: bool, words: str) -> None:
    root = machine.make_root(tmp_path / "root", vendors=(NVIDIA,), driver=True, container=container)
    seen = machine.probe(root, stub, f"init {code}\n")
    assert seen["probe"]["accelerators"] == []
    assert words in seen["check"][1]
    if code == 18:
        assert "Restart the machine" in seen["check"][2]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ({}, None),
        ({"container": True}, None),
        ({"vendors": ("0x8086",)}, None),
        ({"vendors": (NVIDIA,)}, "no NVIDIA driver"),
        ({"vendors": (NVIDIA,), "container": True}, "no NVIDIA driver"),
        ({"vendors": (NVIDIA,), "driver": True}, "half installed"),
        ({"vendors": (NVIDIA,), "driver": True, "container": True}, "started without it"),
        ({"vendors": (NVIDIA,), "driver": True, "container": True, "devices": ("nvidiactl",)}, "toolkit is missing"),
        ({"driver": True, "container": True}, "started without it"),
    ],
)
def test_no_library(tmp_path: Path, what: dict, words: str | None) -> None:
    """Which of the usual reasons holds. The library's folder is empty: nothing of this machine's own is found."""
    root = machine.make_root(tmp_path / "root", **what)
    seen = machine.probe(root)
    if seen["probe"]["driver"]:
        pytest.skip("this machine has NVML of its own")
    ok, sentence, fix = seen["check"]
    assert seen["probe"]["accelerators"] == []
    if words is None:
        assert ok
        assert seen["probe"]["warnings"] == []
    else:
        assert not ok
        assert words in sentence
        assert fix
        assert seen["probe"]["warnings"] == [f"{sentence} {fix}"]


def test_a_broken_library(tmp_path: Path) -> None:
    folder = tmp_path / "lib"
    folder.mkdir()
    (folder / "libnvidia-ml.so.1").write_bytes(b"no library")
    root = machine.make_root(tmp_path / "root", vendors=(NVIDIA,), driver=True)
    assert "half installed" in machine.probe(root, folder)["check"][1]


def test_other_makers_are_named(tmp_path: Path) -> None:
    root = machine.make_root(tmp_path / "root", vendors=("0x1002",), devices=("davinci0",))
    warnings = machine.probe(root)["probe"]["warnings"]
    assert len(warnings) == 2
    assert "AMD" in warnings[0]
    assert "Ascend" in warnings[1]


def test_a_plan_for_a_slice_names_it(stub: Path, gpu_root: Path) -> None:
    """What CUDA_VISIBLE_DEVICES must say: a slice has no number there."""
    text = H100 + "mig 0 9856 20 1 1 1\nmig 0 40192 20 3 3 1\n"
    seen = machine.probe(gpu_root, stub, text)["probe"]
    found = Hardware.from_dict(seen)
    made = plan(found, SHAPES["8B"])
    assert (made.accelerators, made.uuids, made.gpus) == ([1], ["MIG-00000101-0000"], 1)
    assert "can't work together" in made.reasons["gpus"]
    served = serving_plan(found, SHAPES["8B"])
    assert (served.accelerators, served.uuids) == ([1], ["MIG-00000101-0000"])
    assert cards_of({"accelerators": made.accelerators, "uuids": made.uuids}) == ["MIG-00000101-0000"]
    assert cards_of({"accelerators": [0, 2], "uuids": ["GPU-0000", None]}) == ["0", "2"]
    assert cards_of({"accelerators": [0]}) == ["0"]  # a job of an earlier version
