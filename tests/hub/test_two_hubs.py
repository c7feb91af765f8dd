"""Which hub is taken, how the other one takes over, and who gets to see a token."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from bringing import HASTY, QUICK, Bring
from fake_hub import Ask, Do, FakeHub
from huggingface_hub.utils import _http
from model_files import large_files
from test_faults import nothing_shown, whole

from appliance.errors import ApplianceError
from appliance.hub import manifest
from appliance.hub.hubs import is_own

FILES = large_files((6_000_000, 2_000_000))
LARGE = "model-00001-of-00002.safetensors"
Hubs = dict[str, FakeHub]
TOKENS = {"huggingface": "HF_TOKEN", "modelscope": "MODELSCOPE_API_TOKEN"}


@pytest.fixture
def both(hubs: Hubs) -> Hubs:
    for hub in hubs.values():
        hub.files = dict(FILES)
    return hubs


def source_of(bring: Bring) -> str:
    written = manifest.read(bring(limits=replace(QUICK, probe=1_000_000)))
    assert written is not None
    return str(written["source"])


@pytest.mark.parametrize("fast", ["huggingface", "modelscope"])
def test_auto_takes_the_faster_hub(fast: str, both: Hubs, bring: Bring) -> None:
    for name, hub in both.items():
        hub.rate = 0 if name == fast else 200_000
    assert source_of(bring) == fast
    assert "/s" in bring.notes[0] and "ModelScope" in bring.notes[0] and "Hugging Face" in bring.notes[0]


def test_auto_leaves_a_hub_whose_cdn_gives_nothing(both: Hubs, bring: Bring) -> None:
    both["huggingface"].close_cdn()
    assert source_of(bring) == "modelscope"


@pytest.mark.parametrize("fault", [Do(status=503), Do(status=403), Do(stall=0), Do(cut=0)])
def test_the_other_hub_takes_over_the_same_half_done_file(fault: Do, both: Hubs, bring: Bring) -> None:
    first, second = both["huggingface"], both["modelscope"]

    def plan(ask: Ask) -> Do | None:
        return fault if ask.name == LARGE and first.bytes_sent[LARGE] > 2_000_000 else None

    first.plan, first.rate = plan, 2_000_000
    folder = bring(limits=HASTY)
    whole(folder, FILES)
    written = manifest.read(folder)
    assert written is not None and written["source"] == "modelscope"
    assert "going on with ModelScope" in bring.said and "Goes on at" in bring.said
    # What the first one had sent was not asked for again.
    assert 0 < second.bytes_sent[LARGE] < len(FILES[LARGE]) - 1_500_000


def test_where_the_hubs_differ_nothing_is_mixed(both: Hubs, bring: Bring) -> None:
    other = large_files((6_000_000, 2_000_000), seed=8)
    first, second = both["huggingface"], both["modelscope"]
    second.files = dict(other)
    first.plan = lambda ask: Do(status=503) if ask.name == LARGE and first.bytes_sent[LARGE] > 1_000_000 else None
    whole(bring(limits=HASTY), other)


def test_both_fail(both: Hubs, bring: Bring) -> None:
    for hub in both.values():
        hub.plan = lambda ask: Do(status=503) if ask.name == LARGE else None
    with pytest.raises(ApplianceError, match="Nothing came from"):
        bring(limits=HASTY)
    nothing_shown()


def test_both_send_other_bytes_than_they_list(both: Hubs, bring: Bring) -> None:
    for hub in both.values():
        hub.flipped = {LARGE}
    with pytest.raises(ApplianceError, match="not what it lists"):
        bring()
    nothing_shown()
    assert max(hub.sent[LARGE] for hub in both.values()) < 200


def test_a_silence_is_outlasted_where_no_other_hub_can_help(both: Hubs, bring: Bring) -> None:
    first = both["huggingface"]
    both["modelscope"].status = 500
    silent_from = 0.0

    def plan(ask: Ask) -> Do | None:
        nonlocal silent_from
        if ask.name != LARGE or first.bytes_sent[LARGE] < 1_000_000:
            return None
        silent_from = silent_from or time.monotonic()
        return Do(status=503) if time.monotonic() - silent_from < 2 else None

    first.plan, first.rate = plan, 2_000_000
    whole(bring(limits=replace(QUICK, patience=5.0)), FILES)  # a fifth of it had passed twice


@pytest.mark.parametrize("source", ["huggingface", "modelscope"])
def test_a_token_reaches_the_hub_and_neither_its_cdn_nor_the_other_hub(
    source: str, both: Hubs, bring: Bring, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, variable in TOKENS.items():
        monkeypatch.setenv(variable, f"secret-of-{name}")
    hub = both[source]
    hub.token = f"secret-of-{source}"
    elsewhere = both["modelscope" if source == "huggingface" else "huggingface"]
    # Half of the addresses lead to a stranger: the other hub's CDN.
    hub.plan = lambda ask: Do(location=f"{elsewhere.cdn}/{ask.name}?signed=0") if ask.number % 2 else None
    whole(bring(source=source), FILES)
    for ask in [*hub.asked, *elsewhere.asked]:
        text = " ".join(f"{name}: {value}" for name, value in ask.headers.items())
        mine = ask in hub.asked and ask.at == "hub"
        assert (f"secret-of-{source}" in text) == mine
        assert "secret-of" not in text.replace(f"secret-of-{source}", "")
    assert elsewhere.asked and {ask.at for ask in hub.asked} == {"hub", "cdn"}


def test_a_mirror_on_the_internet_gets_no_token(both: Hubs, bring: Bring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_http, "_GLOBAL_CLIENT", None)  # it has read the proxies already
    # The fake hub stands in for a proxy: it sees what a mirror of that name would get.
    hub = both["huggingface"]
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror.example")
    monkeypatch.setenv("HTTP_PROXY", hub.address)
    monkeypatch.setenv("http_proxy", hub.address)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    seen: list[str] = []
    hub.hear = lambda path, headers: seen.append(f"{path} {headers}")
    whole(bring(source="huggingface"), FILES)
    assert any("mirror.example" in line for line in seen)  # the proxy was used
    assert not any("hf_secretsecret" in line for line in seen)
    seen.clear()
    monkeypatch.setenv("APPLIANCE_TOKEN_HOSTS", "mirror.example")
    bring(source="huggingface", name="again")
    assert any("hf_secretsecret" in line for line in seen)


@pytest.mark.parametrize(
    ("hub", "address", "own"),
    [
        ("huggingface", "https://huggingface.co", True),
        ("huggingface", "https://hf-mirror.com", False),
        ("huggingface", "https://huggingface.co.evil.example", False),
        ("huggingface", "https://modelscope.cn", False),
        ("modelscope", "https://www.modelscope.cn", True),
        ("huggingface", "http://127.0.0.1:8000", True),
        ("huggingface", "http://[::1]:8000", True),
        ("huggingface", "http://10.1.2.3", True),
        ("huggingface", "http://8.8.8.8", False),
        ("huggingface", "http://hub:8080", True),
        ("huggingface", "https://hub.company.example", False),
    ],
)
def test_whose_address(hub: str, address: str, own: bool) -> None:
    assert is_own(hub, address) is own


def test_no_proxy_is_honoured(both: Hubs, bring: Bring, closed_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, closed_address)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "localhost,127.0.0.1")
    whole(bring(source="modelscope"), FILES)
