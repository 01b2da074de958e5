"""What NATS lets each user do: a real server, with TLS, accounts and users as an installation has them."""

import asyncio
import contextlib
import re
import shutil
import ssl
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nats
import nats.errors
import pytest
import yaml
from nats.aio.client import Client
from nats.js.api import ConsumerConfig
from nats.js.errors import NotFoundError
from reprise.cli.adapters.stream import NatsStream
from reprise.contracts import events, examples, subjects
from reprise.contracts.errors import RepriseError
from reprise.contracts.events import Event
from reprise.contracts.records import Checkup, Fence, Question
from reprise.runtime import checkup
from reprise.runtime.access import client as access
from reprise.runtime.access import install, rights
from reprise.runtime.access.authority import OWNER, Authority
from reprise.runtime.bus import Bus, Delivery, Relay
from reprise.runtime.election import Leadership
from reprise.runtime.kv import Bucket

pytestmark = pytest.mark.component

SERVERS = Path(__file__).parents[2] / "deploy/overlays/production/servers/nats.yaml"
DENIED = re.compile("authorization", re.IGNORECASE)
SERVICES = ("scheduler", "restorer", "arbiter", "console", "webhook", "reader")
USERS = (*SERVICES, "n1", "n2")
"""Each service's user has its role's name; n1 and n2 are the agents of two nodes."""

MAY_EMIT = {
    "checkpoint.due": {"scheduler", "restorer", "n1"},
    "checkpoint.taken": {"n1"},
    "checkpoint.failed": {"n1"},
    "checkpoint.skipped": {"n1"},
    "checkpoint.paused": {"scheduler"},
    "checkpoint.stored": {"n1"},
    "checkpoint.staged": {"n1"},
    "standby.refused": {"n1", "restorer"},
    "checkpoint.pruned": {"n1"},
    "image.built": {"restorer"},
    "failover.declared": {"restorer", "arbiter", "n1"},
    "failover.started": {"restorer"},
    "failover.holding": {"restorer"},
    "failover.fenced": {"restorer"},
    "failover.released": {"restorer"},
    "failover.restored": {"restorer"},
    "failover.completed": {"restorer"},
    "failover.abandoned": {"restorer"},
    "failover.delayed": {"restorer"},
    "container.ended": {"n1"},
    "container.restored": {"n1"},
    "operation.requested": {"console"},
    "operation.refused": {"console"},
    "node.lost": {"arbiter"},
    "node.suspected": {"arbiter"},
    "node.postponed": {"arbiter"},
    "node.isolated": {"n1"},
    "node.returned": {"n1"},
    "node.guarded": {"n1"},
    "node.unguarded": {"n1"},
}
"""About node n1: nothing of it is for n2 to say."""

MAY_WRITE = {
    "leases/node.n1": {"n1", "arbiter"},
    "leases/arbiter.n1": {"arbiter"},
    "brake/account": {"arbiter"},
    "elections/arbiter": {"arbiter"},
    "elections/scheduler": {"scheduler"},
    "elections/leftovers": {"restorer"},
    "nodes/n1": {"n1"},
    "starts/c1": {"n1", "n2", "restorer"},
    "fences/u1": {"n1", "n2", "restorer"},
    "holds/h1": {"n1", "n2", "restorer"},
    "resumes/shop.cart-0": {"restorer"},
    "wanted/w1": {"restorer"},
    "failovers/f1": {"restorer"},
    "requests/r1": {"restorer"},
    "standby/s1": {"restorer"},
    "recoveries/r1": {"restorer"},
    "newest/n1": {"scheduler", "restorer"},
    "schedule/s1": {"scheduler"},
    "harms/h1": {"scheduler"},
    "annotations/all": {"scheduler"},
    "webhooks/w1": {"webhook"},
}


@dataclass
class World:
    """A server, and the folder of each user's credentials."""

    port: int
    folder: Path
    clients: list[Client] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"tls://127.0.0.1:{self.port}"

    async def connect(self, user: str) -> tuple[Client, list[str]]:
        """And what the server refuses it."""
        refused: list[str] = []

        async def told(error: Exception) -> None:
            refused.append(str(error))

        options = access.options(self.url, self.folder / user)
        found = await nats.connect(self.url, error_cb=told, allow_reconnect=False, **options)
        self.clients.append(found)
        return found, refused

    async def attempts(self, user: str, *wanted: str) -> set[str]:
        """Those subjects of the wanted that it may publish to."""
        client, refused = await self.connect(user)
        for subject in wanted:
            await client.publish(subject, b"")
        await client.flush()
        await asyncio.sleep(0.1)
        return {subject for subject in wanted if not any(f'"{subject}"'.lower() in error.lower() for error in refused)}


def command(folder: Path, port: int) -> list[str]:
    """NATS with the configuration of deploy/ and what `reprise credentials` makes; only where it listens and writes differs."""
    authority = Authority(folder / "authority")
    made = {each["metadata"]["name"]: each["stringData"] for each in install.secrets(authority, "reprise-system")["items"]}
    for name, text in made["reprise-nats"].items():
        (folder / name).write_text(text)
    for service in SERVICES:
        (folder / service).mkdir()
        for name, text in made[f"reprise-nats-{service}"].items():
            (folder / service / name).write_text(text)
    for node in ("n1", "n2"):
        install.furnish(authority, node, folder / node)
    [config] = [each for each in yaml.safe_load_all(SERVERS.read_text()) if each["kind"] == "ConfigMap"]
    alone = config["data"]["nats.conf"].partition("# Whoever is let in here")[0].replace("http: 8222", "")
    told = alone.replace("$POD_NAME", "nats").replace("/etc/nats", str(folder)).replace("/data", f"{folder}/data")
    (folder / "nats.conf").write_text(f"listen: 127.0.0.1:{port}\n{told}")
    return [str(Path(sys.executable).parent / "nats-server"), "-c", str(folder / "nats.conf")]


def issue(authority: Authority, folder: Path, role: str, name: str) -> None:
    folder.mkdir()
    for file, text in authority.user(role, name).items():
        (folder / file).write_text(text)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, serve: Any) -> World:
    folder = tmp_path_factory.mktemp("rights")
    return World(serve(folder, command).port, folder)


@pytest.fixture
async def world(running: World) -> AsyncIterator[World]:
    yield running
    for each in running.clients:
        await each.close()
    running.clients.clear()


@contextlib.asynccontextmanager
async def bus_of(world: World, user: str) -> AsyncIterator[Bus]:
    bus = Bus(world.url, f"reprise/{user}", credentials=world.folder / user)
    await asyncio.wait_for(bus.connect(), 10)
    try:
        yield bus
    finally:
        await bus.drain(2)


def told(event: str, node: str = "n1") -> str:
    return f"reprise.v1.{event}.{node}.shop.cart"


async def test_nobody_gets_in_without_credentials(world: World) -> None:
    """A pod of any tenant reaches the port."""
    context = ssl.create_default_context(cafile=str(world.folder / "n1" / access.CA))
    for options in ({"tls": context}, {"tls": context, "user": "restorer", "password": "restorer"}):
        with pytest.raises(nats.errors.Error, match=DENIED):
            await nats.connect(world.url, allow_reconnect=False, **options)


async def test_nobody_gets_in_with_credentials_of_another_authority(world: World, tmp_path: Path) -> None:
    issue(Authority(tmp_path / "other"), tmp_path / "restorer", "restorer", "restorer")
    shutil.copy(world.folder / "n1" / access.CA, tmp_path / "restorer" / access.CA)
    with pytest.raises(nats.errors.Error, match=DENIED):
        await nats.connect(world.url, allow_reconnect=False, **access.options(world.url, tmp_path / "restorer"))


async def test_a_server_with_a_certificate_of_another_authority_is_not_talked_to(world: World, tmp_path: Path) -> None:
    issue(Authority(tmp_path / "other"), tmp_path / "restorer", "restorer", "restorer")
    with pytest.raises(ssl.SSLCertVerificationError):
        await nats.connect(world.url, allow_reconnect=False, **access.options(world.url, tmp_path / "restorer"))


async def test_nothing_is_spoken_in_plain_text(world: World) -> None:
    """The server answers none; and away from loopback no service of ours would speak it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    await reader.readline()
    writer.write(b"CONNECT {}\r\nPING\r\n")
    with contextlib.suppress(ConnectionError):
        assert b"PONG" not in await reader.read()
    writer.close()
    with pytest.raises(access.NoCredentials):
        access.options("nats://nats.reprise-system:4222", world.folder / "nobody")


@pytest.mark.parametrize("user", USERS)
async def test_an_event_is_published_by_those_whose_it_is_and_nobody_else(world: World, user: str) -> None:
    assert set(MAY_EMIT) == set(events.BY_TYPE)
    wanted = {told(event): event for event in MAY_EMIT}
    assert {wanted[subject] for subject in await world.attempts(user, *wanted)} == {
        event for event, users in MAY_EMIT.items() if user in users
    }


@pytest.mark.parametrize("user", USERS)
async def test_a_record_is_written_by_those_whose_it_is_and_nobody_else(world: World, user: str) -> None:
    wanted = {f"$KV.{name.replace('/', '.', 1)}": name for name in MAY_WRITE}
    assert {wanted[subject] for subject in await world.attempts(user, *wanted)} == {
        name for name, users in MAY_WRITE.items() if user in users
    }


@pytest.mark.parametrize("user", USERS)
async def test_nobody_destroys_a_stream_or_reads_raw_values_out_of_one(world: World, user: str) -> None:
    verbs = ("DELETE", "PURGE", "MSG.DELETE", "SNAPSHOT", "RESTORE")
    wanted = [f"$JS.API.STREAM.{verb}.{name}" for verb in verbs for name in ("REPRISE", "REPRISE_DEAD", "KV_fences")]
    wanted += ["$JS.API.DIRECT.GET.KV_fences.$KV.fences.u1", "$JS.API.DIRECT.GET.REPRISE", "$JS.API.STREAM.CREATE.MINE"]
    assert await world.attempts(user, *wanted) == set()


@pytest.mark.parametrize("user", ["n1", "arbiter", "console", "webhook", "reader"])
async def test_only_scheduler_and_restorer_may_amend_a_stream(world: World, user: str) -> None:
    """Who may could have the stream forget what it holds, or repeat it elsewhere."""
    wanted = [f"$JS.API.STREAM.UPDATE.{name}" for name in ("REPRISE", "REPRISE_DEAD", "KV_fences", "KV_leases")]
    assert await world.attempts(user, *wanted) == set()


async def test_a_node_takes_no_event_off_anothers_consumer(world: World) -> None:
    others = ("watcher-n2", "transfer-n2", "restorer-failovers", "console", "scheduler-outcomes")
    verbs = ("MSG.NEXT", "DELETE", "DURABLE.CREATE", "INFO")
    wanted = [f"$JS.API.CONSUMER.{verb}.REPRISE.{name}" for verb in verbs for name in others]
    wanted += [f"$JS.ACK.REPRISE.{name}.1.2.3.4.5" for name in others] + ["$JS.API.CONSUMER.CREATE.REPRISE.mine"]
    assert await world.attempts("n1", *wanted) == set()


@pytest.mark.parametrize(
    ("user", "subject"),
    [("n1", "reprise-ask.v1.health.n2"), ("n1", "_INBOX.restorer.>"), ("n1", "reprise.v1.>"), ("n1", "$KV.>"), ("n1", ">"),
     ("reader", "_INBOX.>"), ("webhook", "_INBOX.console.>"), ("restorer", "reprise-ask.v1.health.n1")],
)  # fmt: skip
async def test_nobody_listens_to_what_is_meant_for_another(world: World, user: str, subject: str) -> None:
    client, refused = await world.connect(user)
    await client.subscribe(subject)
    await client.flush()
    await asyncio.sleep(0.1)
    assert len(refused) == 1, refused


async def test_a_forged_failover_is_refused_whichever_way_it_is_published(world: World) -> None:
    """The server writes answers where its caller says, and does not check the subject: none of them makes an event."""
    subject, payload, _ = examples.published(events.FailoverReleased)
    async with bus_of(world, "restorer") as restorer, bus_of(world, "n2") as node:
        seen: list[Event] = []

        async def see(event: Event) -> None:
            seen.append(event)

        restorer.subscribe("restorer-failovers", events.FailoverReleased, see)
        task = asyncio.create_task(restorer.run())
        forger = node.jetstream
        staged = told("checkpoint.staged", "n2")
        await forger.publish(staged, payload)  # its own subject: what it holds is its own affair
        await Bucket(node, "starts", Fence).put("forged", Fence(pod_uid="u", holder="nobody"))
        await forger.publish("$KV.starts.forged", payload)
        config = ConsumerConfig(durable_name="watcher-staged-n2", filter_subject=staged)
        await forger.add_consumer(subjects.STREAM, config)
        client, refused = await world.connect("n2")
        await client.publish(subject, payload)
        told_as = subject.encode()
        for call, question in (
            ("CONSUMER.MSG.NEXT.REPRISE.watcher-staged-n2", b""),
            ("STREAM.MSG.GET.KV_starts", b'{"last_by_subj": "$KV.starts.forged"}'),
            ("DIRECT.GET.KV_starts.$KV.starts.forged", b""),
            ("STREAM.INFO.REPRISE", b""),
            ("CONSUMER.CREATE.KV_starts", b'{"stream_name": "KV_starts", "config": {"deliver_subject": "%s"}}' % told_as),
        ):
            await client.publish(f"$JS.API.{call}", question, reply=subject)
        await client.publish(staged, payload, reply=subject)
        await client.flush()
        await restorer.publish(examples.example(events.FailoverReleased), dedup_id="real")
        async with asyncio.timeout(10):
            while not seen:
                await asyncio.sleep(0.05)
        await asyncio.sleep(1)
        task.cancel()
        assert len(seen) == 1, "a forged one came through"
        assert any("failover.released" in error for error in refused)


async def test_a_questioned_node_answers_only_into_the_inboxes_of_who_asks(world: World) -> None:
    """Were it let to answer wherever it is asked to, it could ask itself."""
    allowed = await world.attempts("n1", "_INBOX.restorer.x", "_INBOX.n1.x", "_INBOX.n2.x", "_INBOX.console.x")
    assert allowed == {"_INBOX.restorer.x", "_INBOX.n1.x"}


async def test_the_health_of_a_container_is_asked_of_its_node(world: World) -> None:
    async def healthy(_: bytes) -> bytes:
        return Checkup(healthy=True, detail="it serves").model_dump_json().encode()

    async with bus_of(world, "n1") as agent, bus_of(world, "n1") as checkpointer, bus_of(world, "restorer") as restorer:
        agent.answer(checkup.subject("n1"), healthy)
        task = asyncio.create_task(agent.run())
        await asyncio.sleep(0.5)
        for asker in (checkpointer, restorer):
            assert (await checkup.ask(asker, "n1", Question(pod_uid="u", container="app"))).healthy
        task.cancel()


ROLE = dict.fromkeys(("n1",), "agents") | {service: service for service in SERVICES if service != "reader"}


@pytest.mark.parametrize("user", ROLE)
async def test_each_service_can_do_all_that_it_does(world: World, user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the bus and the buckets themselves, with the names in the table: whatever they call of JetStream is allowed."""
    refused: list[str] = []

    async def note(error: Exception) -> None:
        refused.append(str(error))

    monkeypatch.setattr("reprise.runtime.bus._on_error", note)
    role, seen = rights.ROLES[ROLE[user]], asyncio.Event()

    async def handle(_: Event) -> None:
        seen.set()

    async with bus_of(world, user) as bus:
        for consumer in role.consumers:
            bus.subscribe(consumer.replace(rights.NODE, user), events.ALL, handle)
        if role.observes:
            bus.observe("onlooker", events.ALL, lambda _: seen.set())
        task = asyncio.create_task(bus.run())
        for event in role.emits:
            made = examples.example(event)
            await bus.publish(made.model_copy(update={"node": "n1"}), dedup_id=f"{user}-{event.TYPE}")
        if role.emits and (role.consumers or role.observes):
            await asyncio.wait_for(seen.wait(), 10)
        for written in (*role.writes, *role.reads):
            name, _, key = written.partition("/")
            bucket, key = Bucket(bus, name, Leadership), (key or "some.key").replace(rights.NODE, user).replace("*", "n1")
            assert await bucket.get("nobody") is None
            if written in role.writes:
                revision = await bucket.put(key, Leadership(holder=user))
                assert await bucket.update(key, Leadership(holder=user), revision)
                assert key in await bucket.keys()
                first = await asyncio.wait_for(anext(bucket.watch(5)), 5)
                assert first.value
        for consumer in role.consumers:
            await bus.rewind(consumer.replace(rights.NODE, user))
        task.cancel()
    assert refused == []


async def test_the_webhook_follows_events_by_a_consumer_for_each_endpoint(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their names are its owner's, and what an endpoint never takes goes to the dead letters."""
    refused: list[str] = []

    async def note(error: Exception) -> None:
        refused.append(str(error))

    monkeypatch.setattr("reprise.runtime.bus._on_error", note)
    taken = asyncio.Event()

    async def take(_: Delivery) -> None:
        taken.set()
        raise RepriseError("it is refused for good", retryable=False)

    async with bus_of(world, "webhook") as webhook, bus_of(world, "restorer") as restorer:
        relay = Relay("webhook-pager", (f"{subjects.ROOT}.failover.>",), take)
        task = asyncio.create_task(webhook.serve(relay))
        await asyncio.sleep(1)
        await restorer.publish(examples.example(events.FailoverFenced), dedup_id="to-an-endpoint")
        await asyncio.wait_for(taken.wait(), 10)
        await asyncio.sleep(0.5)
        task.cancel()
    owner, _ = await world.connect("restorer")
    left = await owner.jetstream().stream_info(subjects.DEAD_LETTER_STREAM, subjects_filter=">")
    assert subjects.dead_letter("webhook-pager") in (left.state.subjects or {})
    assert refused == []


async def test_the_console_shows_events_as_they_come(world: World) -> None:
    async with bus_of(world, "restorer") as restorer:
        client, refused = await world.connect("console")
        live = await client.jetstream().subscribe(f"{subjects.ROOT}.>", stream=subjects.STREAM, ordered_consumer=True)
        await restorer.publish(examples.example(events.FailoverRestored), dedup_id="live")
        assert (await live.next_msg(timeout=5)).data
        await live.unsubscribe()
        await client.flush()
    assert refused == []


async def test_the_command_line_replays_events_as_the_reader(world: World) -> None:
    """Again and again, and while another replay was left behind."""
    async with bus_of(world, "restorer") as restorer:
        await restorer.publish(examples.example(events.FailoverHolding), dedup_id="to-be-replayed")
    since = datetime.now(UTC) - timedelta(minutes=5)
    stream, subject = NatsStream(world.url, "NATS", world.folder / "reader"), f"{subjects.ROOT}.failover.holding.>"
    for _ in range(2):
        replayed = await asyncio.to_thread(lambda: list(stream.replay(subject, since)))
        assert {sent.event["type"] for sent in replayed} == {"dev.reprise.v1.failover.holding"}


async def test_who_installs_may_do_everything(world: World) -> None:
    issue(Authority(world.folder / "authority"), world.folder / "owner", OWNER, OWNER)
    assert await world.attempts("owner", told("failover.released"), "$JS.API.STREAM.LIST") == {
        told("failover.released"),
        "$JS.API.STREAM.LIST",
    }


async def test_a_reader_follows_all_events_by_its_own_consumer(world: World) -> None:
    async with bus_of(world, "restorer") as restorer:
        await restorer.publish(examples.example(events.FailoverStarted), dedup_id="to-be-read")
    client, refused = await world.connect("reader")
    with contextlib.suppress(NotFoundError):
        await client.jetstream().delete_consumer(subjects.STREAM, "reader")
    pull = await client.jetstream().pull_subscribe(f"{subjects.ROOT}.failover.>", durable="reader", stream=subjects.STREAM)
    [message, *_] = await pull.fetch(1, timeout=5)
    await message.ack()
    await client.flush()
    assert refused == []


async def test_a_node_with_a_dot_in_its_name_has_the_rights_of_that_node(world: World) -> None:
    """In a subject it is one token."""
    name = subjects.token("ip-10-0-0-1.internal")
    issue(Authority(world.folder / "authority"), world.folder / "dotted", "agents", name)
    mine, others = told("container.ended", name), told("container.ended", "n1")
    assert await world.attempts("dotted", mine, others) == {mine}
