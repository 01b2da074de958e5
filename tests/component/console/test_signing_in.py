"""Who may see and do what, with a real PostgreSQL and an issuer's real tokens. The cluster is behind its port."""

import asyncio
import io
import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from issuer import URL, Issuer
from reprise.archive.inspection import Inspection
from reprise.archive.inspector import inspect_file
from reprise.archive.tarindex import BadArchive
from reprise.archive.testing import build, members, tasks
from reprise.console.access import Right, Who
from reprise.console.accounts import Issuers, Remembering
from reprise.console.adapters.oidc import OidcAccounts
from reprise.console.app import app
from reprise.console.asking import Asking
from reprise.console.gate import COOKIE, Gate
from reprise.console.ledger import Ledger
from reprise.console.operations import Operations
from reprise.console.ports import OperationError
from reprise.console.stream import Tails
from reprise.console.web.rendering import Pages
from reprise.contracts.events import Event
from reprise.contracts.model import Workload
from reprise.runtime.bus import Bus
from world import World

pytestmark = pytest.mark.component

HOME = "http://console.test"
COUNTER = "/workloads/default/deployment/counter"


class Recorded:
    """Implements ports.Cluster. fails: with this instead."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.fails: OperationError | None = None

    async def checkpoint_now(self, workload: Workload, operation_id: str) -> None:
        self._note("checkpoint", workload.name, operation_id)

    async def move(self, workload: Workload, to: str, operation_id: str) -> None:
        self._note("move", workload.name, to, operation_id)

    async def restore(self, workload: Workload, checkpoint_id: str, operation_id: str) -> None:
        self._note("restore", workload.name, checkpoint_id, operation_id)

    async def cordon(self, node: str, cordoned: bool) -> None:
        self._note("cordon", node, cordoned)

    def _note(self, *what: Any) -> None:
        if self.fails:
            raise self.fails
        self.asked.append(what)


class Inspected:
    """Implements ports.Inspections: of every checkpoint but `pruned` the same archive."""

    async def inspect(self, workload: Workload, container: str, checkpoint_id: str) -> Inspection | None:
        if checkpoint_id == "damaged":
            raise BadArchive("it ends early", subject=checkpoint_id, remedy="run `reprise store check`")
        contents = members() | tasks(1, 7)
        return None if checkpoint_id == "pruned" else inspect_file(io.BytesIO(build(contents)), checkpoint_id)


class Setting:
    """A console's application over its ledger, told of the world; what it publishes goes into the ledger at once."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self.issuer, self.cluster, self.connected = ledger, Issuer(), Recorded(), True
        groups = {"read": frozenset({"viewers"}), "operate": frozenset({"operators"})}
        http = httpx.AsyncClient(transport=httpx.ASGITransport(self.issuer.app))
        self.accounts = Remembering(Issuers({URL: OidcAccounts(http, URL, "reprise-console", groups)}, None))

    def client(self, *, anonymous: bool = True, **options: Any) -> httpx.AsyncClient:
        gate = Gate(self.accounts, anonymous)
        asking = Asking(gate, self.ledger, Operations(self._publish, self.cluster))
        pages = Pages(lambda: True, "", operable=asking.able, inspects=True)
        made = app(self.ledger, Tails(Bus("", "test")), pages, gate, asking, inspections=Inspected())
        return httpx.AsyncClient(transport=httpx.ASGITransport(made), base_url=HOME, **options)

    async def _publish(self, event: Event, _name: str) -> None:
        if not self.connected:
            raise TimeoutError
        await self.ledger.record(event)


@pytest.fixture
async def ledger(database: Callable[[str], str]) -> AsyncIterator[Ledger]:
    found = Ledger(database("signing_in"))
    await found.open()
    await found.migrate()
    world = World(datetime.now(UTC))
    for event, trace in [*world.counter()][-40:]:
        await found.record(event, trace)
    yield found
    await found.close()


@pytest.fixture
async def setting(ledger: Ledger) -> Setting:
    return Setting(ledger)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def sign_in(client: httpx.AsyncClient, token: str, following: str = "/") -> httpx.Response:
    return await client.post("/login", data={"token": token, "next": following}, headers={"Origin": HOME})


FORM = {"id": "op-" + "0" * 26}


async def change(client: httpx.AsyncClient, address: str, headers: dict[str, str] | None = None) -> httpx.Response:
    """REST takes JSON, or nothing; a page's form is one."""
    return await client.post(address, data=None if address.startswith("/api/") else FORM, headers=headers)


EVERY_CHANGE = (
    "/api/v1/workloads/default/deployment/counter/checkpoint", "/api/v1/workloads/default/deployment/counter/move",
    "/api/v1/nodes/n2/drain", "/api/v1/nodes/n2/undrain", f"{COUNTER}/checkpoint", f"{COUNTER}/move", "/nodes/n2/drain",
    "/nodes/n2/undrain", "/api/v1/workloads/default/deployment/counter/checkpoints/20261124/restore",
    f"{COUNTER}/checkpoints/20261124/restore",
)  # fmt: skip


async def test_nothing_changes_state_without_a_token_that_may_operate(setting: Setting) -> None:
    async with setting.client() as client:
        for address in EVERY_CHANGE:
            assert (await change(client, address)).status_code == 401, address
            reads = bearer(setting.issuer.token("bob", "viewers"))
            assert (await change(client, address, reads)).status_code == 403, address
    assert not setting.cluster.asked
    assert not await setting.ledger.query("operations", {}, 10)


async def test_every_route_of_rest_that_changes_anything_is_in_that_list(setting: Setting) -> None:
    async with setting.client() as client:
        paths = (await client.get("/api/v1/openapi.json")).json()["paths"]
    changing = {path for path, methods in paths.items() if methods.keys() - {"get"}}
    forms = [re.compile(re.sub(r"{\w+}", "[^/]+", path)) for path in changing]
    assert len(changing) == 4
    assert all(any(form.fullmatch(each) for each in EVERY_CHANGE) for form in forms)


BAD: dict[str, Callable[[Issuer], str]] = {
    "expired": lambda issuer: issuer.token("ada", "operators", lives_s=-60),
    "meant for another": lambda issuer: issuer.token("ada", "operators", aud="other"),
    "of another issuer": lambda issuer: issuer.token("ada", "operators", iss="https://evil.test"),
    "signed by an unknown key": lambda _: Issuer().token("ada", "operators", name="k9"),
    "signed by a stranger in a known key's name": lambda _: Issuer().token("ada", "operators"),
    "unsigned": lambda issuer: ".".join((*issuer.token("ada", "operators").split(".")[:2], "")),
    "no token": lambda _: "password",
    "without an end": lambda issuer: issuer.token("ada", "operators", exp=None),
}


@pytest.mark.parametrize("kind", BAD)
async def test_a_token_that_does_not_count_is_refused(setting: Setting, kind: str) -> None:
    async with setting.client() as client:
        answer = await client.post(EVERY_CHANGE[0], headers=bearer(BAD[kind](setting.issuer)))
        page = await sign_in(client, BAD[kind](setting.issuer))
    assert answer.status_code == page.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert COOKIE not in page.cookies and 'role="alert"' in page.text


async def test_what_is_asked_for_is_begun_once_told_as_an_event_and_shown_with_who_asked(setting: Setting) -> None:
    token = setting.issuer.token("ada", "operators")
    async with setting.client(headers=bearer(token)) as client:
        begun = (await client.post(EVERY_CHANGE[0])).json()["id"]
        moved = (await client.post(EVERY_CHANGE[1], json={"to": "n3"})).json()["id"]
        await client.post("/api/v1/nodes/n2/drain")
        listed = (await client.get("/api/v1/operations")).json()
        page = (await client.get(COUNTER)).text
    assert setting.cluster.asked == [("checkpoint", "counter", begun), ("move", "counter", "n3", moved), ("cordon", "n2", True)]
    assert [(row["operation"], row["by_user"], row["to_node"]) for row in listed] == [
        ("drain", "ada", None), ("move", "ada", "n3"), ("checkpoint", "ada", None)]  # fmt: skip
    assert "Asked for" in page and "to n3" in page
    told = await setting.ledger.query("events", {"type": "operation.requested"}, 10)
    assert {row["data"]["operation_id"] for row in told} >= {begun, moved}


async def test_a_restore_is_asked_for_from_a_good_checkpoint_and_says_what_is_given_up(setting: Setting) -> None:
    token = setting.issuer.token("ada", "operators")
    async with setting.client(headers=bearer(token)) as client:
        good, *_ = (await client.get("/api/v1/checkpoints", params={"state": "stored", "workload": "counter"})).json()
        chosen = good["checkpoint_id"]
        assert (await client.post(f"/api/v1{COUNTER}/checkpoints/nosuch/restore")).status_code == 404
        assert (await client.get(f"{COUNTER}/checkpoints/nosuch/restore")).status_code == 404
        begun = (await client.post(f"/api/v1{COUNTER}/checkpoints/{chosen}/restore")).json()["id"]
        (listed,) = (await client.get("/api/v1/operations")).json()
        page = (await client.get(COUNTER)).text
    assert setting.cluster.asked == [("restore", "counter", chosen, begun)]
    assert (listed["operation"], listed["checkpoint_id"], listed["to_node"]) == ("restore", chosen, None)
    assert f'from <code class="id">{chosen}' in page

    async with setting.client() as client:
        await sign_in(client, token)
        page = (await client.get(COUNTER)).text
        link = re.search(rf'href="({COUNTER}/checkpoints/{chosen}/restore)"', page)
        assert link
        assert not re.search(r'="[^"<>]*<', page), "an element in an attribute"
        question = await client.get(link[1])
        assert "Restore counter from this checkpoint?" in question.text and "What it did since then is given up" in question.text
        name = re.search(r'name="id" value="(op-\w+)"', question.text)
        assert name
        await client.post(link[1], data={"id": name[1]}, headers={"Origin": HOME})
    assert setting.cluster.asked[1:] == [("restore", "counter", chosen, name[1])]


async def test_who_may_operate_in_one_namespace_does_so_there_only(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a RoleBinding gives it: such a one may not even read elsewhere."""

    async def allowed(_who: Who, right: Right) -> bool:
        return right.namespace == "default"

    monkeypatch.setattr(setting.accounts, "allowed", allowed)
    async with setting.client(headers=bearer(setting.issuer.token("bob"))) as client:
        assert (await client.post(EVERY_CHANGE[0])).status_code == 202
        assert (await client.post("/api/v1/nodes/n2/drain")).status_code == 403
        assert (await client.post("/api/v1/workloads/shop/deployment/cart/move")).status_code == 403


async def test_a_browser_signs_in_is_asked_and_agrees(setting: Setting) -> None:
    token = setting.issuer.token("ada", "operators")
    async with setting.client() as client:
        asked = await client.get(f"{COUNTER}/move")
        assert asked.status_code == 303
        login = urlsplit(asked.headers["location"])
        following = parse_qs(login.query)["next"][0]
        entered = await sign_in(client, token, following)
        cookie = entered.headers["set-cookie"]
        assert entered.headers["location"] == f"{COUNTER}/move"
        assert "HttpOnly" in cookie and "SameSite=lax" in cookie
        question = await client.get(f"{COUNTER}/move")
        assert "Move counter to another node?" in question.text and "<b>ada</b>" in question.text
        name = re.search(r'name="id" value="(op-\w+)"', question.text)
        assert name and not setting.cluster.asked
        for _ in range(2):  # a button pressed twice
            agreed = await client.post(f"{COUNTER}/move", data={"id": name[1], "to": "n3"}, headers={"Origin": HOME})
            assert (agreed.status_code, agreed.headers["location"]) == (303, f"{COUNTER}#asked")
        assert set(setting.cluster.asked) == {("move", "counter", "n3", name[1])}
        assert len(await setting.ledger.query("operations", {}, 10)) == 1
        await client.post("/logout", headers={"Origin": HOME})
        assert (await client.get(f"{COUNTER}/move")).status_code == 303


async def test_a_statefulset_is_moved_like_a_deployment(setting: Setting) -> None:
    for event, trace in [*World(datetime.now(UTC)).plc()][-40:]:
        await setting.ledger.record(event, trace)
    address = "/workloads/factory/statefulset/plc-gateway"
    async with setting.client(headers=bearer(setting.issuer.token("ada", "operators"))) as client:
        answer = await client.post(f"/api/v1{address}/move", json={"to": "n2"})
        assert answer.status_code == 202, answer.text
    assert set(setting.cluster.asked) == {("move", "plc-gateway", "n2", answer.json()["id"])}
    async with setting.client() as client:
        await sign_in(client, setting.issuer.token("ada", "operators"))
        assert f'href="{address}/move"' in (await client.get(address)).text
        assert "the next pod of its name goes on from there" in (await client.get(f"{address}/move")).text


async def test_a_form_on_somebody_elses_page_does_nothing(setting: Setting) -> None:
    async with setting.client() as client:
        await sign_in(client, setting.issuer.token("ada", "operators"))
        for headers in (
            {"Origin": "http://evil.test"}, {"Origin": "null"}, {}, {"Origin": HOME, "Sec-Fetch-Site": "cross-site"},
            {"Origin": "http://console.test:81"}, {"Sec-Fetch-Site": "same-site"},
        ):  # fmt: skip
            for address in EVERY_CHANGE:
                assert (await change(client, address, headers)).status_code == 403
        forged = await client.post("/login", data={"token": setting.issuer.token("eve")}, headers={"Origin": "http://evil.test"})
        assert forged.status_code == 403
    assert not setting.cluster.asked


async def test_signing_in_leads_to_no_other_site(setting: Setting) -> None:
    token = setting.issuer.token("ada", "viewers")
    async with setting.client() as client:
        for elsewhere in ("https://evil.test/", "//evil.test/", "/\\evil.test", "javascript:alert(1)", "\r\nX: y"):
            assert (await sign_in(client, token, elsewhere)).headers["location"] == "/"


async def test_reading_needs_a_token_where_anonymous_may_not(setting: Setting) -> None:
    async with setting.client(anonymous=False) as client:
        page, rest, stream = await client.get("/"), await client.get("/api/v1/events"), await client.get("/api/v1/events/stream")
        assert (page.status_code, rest.status_code, stream.status_code) == (303, 401, 401)
        assert (await client.get("/static/console.css")).status_code == 200
        stranger = bearer(setting.issuer.token("eve"))
        assert (await client.get("/api/v1/events", headers=stranger)).status_code == 403
        reader = bearer(setting.issuer.token("bob", "viewers"))
        assert (await client.get("/api/v1/events", headers=reader)).status_code == 200


async def test_a_cookie_that_expired_reads_as_nobody_and_a_bad_bearer_is_told(setting: Setting) -> None:
    old = setting.issuer.token("ada", "operators", lives_s=-60)
    async with setting.client(cookies={COOKIE: old}) as client:
        page = await client.get("/")
        assert page.status_code == 200 and "Sign in" in page.text
    async with setting.client(headers=bearer(old)) as client:
        assert (await client.get("/api/v1/events")).status_code == 401


async def test_a_new_key_of_the_issuer_is_found_and_strangers_do_not_make_us_ask_it(setting: Setting) -> None:
    async with setting.client() as client:
        for _ in range(5):
            await client.post(EVERY_CHANGE[0], headers=bearer(Issuer().token("eve", name="unknown")))
        assert setting.issuer.asked == 1
        accounts = setting.accounts._accounts._named[URL]  # type: ignore[attr-defined]
        setting.issuer.rotate("k2")
        accounts._tried_s = float("-inf")  # ten seconds later
        assert (await client.post(EVERY_CHANGE[0], headers=bearer(setting.issuer.token("ada", "operators")))).status_code == 202


async def test_an_issuer_that_does_not_answer_is_told_and_lets_nobody_in(setting: Setting) -> None:
    setting.issuer.down = True
    async with setting.client() as client:
        answer = await client.post(EVERY_CHANGE[0], headers=bearer(setting.issuer.token("ada", "operators")))
        assert answer.status_code == 503 and URL in answer.json()["detail"]
        assert (await client.get("/")).status_code == 200
    assert not setting.cluster.asked


async def test_what_cannot_be_told_is_not_done(setting: Setting) -> None:
    setting.connected = False
    async with setting.client(headers=bearer(setting.issuer.token("ada", "operators"))) as client:
        answer = await client.post(EVERY_CHANGE[0])
    assert answer.status_code == 503 and "nothing was done" in answer.json()["detail"]
    assert not setting.cluster.asked


async def test_what_could_not_be_begun_is_told_with_its_reason(setting: Setting) -> None:
    setting.cluster.fails = OperationError("it is not there any more", reason="NotFound", subject="node n2", remedy="nothing")
    async with setting.client(headers=bearer(setting.issuer.token("ada", "operators"))) as client:
        answer = await client.post("/api/v1/nodes/n2/drain")
        assert answer.status_code == 409 and "not there any more" in answer.json()["detail"]
        row = (await client.get("/api/v1/operations")).json()[0]
    assert (row["state"], row["reason"], row["by_user"]) == ("refused", "NotFound", "ada")


async def test_workloads_that_the_cluster_does_not_protect_any_more_leave_the_overview(setting: Setting) -> None:
    ledger, world = setting.ledger, World(datetime.now(UTC))
    for event, trace in [*world.lobby()][-8:]:  # four minutes ago
        await ledger.record(event, trace)
    counter = Workload(namespace="default", name="counter")
    async with setting.client() as client:
        await ledger.protected({counter: ()})
        page, gone = (await client.get("/")).text, (await client.get("/?gone=1")).text
        assert "lobby" not in page.partition("What happened last")[0] and "1 not protected any more" in page
        assert "lobby" in gone and "counter</a>" not in gone.partition("What happened last")[0]
        assert (await client.get("/workloads/games/deployment/lobby")).status_code == 200
        assert [row["workload"] for row in (await client.get("/api/v1/workloads")).json()] == ["counter"]
        assert [row["health"] for row in (await client.get("/api/v1/workloads?gone=1")).json()] == ["gone"]
        signed = bearer(setting.issuer.token("ada", "operators"))
        refused = await client.post("/api/v1/workloads/games/deployment/lobby/checkpoint", headers=signed)
        assert refused.status_code == 404
        await ledger.protected({counter: (), Workload(namespace="games", name="lobby"): ("other",)})  # another container
        assert len((await client.get("/api/v1/workloads")).json()) == 1
        await ledger.protected({counter: (), Workload(namespace="games", name="lobby"): ("lobby",)})
        assert len((await client.get("/api/v1/workloads")).json()) == 2
        await ledger.protected({})  # counter was heard of a moment ago: the listing may be behind
        assert [row["workload"] for row in (await client.get("/api/v1/workloads")).json()] == ["counter"]


async def test_what_a_checkpoint_holds_is_shown_to_who_has_a_token_and_to_nobody_else(setting: Setting) -> None:
    page = f"{COUNTER}/checkpoints/20261124t101112123-1a2b3c4d5e?container=counter"
    async with setting.client() as client:  # anybody may read the ledger
        assert (await client.get(page)).status_code == 303
        assert (await client.get(page, headers=bearer(setting.issuer.token("eve")))).status_code == 403
        reads = bearer(setting.issuer.token("bob", "viewers"))
        found = await client.get(page, headers=reads)
        assert found.status_code == 200
        for text in ("What a checkpoint holds", "Processes", "Open files", "Sockets", "CRIU&#39;s log"):
            assert text in found.text or text.replace("&#39;", "'") in found.text
        gone = await client.get(f"{COUNTER}/checkpoints/pruned?container=counter", headers=reads)
        assert gone.status_code == 404 and "is stored any more" in gone.text
        bad = await client.get(f"{COUNTER}/checkpoints/damaged?container=counter", headers=reads)
        assert bad.status_code == 422 and "it ends early" in bad.text
        assert f"{COUNTER}/checkpoints/" in (await client.get(COUNTER)).text


async def test_many_at_once_are_asked_about_once_each(setting: Setting) -> None:
    """What is remembered is by token: no answer is ever another's."""
    tokens = [setting.issuer.token(f"user-{n}", "operators" if n % 2 else "viewers") for n in range(8)]
    async with setting.client() as client:
        answers = await asyncio.gather(*(client.post(EVERY_CHANGE[0], headers=bearer(t)) for t in tokens * 3))
    assert [a.status_code for a in answers] == [202 if n % 2 else 403 for n in range(8)] * 3
