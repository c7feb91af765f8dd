"""What can go wrong between a hub and the disk, each fault alone: it ends whole and verified, or with a sentence."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from bringing import HASTY, Bring
from fake_hub import Ask, Do, FakeHub
from model_files import large_files

from appliance.errors import ApplianceError
from appliance.files import sha256
from appliance.hub import manifest, workspace
from appliance.hub.transfer import journal

FILES = large_files()
SHARD = "model-00001-of-00002.safetensors"
OTHER = FILES[SHARD][:-1000] + bytes(1000)
Hubs = dict[str, FakeHub]
Plan = Callable[[Ask], Do | None]


@pytest.fixture
def source(request: pytest.FixtureRequest) -> str:
    """One hub or the other, in turn: each fault meets one, both meet many. The same one for the same test."""
    return ["huggingface", "modelscope"][zlib.crc32(request.node.name.encode()) % 2]


@pytest.fixture
def hub(source: str, hubs: Hubs) -> FakeHub:
    for one in hubs.values():
        one.files = dict(FILES)
    return hubs[source]


def shard(number: int, do: Do) -> Plan:
    """The first `number` requests for the first shard."""
    return lambda ask: do if ask.name == SHARD and ask.number < number else None


def always(do: Callable[[], Do]) -> Plan:
    return lambda ask: do() if ask.name == SHARD else None


def whole(folder: Path, files: dict[str, bytes] = FILES) -> None:
    """The folder is exactly these files, and the manifest says so."""
    written = manifest.read(folder)
    assert written is not None and set(written["files"]) == set(files)
    assert {path.name for path in folder.iterdir()} == {*files, manifest.NAME}
    for name, content in files.items():
        assert (folder / name).read_bytes() == content, name
        told = written["files"][name]
        assert (told["size"], told["sha256"]) == (len(content), sha256(folder / name))
    assert not list(folder.parent.glob(".*"))


def nothing_shown() -> None:
    """No half model is offered as one."""
    assert workspace.list_models() == [] and workspace.resolve("owner/tiny") is None


MENDED: dict[str, Plan] = {
    "cut once": shard(1, Do(cut=100_000)),
    "cut before the first byte": shard(2, Do(cut=0)),
    "every response cut": lambda ask: Do(cut=100_000),
    "empty responses": shard(4, Do(empty=True)),
    "range ignored": always(lambda: Do(whole=True)),
    "range ignored and cut once": lambda ask: (
        Do(whole=True, cut=1_000_000 if ask.number == 0 else None) if ask.name == SHARD else None
    ),
    "500": shard(3, Do(status=500)),
    "500 with Retry-After": shard(1, Do(status=500, headers={"Retry-After": "1"})),
    "503": shard(3, Do(status=503)),
    "503 with Retry-After": shard(1, Do(status=503, headers={"Retry-After": "1"})),
    "429": shard(2, Do(status=429)),
    "429 with Retry-After": shard(1, Do(status=429, headers={"Retry-After": "1"})),
    "a flipped byte once": shard(1, Do(flip=50_000)),
    "stall": shard(3, Do(stall=60_000)),
    "stall before the first byte": shard(1, Do(stall=0)),
    "500 bytes a second": shard(3, Do(trickle=500)),
    "another range than asked for": shard(2, Do(headers={"Content-Range": f"bytes 5-9/{len(FILES[SHARD])}"})),
    "encoded": shard(2, Do(headers={"Content-Encoding": "gzip"})),
    "the object was another at first": shard(2, Do(content=OTHER)),
    "endless, range ignored once": shard(1, Do(endless=True)),
}


@pytest.mark.parametrize("fault", MENDED)
def test_mended(fault: str, source: str, hub: FakeHub, bring: Bring) -> None:
    hub.plan = MENDED[fault]
    whole(bring(source=source))
    assert hub.listings == 1
    if fault != "range ignored" and not fault.startswith("endless"):
        assert any(more.get("retries") for more in bring.more) and "mended" in bring.said


def test_retry_after_is_honoured_and_told(source: str, hub: FakeHub, bring: Bring) -> None:
    hub.plan = shard(1, Do(status=429, headers={"Retry-After": "1"}))
    whole(bring(source=source))
    assert any("asks to wait for 1 s" in str(more["waiting"]) for more in bring.more if "waiting" in more)


def test_an_expired_address_is_renewed(source: str, hub: FakeHub, bring: Bring) -> None:
    def plan(ask: Ask) -> Do | None:
        if ask.name == SHARD and ask.number in (3, 8):
            hub.expire()
        return None

    hub.plan = plan
    whole(bring(source=source))
    assert hub.signed >= 4 and hub.listings == 1


REFUSED: dict[str, tuple[Plan, str]] = {
    "a flipped byte always": (always(lambda: Do(flip=50_000)), "not what it lists"),
    "truncated object": (always(lambda: Do(content=FILES[SHARD][:1_000_000])), "not what it lists"),
    "longer object": (always(lambda: Do(content=FILES[SHARD] + b"more")), "not what it lists"),
    "endless": (always(lambda: Do(endless=True, whole=True)), "not what it lists"),
    "object replaced midway": (
        lambda ask: Do(content=OTHER) if ask.name == SHARD and ask.number >= 3 else None,
        "not what it lists",
    ),
    "empty responses always": (always(lambda: Do(empty=True)), "Nothing came from .* for 1 s"),
    "503 always": (always(lambda: Do(status=503)), "Nothing came from .* for 1 s"),
    "stalls always": (always(lambda: Do(stall=0)), "Nothing came from .* for 1 s"),
    "a long Retry-After": (always(lambda: Do(status=429, headers={"Retry-After": "3600"})), "asks to wait for 60 min"),
    "403 from the CDN always": (always(lambda: Do(status=403)), "until its owner lets you in"),
    "404 from the CDN always": (always(lambda: Do(status=404)), "has no owner/tiny"),
    "a redirect to a file": (always(lambda: Do(location="file:///etc/passwd")), "an address that is refused"),
    "a redirect to ftp": (always(lambda: Do(location="ftp://127.0.0.1/x")), "an address that is refused"),
    "a redirect in a circle": (
        lambda ask: Do(location=f"/{SHARD}?signed=999") if ask.name == SHARD else None,
        "from address to address",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_refused(fault: str, source: str, hub: FakeHub, bring: Bring) -> None:
    plan, words = REFUSED[fault]
    hub.plan = plan
    with pytest.raises(ApplianceError, match=words) as told:
        bring(source=source, limits=HASTY)
    assert told.value.next_step
    nothing_shown()
    # And once it is over, what came before is still of use.
    hub.plan = lambda _ask: None
    whole(bring(source=source))


def test_listing_down(source: str, hub: FakeHub, bring: Bring, workspace: Path) -> None:
    hub.status = 500
    with pytest.raises(ApplianceError, match="could not be reached"):
        bring(source=source, limits=HASTY)
    nothing_shown()
    assert not (workspace / "models").exists()


def test_hub_down_without_files(
    source: str, bring: Bring, closed_address: str, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", closed_address)
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", closed_address)
    with pytest.raises(ApplianceError, match="could not be reached") as told:
        bring(source=source, limits=HASTY)
    assert told.value.next_step and not (workspace / "models").exists()


def test_cdn_down(source: str, hub: FakeHub, bring: Bring) -> None:
    hub.close_cdn()
    with pytest.raises(ApplianceError, match="Nothing came from") as told:
        bring(source=source, limits=HASTY)
    assert "onnection" in told.value.why
    nothing_shown()


def test_hub_down_with_files_present(
    source: str, hub: FakeHub, bring: Bring, closed_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.plan = always(lambda: Do(status=503))
    with pytest.raises(ApplianceError):
        bring(source=source, limits=HASTY)
    with monkeypatch.context() as patch:
        patch.setenv("HF_ENDPOINT", closed_address)
        patch.setenv("MODELSCOPE_ENDPOINT", closed_address)
        with pytest.raises(ApplianceError, match="could not be reached"):
            bring(source=source, limits=HASTY)
    nothing_shown()
    assert [one.name for one in workspace.unfinished()] == ["owner--tiny"]
    hub.plan = lambda _ask: None
    hub.sent.clear()
    whole(bring(source=source))
    assert set(hub.sent) == {SHARD}


def test_no_checksums_in_the_listing(source: str, hub: FakeHub, bring: Bring) -> None:
    hub.no_sums = True
    hub.plan = lambda ask: Do(content=OTHER) if ask.name == SHARD and ask.number < 2 else None
    whole(bring(source=source))  # the ETag told that the object was replaced
    assert "had no checksum" in bring.said


def test_no_checksums_and_the_object_is_replaced_between_two_runs(source: str, hub: FakeHub, bring: Bring) -> None:
    hub.no_sums = True
    hub.plan = lambda ask: Do(cut=100_000) if ask.name == SHARD and ask.number < 2 else Do(status=503)
    with pytest.raises(ApplianceError):
        bring(source=source, limits=HASTY)
    hub.plan = lambda _ask: None
    hub.files[SHARD] = OTHER
    whole(bring(source=source), {**FILES, SHARD: OTHER})


@pytest.mark.parametrize("size", [10, len(FILES[SHARD]) - 1, len(FILES[SHARD]) + 1])
def test_sizes_that_lie(size: int, source: str, hub: FakeHub, bring: Bring, workspace: Path) -> None:
    hub.sizes[SHARD] = size
    with pytest.raises(ApplianceError, match="not what it lists"):
        bring(source=source, limits=HASTY)
    nothing_shown()
    staged = workspace / "models" / ".owner--tiny.partial" / SHARD
    assert not staged.exists() or staged.stat().st_size <= size


def test_a_lie_beyond_the_disk_is_told_before_the_first_byte(source: str, hub: FakeHub, bring: Bring) -> None:
    hub.sizes[SHARD] = 10**16
    with pytest.raises(ApplianceError, match="too little room"):
        bring(source=source, limits=HASTY)
    assert not hub.sent


def test_a_million_entries(source: str, hub: FakeHub, bring: Bring, workspace: Path) -> None:
    hub.listing_extra = [f"f{number}.json" for number in range(101_000)]
    with pytest.raises(ApplianceError, match="refused") as told:
        bring(source=source, limits=HASTY)
    assert "more than" in " ".join(told.value.problems) and not (workspace / "models").exists()


@pytest.mark.parametrize("names", [["Config.json"], ["MODEL-00001-of-00002.safetensors"]])
def test_names_that_differ_in_case(names: list[str], source: str, hub: FakeHub, bring: Bring, workspace: Path) -> None:
    hub.listing_extra = names
    with pytest.raises(ApplianceError) as told:
        bring(source=source, limits=HASTY)
    assert "differ only in case" in " ".join([told.value.why, *told.value.problems])
    assert not (workspace / "models").exists()


def test_a_link_in_the_staging_folder_leads_nowhere(source: str, hub: FakeHub, bring: Bring, workspace: Path) -> None:
    victim = workspace / "victim"
    stage = workspace / "models" / ".owner--tiny.partial"
    stage.mkdir(parents=True)
    victim.write_bytes(b"mine")
    (stage / SHARD).symlink_to(victim)
    whole(bring(source=source))
    assert victim.read_bytes() == b"mine"


@pytest.mark.parametrize("where", [SHARD, "config.json"])
def test_a_finished_file_that_was_tampered_with_at_rest(where: str, source: str, hub: FakeHub, bring: Bring) -> None:
    last = "model-00002-of-00002.safetensors"
    hub.plan = lambda ask: Do(status=503) if ask.name == last else None
    with pytest.raises(ApplianceError):
        bring(source=source, limits=HASTY)
    stage = next(one.folder for one in workspace.unfinished())
    damaged = bytearray((stage / where).read_bytes())
    damaged[len(damaged) // 2] ^= 4
    (stage / where).write_bytes(damaged)
    hub.plan = lambda _ask: None
    hub.sent.clear()
    whole(bring(source=source))
    assert set(hub.sent) == {where, last} and where in bring.said


def test_another_boot_trusts_only_what_was_synced(
    source: str, hub: FakeHub, bring: Bring, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.plan = lambda ask: Do(cut=300_000) if ask.name == SHARD and ask.number < 3 else Do(status=503)
    with pytest.raises(ApplianceError):
        bring(source=source, limits=HASTY)
    stage = next(one.folder for one in workspace.unfinished())
    # The power was cut: bytes that no fsync had confirmed are gone.
    lines = (stage / journal.NAME).read_bytes().splitlines(keepends=True)
    (stage / journal.NAME).write_bytes(b"".join(line for line in lines if b'"synced"' not in line) + b'["wrote",1,')
    (stage / SHARD).write_bytes(bytes(len(FILES[SHARD])))
    monkeypatch.setattr(journal, "boot_mark", lambda: "another boot")
    hub.plan = lambda _ask: None
    whole(bring(source=source))
    assert "does not agree" not in bring.said
