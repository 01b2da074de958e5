"""Whom a state is taken from and given to: by a Secret's headers, and over TLS only by who is signed by the named CA."""

import asyncio
import base64
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
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
from reprise.contracts.errors import CheckpointError, RecoveryError
from reprise.contracts.state import StateApi
from reprise.runtime.stateapi import Accesses, answers, fetch, hand_over

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

    def _sign(self, subject: x509.Name, key: Any, *, ca: bool, ago_days: int = 1) -> x509.Certificate:
        """For nine days."""
        day = datetime.timedelta(days=1)
        begin = datetime.datetime.now(datetime.UTC) - ago_days * day
        names = x509.SubjectAlternativeName([x509.DNSName("app.shop.svc"), x509.IPAddress(ipaddress.ip_address("192.0.2.1"))])
        made = (
            x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(key)
            .serial_number(x509.random_serial_number()).not_valid_before(begin).not_valid_after(begin + 9 * day)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )  # fmt: skip
        return (made if ca else made.add_extension(names, critical=False)).sign(self.key, hashes.SHA256())

    def server(self, folder: Path, ago_days: int = 1) -> ssl.SSLContext:
        """For a program that has a certificate of a Service's name, as they have."""
        key = ec.generate_private_key(ec.SECP256R1())
        signed = self._sign(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "app")]), key.public_key(), ca=False, ago_days=ago_days
        )
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
    made = Accesses(client.ApiClient.__new__(client.ApiClient), timeout_s=20)
    made._core = api
    return made


@pytest.fixture
def authority() -> Authority:
    return Authority()


@asynccontextmanager
async def serving(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]], tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[int, list[web.Request]]]:
    """A real server; the port, and who asked."""
    asked: list[web.Request] = []

    async def state(request: web.Request) -> web.StreamResponse:
        asked.append(request)
        await request.read()
        return await answer(request)

    app = web.Application()
    app.add_routes([web.get("/state", state), web.post("/state", state)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    yield runner.addresses[0][1], asked
    await runner.cleanup()


async def has_a_state(_: web.Request) -> web.Response:
    return web.Response(body=b"state")


@pytest.fixture
async def served(authority: Authority, tmp_path: Path) -> AsyncIterator[tuple[int, list[web.Request]]]:
    """An app behind TLS."""
    async with serving(has_a_state, authority.server(tmp_path)) as found:
        yield found


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
    assert "ConfigMap that reprise.dev/state-ca names" in caught.value.remedy


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """To be posted back."""
    (tmp_path / "state").write_bytes(b"state")
    return tmp_path / "state"


async def test_nothing_is_given_to_who_is_signed_by_another_either(
    accesses: Accesses, api: Api, served: tuple[int, list[web.Request]], state: Path
) -> None:
    """It is tried again: its owner may name the right ones."""
    port, asked = served
    api.maps["trust"], api.secrets["token"] = {"ca.crt": Authority().pem}, {"Authorization": ""}
    with pytest.raises(RecoveryError) as caught:
        await hand_over(await accesses.of(over_tls(port), "shop", "127.0.0.1"), state, "")
    assert (caught.value.reason, caught.value.retryable, asked) == ("StateCertificate", True, [])
    assert "reprise.dev/state-ca" in caught.value.remedy


async def test_a_certificate_that_ran_out_is_told_as_that(
    accesses: Accesses, api: Api, authority: Authority, tmp_path: Path
) -> None:
    api.maps["trust"], api.secrets["token"] = {"ca.crt": authority.pem}, {}
    async with serving(has_a_state, authority.server(tmp_path, ago_days=10)) as (port, asked):
        with pytest.raises(CheckpointError, match="certificate has expired") as caught:
            await fetch(await accesses.of(over_tls(port), "shop", "127.0.0.1"), "", lambda _: None)
    assert (caught.value.reason, asked) == ("StateCertificate", [])
    assert caught.value.remedy.startswith("renew it")
    assert "reprise.dev/state-ca" in caught.value.remedy


async def test_a_port_without_tls_is_told_with_the_scheme_to_look_at(accesses: Accesses, api: Api, authority: Authority) -> None:
    api.maps["trust"], api.secrets["token"] = {"ca.crt": authority.pem}, {}
    async with serving(has_a_state) as (port, _):
        with pytest.raises(CheckpointError) as caught:
            await fetch(await accesses.of(over_tls(port), "shop", "127.0.0.1"), "", lambda _: None)
    assert caught.value.reason == "StateUnreachable"
    assert "reprise.dev/state-scheme" in caught.value.remedy


async def test_a_ca_as_openssl_made_it_for_years_is_trusted(
    accesses: Accesses, api: Api, authority: Authority, served: tuple[int, list[web.Request]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its key's identifier, which Python refuses from 3.13 on unless it is told otherwise."""
    plain = ssl.create_default_context

    def strict(**options: Any) -> ssl.SSLContext:
        context = plain(**options)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)
    api.maps["trust"], api.secrets["token"] = {"ca.crt": authority.pem}, {}
    assert await fetch(await accesses.of(over_tls(served[0]), "shop", "127.0.0.1"), "", lambda _: None)


@pytest.mark.parametrize("tls", [True, False])
async def test_no_redirect_takes_the_state_or_the_secret_to_another_server(
    accesses: Accesses, api: Api, authority: Authority, tmp_path: Path, state: Path, tls: bool
) -> None:
    api.maps["trust"] = {"ca.crt": authority.pem}
    api.secrets["token"] = {"Authorization": base64.b64encode(b"Bearer secret").decode()}
    context = authority.server(tmp_path) if tls else None
    async with serving(has_a_state, context) as (elsewhere, asked_there):

        async def redirects(_: web.Request) -> web.Response:
            return web.Response(status=307, headers={"Location": f"http{'s' if tls else ''}://127.0.0.1:{elsewhere}/state"})

        async with serving(redirects, context) as (port, asked):
            wanted = over_tls(port).model_copy(update={} if tls else {"scheme": "http", "ca": ""})
            access = await accesses.of(wanted, "shop", "127.0.0.1")
            with pytest.raises(CheckpointError, match=f"sends us to .*{elsewhere}") as taken:
                await fetch(access, "", lambda _: None)
            with pytest.raises(RecoveryError, match=f"answers 307 and sends us to .*{elsewhere}") as given:
                await hand_over(access, state, "")
    assert (taken.value.reason, given.value.reason, given.value.retryable) == ("StateRedirect", "StateRefused", False)
    assert (len(asked), asked_there) == (2, [])
    assert not any("secret" in str(vars(caught.value)) for caught in (taken, given))


async def test_of_what_a_program_says_to_a_post_only_the_beginning_is_read(accesses: Accesses, state: Path) -> None:
    async def goes_on_and_on(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(status=400)
        await answer.prepare(request)
        for _ in range(2 << 14):
            await answer.write(b"no " * 20_000)
        return answer

    async with serving(goes_on_and_on) as (port, _):
        access = await accesses.of(StateApi(path="/state", port=port), "shop", "127.0.0.1")
        with pytest.raises(RecoveryError, match="answers 400: no no") as caught:
            await hand_over(access, state, "")
    assert len(caught.value.message) < 400


@pytest.mark.parametrize("what", ["POST", "GET"])
async def test_a_program_that_never_answers_is_asked_again(accesses: Accesses, state: Path, what: str) -> None:
    async def never(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    async with serving(never) as (port, _):
        access = replace(await accesses.of(StateApi(path="/state", port=port), "shop", "127.0.0.1"), timeout_s=0.3)
        with pytest.raises((RecoveryError, CheckpointError), match=what) as caught:
            await (hand_over(access, state, "") if what == "POST" else fetch(access, "", lambda _: None))
        assert caught.value.retryable
        assert not await answers(access)


async def test_a_secret_is_not_quoted_though_it_is_no_headers_value(accesses: Accesses, api: Api) -> None:
    api.secrets["token"] = {"Authorization": base64.b64encode(b"Bearer s3cret\nX: y").decode()}
    with pytest.raises(CheckpointError, match="value of its key 'Authorization' is no header's") as caught:
        await accesses.of(StateApi(path="/state", port=1, headers="token"), "shop", "10.0.0.1")
    assert "s3cret" not in str(vars(caught.value))


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
