"""A hub behind TLS: certificates are verified, and no redirect leads out of it."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bringing import HASTY, Bring
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fake_hub import FakeHub
from model_files import large_files
from test_faults import nothing_shown, whole

from appliance.errors import ApplianceError
from appliance.hub import hubs as clients
from appliance.hub.transfer.limits import Limits
from appliance.hub.transfer.source import Source

FILES = large_files((3_000_000, 200_000))
SHARD = "model-00001-of-00002.safetensors"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file with a certificate of its own making for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    place = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    place.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return place


@pytest.fixture
def secure(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bool], FakeHub]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    made: list[FakeHub] = []

    def make(cdn_tls: bool) -> FakeHub:
        made.append(FakeHub(dict(FILES), context, cdn_tls))
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", made[-1].address)
        return made[-1]

    yield make
    for hub in made:
        hub.close()


def test_with_a_named_authority(
    secure: Callable[[bool], FakeHub], certificate: Path, bring: Bring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    secure(True)
    whole(bring(source="modelscope"), FILES)


def test_down_to_http_is_refused(
    secure: Callable[[bool], FakeHub], certificate: Path, bring: Bring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    hub = secure(False)
    with pytest.raises(ApplianceError, match="an address that is refused"):
        bring(source="modelscope", limits=HASTY)
    assert not any(ask.at == "cdn" for ask in hub.asked)
    nothing_shown()


def test_a_stranger_s_certificate_is_refused(secure: Callable[[bool], FakeHub], bring: Bring) -> None:
    hub = secure(True)
    with pytest.raises(ApplianceError, match="could not be reached") as told:
        bring(source="modelscope", limits=HASTY)
    assert "certificate" in told.value.why.lower() or "ssl" in told.value.why.lower()
    # The bytes' own way is as strict as the listing's.
    listed = clients.Listing("modelscope", "owner/tiny", "x", "master", ())
    source = Source(listed, Limits())
    with pytest.raises(Exception, match="certificate verify failed"):
        source.open(clients.HubFile(SHARD, len(FILES[SHARD])), 0, 10, None)
    assert not hub.asked
