"""What the S3 store says and does when the server, the network, the clock or the configuration fails: on both servers."""

import datetime as dt
import ipaddress
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from minio import time as minio_time
from reprise.archive.s3 import S3Store, s3_store
from reprise.archive.s3_client import Body
from reprise.contracts.errors import NotStored, StoreUnavailable

pytestmark = pytest.mark.component

PACK = bytes(range(256)) * (32 << 12)  # 32 MiB


def authority(folder: Path, name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A CA, written to folder/ca.pem."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        signed_for(subject, subject, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir()
    (folder / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return certificate, key


def signed_for(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    today = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - dt.timedelta(days=1)).not_valid_after(today + dt.timedelta(days=2))
    )  # fmt: skip


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """ca.pem, and public.crt and private.key that it signed for 127.0.0.1."""
    folder = tmp_path / "certificates"
    ca, ca_key = authority(folder, "Reprise test CA")
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        signed_for(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "store")]), ca.subject, key)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    (folder / "public.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (folder / "private.key").write_bytes(pem)
    return folder


def why(store: S3Store, data: bytes = b"x") -> StoreUnavailable:
    """The refusal of a put; every refusal names the object and has a remedy."""
    with pytest.raises(StoreUnavailable) as refused:
        store.put("archives/key", data)
    assert refused.value.subject == "archives/key"
    assert refused.value.remedy
    return refused.value


def test_tls_with_a_ca_of_ones_own_works_and_any_other_is_refused_by_name(
    launch: Any, certificates: Path, tmp_path: Path
) -> None:
    server = launch(certificates)
    store = server.ready(s3_store(server.settings()))
    for data in (b"small", PACK):
        store.put("key", data)
        assert store.get("key") == data
    assert store.create("key", b"other") is False
    authority(tmp_path / "other", "Another CA")
    for ca_file in (tmp_path / "other/ca.pem", None):
        refused = why(s3_store(server.settings(ca_file=ca_file)))
        assert refused.reason == "CertificateNotTrusted"
        assert "REPRISE_STORE_CA_FILE" in refused.remedy
    assert "REPRISE_STORE_SECURE" in why(s3_store(server.settings(secure=False))).remedy


def test_tls_asked_of_a_server_without_it_is_said(s3_server: Any, s3: S3Store) -> None:
    refused = why(s3_store(s3_server.settings(secure=True)))
    assert refused.reason == "NoTls"
    assert "REPRISE_STORE_SECURE" in refused.remedy


@pytest.mark.parametrize("data", [b"small", PACK], ids=["small", "large"])
@pytest.mark.parametrize("wrong", [{"secret_key": "wrong"}, {"access_key": "nobody"}], ids=["secret", "user"])
def test_wrong_credentials_are_said_and_not_tried_again(s3_server: Any, s3: S3Store, wrong: dict[str, str], data: bytes) -> None:
    began = time.monotonic()
    refused = why(s3_store(s3_server.settings(**wrong, attempts=4)), data)
    assert refused.reason == "CredentialsRefused"
    assert "Secret" in refused.remedy
    assert time.monotonic() - began < 5
    with pytest.raises(StoreUnavailable) as checked:
        s3_store(s3_server.settings(**wrong)).check()
    assert checked.value.reason == "CredentialsRefused"


def test_a_clock_that_is_off_is_told_from_wrong_credentials(s3: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = minio_time.utcnow
    monkeypatch.setattr(minio_time, "utcnow", lambda: now() - dt.timedelta(hours=2))
    assert why(s3).reason == "ClockSkew"


def test_a_bucket_that_vanished_is_said_by_reads_and_made_by_the_next_write(s3: S3Store) -> None:
    s3.put("archives/key", b"x")
    for entry in list(s3.list("")):
        s3.delete(entry.key)
    s3._client.remove_bucket(s3._bucket)
    for read in (lambda: s3.get("archives/key"), lambda: list(s3.list("archives/"))):
        with pytest.raises(StoreUnavailable) as told:
            read()
        assert told.value.reason == "NoBucket"
    s3.put("archives/key", b"y")
    assert s3.get("archives/key") == b"y"


def test_a_server_killed_in_the_middle_of_a_put_leaves_the_old_object_whole(
    own_server: Any, own: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.put("pack", b"before")
    whole = Body.__iter__

    def killing(self: Body) -> Iterator[memoryview]:
        for n, part in enumerate(whole(self)):
            if n == 40:
                own_server.stop()
            yield part

    monkeypatch.setattr(Body, "__iter__", killing)
    with pytest.raises(StoreUnavailable) as lost:
        own.put("pack", PACK)
    assert lost.value.reason == "Unreachable"
    monkeypatch.undo()
    own_server.start()
    own_server.ready(own)
    assert own.get("pack") == b"before"
    own.put("pack", PACK)
    assert own.get("pack") == PACK


def test_a_put_outlives_a_restart_of_the_server(own_server: Any, own: S3Store) -> None:
    patient = s3_store(own_server.settings(attempts=20))
    own_server.stop()
    threading.Timer(1, own_server.start).start()
    for _ in range(100):  # the circuit may open meanwhile: its callers come back
        try:
            patient.put("pack", PACK)
            break
        except StoreUnavailable as error:
            assert error.reason in ("CircuitOpen", "Unreachable", "Throttled", "ServerError", "TimedOut")
            time.sleep(0.5)
    assert patient.get("pack") == PACK


def test_a_store_that_is_away_is_not_asked_for_long_and_asked_again_once_it_is_back(own_server: Any, own: S3Store) -> None:
    own.put("key", b"x")
    own_server.stop()
    reasons = []
    for _ in range(6):
        with pytest.raises(StoreUnavailable) as away:
            own.get("key")
        reasons.append(away.value.reason)
    assert reasons[0] == "Unreachable"
    assert reasons[-1] == "CircuitOpen"
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        own.put("key", PACK)
    assert time.monotonic() - began < 0.1
    own_server.start()
    own_server.ready(own)  # check() asks even so, and closes the circuit
    assert own.get("key") == b"x"


def test_a_server_that_accepts_and_says_nothing_times_out(s3_server: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        store = s3_store(s3_server.settings(endpoint=f"127.0.0.1:{port}", read_timeout_s=0.2, attempts=2))
        assert why(store).reason == "TimedOut"


def test_reads_of_what_never_was_do_not_open_the_circuit(s3: S3Store) -> None:
    for _ in range(20):
        with pytest.raises(NotStored):
            s3.get("nothing")
    s3.put("key", b"x")
