"""Who may do what, and what a browser may be made to send: the rules apart from any server."""

import pytest
from fastapi import Depends, FastAPI, Request
from httpx import ASGITransport, AsyncClient
from hypothesis import given
from hypothesis import strategies as st
from reprise.console.access import (
    Denied,
    Granted,
    Right,
    Unavailable,
    Who,
    bearer,
    claims,
    granted,
    inside,
    plausible,
    same_origin,
)
from reprise.console.gate import COOKIE, Gate
from reprise.console.model import asked_at, new_id

GROUPS: Granted = {"read": frozenset({"viewers"}), "operate": frozenset({"operators"})}


def test_who_operates_reads_too_and_who_reads_does_not_operate() -> None:
    for group, role, may in (
        ("operators", "operate", True), ("operators", "read", True), ("viewers", "read", True), ("viewers", "operate", False),
        ("others", "read", False),
    ):  # fmt: skip
        assert granted(Who("ada", frozenset({group})), Right(role), GROUPS) is may  # type: ignore[arg-type]
    assert not granted(Who("ada"), Right("read"), {"read": frozenset(), "operate": frozenset()})
    assert granted(Who("ada"), Right("operate"), {"read": frozenset(), "operate": frozenset({"*"})})


@pytest.mark.parametrize(
    ("origin", "fetch_site", "ours"),
    [
        ("https://c.test", "same-origin", True), ("https://c.test", "", True), ("", "same-origin", True), ("", "", False),
        ("null", "", False), ("https://c.test:8443", "", False), ("https://evil.test", "same-origin", False),
        ("https://c.test", "same-site", False), ("https://c.test.evil.test", "", False),
        ("c.test", "", False), ("", "none", False),
    ],
)  # fmt: skip
def test_a_form_counts_only_from_a_page_of_ours(origin: str, fetch_site: str, ours: bool) -> None:
    assert same_origin("c.test", origin, fetch_site) is ours
    assert not same_origin("", origin, "")


@given(st.text())
def test_whatever_is_asked_for_the_way_back_leads_to_a_page_of_ours(address: str) -> None:
    led = inside(address)
    assert led.startswith("/") and not led.startswith(("//", "/\\")) and led.isprintable()


@given(st.text())
def test_no_text_breaks_what_reads_tokens(text: str) -> None:
    assert isinstance(claims(text), dict)
    assert plausible(text) in (True, False)
    assert isinstance(bearer(text), str)


def test_an_operation_tells_when_it_was_asked_for() -> None:
    first, second = new_id(), new_id()
    assert first != second
    assert abs((asked_at(second) - asked_at(first)).total_seconds()) < 5


class Accounts:
    """Implements ports.Accounts: `x.y.z` is ada's, who may what `rights` says."""

    def __init__(self, *rights: Right) -> None:
        self.rights, self.down = rights, False

    async def identify(self, token: str) -> Who:
        if self.down:
            raise Unavailable("the issuer does not answer")
        if token != "x.y.z":
            raise Denied("this is no token")
        return Who("ada")

    async def allowed(self, _who: Who, right: Right) -> bool:
        return right in self.rights


HERE = Right("operate", "workloads", "default", "counter")


def site(accounts: Accounts | None, *, anonymous: bool) -> AsyncClient:
    """One page to read and one thing to do."""
    gate, made = Gate(accounts, anonymous), FastAPI()

    @made.get("/", dependencies=[Depends(gate.reader)])
    async def read() -> str:
        return "told"

    @made.post("/", dependencies=[Depends(gate.reader)])
    async def act(request: Request) -> str:
        return (await gate.let(request, HERE)).user

    return AsyncClient(transport=ASGITransport(made), base_url="http://c.test")


TOKEN = {"Authorization": "Bearer x.y.z"}
SAME = {"Origin": "http://c.test"}


async def test_a_right_in_one_place_is_enough_there() -> None:
    async with site(Accounts(HERE), anonymous=False) as client:
        assert (await client.post("/", headers=TOKEN)).json() == "ada"
        assert (await client.get("/", headers=TOKEN)).status_code == 403
    async with site(Accounts(Right("read")), anonymous=False) as client:
        assert (await client.post("/", headers=TOKEN)).status_code == 403
        assert (await client.get("/", headers=TOKEN)).status_code == 200


@pytest.mark.parametrize("anonymous", [True, False])
async def test_without_a_token_nothing_is_done_whoever_may_read(anonymous: bool) -> None:
    for accounts in (Accounts(HERE), None):
        async with site(accounts, anonymous=anonymous) as client:
            assert (await client.post("/")).status_code == 401
            assert (await client.post("/", headers={"Authorization": "Bearer a.b.c"})).status_code == 401
            assert (await client.get("/")).status_code == (200 if anonymous else 401)


async def test_a_cookie_acts_only_from_a_page_of_ours() -> None:
    async with site(Accounts(HERE), anonymous=True) as client:
        client.cookies.set(COOKIE, "x.y.z")
        assert (await client.post("/")).status_code == 403
        assert (await client.post("/", headers={"Origin": "http://evil.test"})).status_code == 403
        assert (await client.post("/", headers=SAME)).json() == "ada"


async def test_while_nobody_vouches_nothing_is_done_and_that_is_told() -> None:
    accounts = Accounts(HERE)
    accounts.down = True
    async with site(accounts, anonymous=True) as client:
        assert (await client.post("/", headers=TOKEN)).status_code == 503
        assert (await client.get("/")).status_code == 200
