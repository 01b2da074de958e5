"""Whom a state is taken from and given to: by a Secret's headers, and over TLS only by who is signed by the named CA."""

import base64
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kubernetes.aio import client
from reprise.contracts.errors import CheckpointError
from reprise.contracts.state import StateApi
from reprise.runtime.stateapi import Accesses, fetch, hand_over

pytestmark = pytest.mark.component


class Authority:
    """A CA of the user's own."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "shop")])
        self.certificate = self._sign(self.name, self.key.public_key(), ca=True)

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def _sign(self, subject: x509.Name, key: Any, *, ca: bool) -> x509.Certificate:
        day = datetime.timedelta(days=1)
        begin = datetime.datetime.now(datetime.UTC) - day
        names = x509.SubjectAlternativeName([x509.DNSName("app.shop.svc"), x509.IPAddress(ipaddress.ip_address("192.0.2.1"))])
        made = (
            x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(key)
            .serial_number(x509.random_serial_number()).not_valid_before(begin).not_valid_after(begin + 9 * day)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )  # fmt: skip
        return (made if ca else made.add_extension(names, critical=False)).sign(self.key, hashes.SHA256())

    def server(self, folder: Path) -> ssl.SSLContext:
        """For a program that has a certificate of a Service's name, as they have."""
        key = ec.generate_private_key(ec.SECP256R1())
        signed = self._sign(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "app")]), key.public_key(), ca=False)
        secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path = folder / "server.pem"
        path.write_bytes(secret + signed.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


class Api:
    """The API server's Secrets and ConfigMaps, in namespace shop."""

    def __init__(self) -> None:
        self.secrets: dict[str, dict[str, str]] = {}
        self.maps: dict[str, dict[str, str]] = {}
        self.status = 0

    async def read_namespaced_secret(self, name: str, namespace: str, **_: object) -> Any:
        return self._found(self.secrets, name)

    async def read_namespaced_config_map(self, name: str, namespace: str, **_: object) -> Any:
        return self._found(self.maps, name)

    def _found(self, of: dict[str, dict[str, str]], name: str) -> Any:
        if self.status or name not in of:
            raise client.ApiException(status=self.status or 404, reason="no")
        return SimpleNamespace(data=of[name])


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def accesses(api: Api) -> Accesses:
    made = Accesses(client.ApiClient.__new__(client.ApiClient), timeout_s=5)
    made._core = api
    return made


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
async def served(authority: Authority, tmp_path: Path) -> AsyncIterator[tuple[int, list[web.Request]]]:
    """An app behind TLS; the port, and who asked."""
    asked: list[web.Request] = []

    async def state(request: web.Request) -> web.Response:
        asked.append(request)
        await request.read()
        return web.Response(body=b"state")

    app = web.Application()
    app.add_routes([web.get("/state", state), web.post("/state", state)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=authority.server(tmp_path))
    await site.start()
    yield runner.addresses[0][1], asked
    await runner.cleanup()


def over_tls(port: int) -> StateApi:
    return StateApi(path="/state", port=port, scheme="https", ca="trust", headers="token")


async def test_the_state_is_taken_and_given_over_tls_with_the_secrets_headers(
    accesses: Accesses, api: Api, authority: Authority, served: tuple[int, list[web.Request]], tmp_path: Path
) -> None:
    """By the pod's IP, which is no name of the certificate's."""
    port, asked = served
    api.maps["trust"] = {"ca.crt": authority.pem}
    api.secrets["token"] = {"Authorization": base64.b64encode(b"Bearer secret\n").decode()}
    access = await accesses.of(over_tls(port), "shop", "127.0.0.1")
    got = bytearray()
    state = await fetch(access, "", got.extend)
    assert state
    (tmp_path / "state").write_bytes(got)
    await hand_over(access, tmp_path / "state", "text/x-own")
    assert [request.headers["Authorization"] for request in asked] == ["Bearer secret"] * 2
    assert asked[1].headers["Content-Type"] == "text/x-own"


async def test_nothing_goes_to_who_is_signed_by_another(
    accesses: Accesses, api: Api, served: tuple[int, list[web.Request]]
) -> None:
    port, asked = served
    api.maps["trust"] = {"ca.crt": Authority().pem}
    api.secrets["token"] = {"Authorization": base64.b64encode(b"Bearer secret").decode()}
    access = await accesses.of(over_tls(port), "shop", "127.0.0.1")
    with pytest.raises(CheckpointError) as caught:
        await fetch(access, "", lambda _: None)
    assert (caught.value.reason, asked) == ("StateCertificate", [])


async def test_a_secret_that_may_not_be_read_says_how_to_allow_it(accesses: Accesses, api: Api) -> None:
    api.status = 403
    with pytest.raises(CheckpointError) as caught:
        await accesses.of(StateApi(path="/state", port=1, headers="token"), "shop", "10.0.0.1")
    assert caught.value.reason == "StateAccess"
    assert "create role reprise-token --verb=get --resource=secrets --resource-name=token" in caught.value.remedy
    assert "reprise-system:reprise-health-watcher" in caught.value.remedy


async def test_while_the_api_server_is_away_what_was_read_before_does(accesses: Accesses, api: Api) -> None:
    api.secrets["token"] = {"X-Token": base64.b64encode(b"1").decode()}
    wanted = StateApi(path="/state", port=1, headers="token")
    before = await accesses.of(wanted, "shop", "10.0.0.1")
    api.status = 503
    assert (await accesses.of(wanted, "shop", "10.0.0.1")).headers == before.headers == {"X-Token": "1"}
    api.status = 403
    with pytest.raises(CheckpointError):
        await accesses.of(wanted, "shop", "10.0.0.1")


@pytest.mark.parametrize("data", [{}, {"ca.crt": "no certificate"}])
async def test_a_ca_that_is_none_is_told(accesses: Accesses, api: Api, data: dict[str, str]) -> None:
    api.maps["trust"] = data
    with pytest.raises(CheckpointError, match=r"ca\.crt"):
        await accesses.of(StateApi(path="/state", port=1, scheme="https", ca="trust"), "shop", "10.0.0.1")


async def test_a_key_that_is_no_headers_name_is_told(accesses: Accesses, api: Api) -> None:
    api.secrets["token"] = {"not a header": ""}
    with pytest.raises(CheckpointError, match="no header's name"):
        await accesses.of(StateApi(path="/state", port=1, headers="token"), "shop", "10.0.0.1")
