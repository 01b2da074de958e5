"""The webhook service as it is deployed, on a real NATS, before HTTPS endpoints that are good, broken, slow and hostile."""

import asyncio
import base64
import json
import os
import secrets
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import nats
import pytest
import yaml
from reprise.contracts import envelope, examples, subjects
from reprise.contracts.events import CheckpointStored, Event, FailoverCompleted
from reprise.contracts.model import Workload
from reprise.runtime.bus import Bus
from reprise.webhook.model import Disabled
from standardwebhooks.webhooks import Webhook

pytestmark = pytest.mark.component

ATTEMPTS = 2
TIMEOUT_S = 1.0


def secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


@dataclass
class Received:
    """One request."""

    at: float
    path: str
    headers: dict[str, str]
    body: bytes

    def verified(self, by: str) -> dict[str, Any]:
        """By Standard Webhooks' own library. Raises WebhookVerificationError."""
        return dict(Webhook(by).verify(self.body, self.headers))


Behave = Callable[["Answering"], None]


class Answering(BaseHTTPRequestHandler):
    """Does with each request what its path says."""

    behaviours: dict[str, list[Behave]]
    received: list[Received]
    timeout = 10

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.append(Received(time.monotonic(), self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        planned = self.behaviours.get(self.path.partition("?")[0], [])
        (planned.pop(0) if len(planned) > 1 else planned[0] if planned else status(204))(self)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def status(code: int, **headers: str) -> Behave:
    def answer(request: Answering) -> None:
        request.send_response(code)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


def endless(pause_s: float, part: bytes) -> Behave:
    """A good answer whose body never ends."""

    def answer(request: Answering) -> None:
        request.send_response(200)
        request.end_headers()
        try:
            while True:
                request.wfile.write(part)
                time.sleep(pause_s)
        except OSError:
            return

    return answer


def says_nothing(request: Answering) -> None:
    time.sleep(4 * TIMEOUT_S)


def garbage(request: Answering) -> None:
    request.wfile.write(b"\x00\xff no HTTP at all\r\n\r\n")


def hangs_up(request: Answering) -> None:
    request.close_connection = True


@dataclass
class World:
    """A NATS, a receiver at https://localhost and the service between them."""

    nats_url: str
    folder: Path
    port: int
    behaviours: dict[str, list[Behave]]
    received: list[Received]
    endpoints: dict[str, dict[str, Any]] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def file(self) -> Path:
        return self.folder / "endpoints.yaml"

    def start(self) -> None:
        env = os.environ | {
            "REPRISE_NATS_URL": self.nats_url, "REPRISE_HEALTH_HOST": "127.0.0.1", "REPRISE_HEALTH_PORT": "0",
            "REPRISE_WEBHOOK_FILE": str(self.file), "REPRISE_WEBHOOK_CA_FILE": str(self.folder / "server.crt"),
            "REPRISE_WEBHOOK_TIMEOUT_S": str(TIMEOUT_S), "REPRISE_WEBHOOK_ATTEMPTS": str(ATTEMPTS),
            "REPRISE_WEBHOOK_RELOAD_S": "0.2", "REPRISE_WEBHOOK_BODY_BYTES": "4096",
        }  # fmt: skip
        with (self.folder / "webhook.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(Path(sys.executable).parent / "reprise-webhook")], env=env, stdout=log, stderr=log
            )

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait()

    def log(self) -> str:
        return (self.folder / "webhook.log").read_text()

    def logged(self, event: str, endpoint: str) -> bool:
        lines = (json.loads(line) for line in self.log().splitlines() if line.startswith("{"))
        return any(line["event"] == event and line.get("endpoint") == endpoint for line in lines)

    def add(self, name: str, *behaviours: Behave, **said: Any) -> str:
        """An endpoint of this name and path, for events of the namespace of this name. Returns its secret, once it is served."""
        self.behaviours[f"/{name}"] = list(behaviours)
        given = {"url": f"https://localhost:{self.port}/{name}", "subjects": [f"reprise.v1.*.*.*.{name}.*"], "private": True}
        self.endpoints[name] = {"name": name, "secrets": [secret()]} | given | said
        self.write()
        wait(lambda: self.consumer(name), f"the consumer of {name}")
        return str(self.endpoints[name]["secrets"][0])

    def write(self) -> None:
        new = self.file.with_suffix(".new")
        new.write_text(yaml.safe_dump({"endpoints": list(self.endpoints.values())}))
        new.rename(self.file)

    def on_nats(self, act: Callable[[nats.NATS], Any]) -> Any:
        async def once() -> Any:
            client = await nats.connect(self.nats_url)
            try:
                return await act(client)
            finally:
                await client.close()

        return asyncio.run(once())

    def consumer(self, name: str) -> bool:
        async def asked(client: nats.NATS) -> bool:
            try:
                return bool(await client.jetstream().consumer_info(subjects.STREAM, f"webhook-{name}"))
            except nats.js.errors.NotFoundError:
                return False

        return bool(self.on_nats(asked))

    def tell(self, namespace: str, event: type[Event] = FailoverCompleted, count: int = 1, **changed: Any) -> list[bytes]:
        """Publish examples of that namespace; returns their payloads."""
        workload = Workload(namespace=namespace, name="counter")
        told = examples.example(event).model_copy(update={"workload": workload} | changed)
        payloads = [envelope.encode(told, source="test", traceparent=examples.TRACEPARENT)[1] for _ in range(count)]

        async def publish(client: nats.NATS) -> None:
            for payload in payloads:
                await client.jetstream().publish(subjects.of(told), payload)

        self.on_nats(publish)
        return payloads

    def at(self, name: str, count: int, seconds: float = 15) -> list[Received]:
        """The first requests to this endpoint."""
        wait(lambda: len(self._at(name)) >= count, f"{count} requests to {name}", seconds)
        return self._at(name)

    def _at(self, name: str) -> list[Received]:
        return [request for request in self.received if request.path.partition("?")[0] == f"/{name}"]

    def dead(self, name: str, count: int = 1, seconds: float = 15) -> list[dict[str, str]]:
        """The headers of what was dead-lettered for this endpoint."""

        async def letters(client: nats.NATS) -> list[dict[str, str]]:
            found: list[dict[str, str]] = []
            subscription = await client.jetstream().subscribe(subjects.dead_letter(f"webhook-{name}"), ordered_consumer=True)
            try:
                while True:
                    found.append((await subscription.next_msg(timeout=0.3)).headers or {})
            except nats.errors.TimeoutError:
                return found

        found: list[dict[str, str]] = []

        def enough() -> bool:
            found[:] = self.on_nats(letters)
            return len(found) >= count

        wait(enough, f"a dead letter of {name}", seconds)
        return found


def wait(until: Callable[[], bool], what: str, seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not until():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.05)


@pytest.fixture(scope="module")
def world(shared_nats: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("webhook")
    made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=receiver"]
    files = ["-keyout", folder / "server.key", "-out", folder / "server.crt", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(["openssl", "req", "-x509", *made, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    handler = type("Handler", (Answering,), {"behaviours": {}, "received": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"nats://127.0.0.1:{shared_nats.port}"
    found = World(url, folder, server.server_port, handler.behaviours, handler.received)
    found.write()

    async def streams() -> None:
        bus = Bus(url, "test")
        await bus.connect()
        await bus.drain(1)

    asyncio.run(streams())
    found.start()
    yield found
    found.kill()
    server.shutdown()


def test_an_event_arrives_as_it_is_on_the_stream_and_a_receiver_can_verify_it(world: World) -> None:
    key = world.add("good")
    [payload] = world.tell("good")
    [request] = world.at("good", 1)
    assert request.body == payload
    assert request.verified(key)["type"] == "dev.reprise.v1.failover.completed"
    assert request.headers["content-type"] == "application/cloudevents+json"
    assert request.headers["webhook-id"] == json.loads(payload)["id"]
    assert request.headers["host"] == f"localhost:{world.port}"
    assert request.headers["traceparent"].split("-")[1] == examples.TRACEPARENT.split("-")[1]


def test_only_what_the_endpoint_asked_for_arrives(world: World) -> None:
    world.add("picky", subjects=["reprise.v1.failover.*.*.picky.*", "reprise.v1.node.>"])
    world.tell("picky", CheckpointStored)
    world.tell("elsewhere")
    world.tell("picky")
    [request] = world.at("picky", 1)
    assert json.loads(request.body)["type"] == "dev.reprise.v1.failover.completed"
    time.sleep(0.5)
    assert len(world.at("picky", 1)) == 1


def test_an_endpoint_may_ask_for_other_events_and_misses_none_by_it(world: World) -> None:
    world.add("fickle", subjects=["reprise.v1.node.>"])
    world.endpoints["fickle"]["subjects"] = ["reprise.v1.failover.*.*.fickle.*", "reprise.v1.checkpoint.*.*.fickle.*"]
    world.write()
    time.sleep(1)
    told = {*world.tell("fickle"), *world.tell("fickle", CheckpointStored)}
    assert {request.body for request in world.at("fickle", 2)} == told


def test_an_event_of_a_newer_version_is_passed_on_too(world: World) -> None:
    key = world.add("newer")
    [payload] = world.tell("elsewhere")
    newer = payload.replace(b"v1.failover.completed", b"v1.failover.admired")
    world.on_nats(lambda client: client.jetstream().publish("reprise.v1.failover.admired.n1.newer.counter", newer))
    assert world.at("newer", 1)[0].verified(key)["type"].endswith("failover.admired")


@pytest.mark.parametrize(
    ("name", "broken"),
    [("error", status(500)), ("unauthorized", status(401)), ("garbage", garbage), ("hangs-up", hangs_up),
     ("silent", says_nothing), ("drips", endless(0.1, b"."))],
)  # fmt: skip
def test_what_an_endpoint_does_not_take_is_sent_again_under_the_same_id(world: World, name: str, broken: Behave) -> None:
    key = world.add(name, broken, status(200))
    world.tell(name)
    first, second = world.at(name, 2)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.verified(key) == second.verified(key)
    time.sleep(0.3)
    assert len(world.at(name, 2)) == 2


def test_after_its_attempts_an_event_is_dead_lettered_with_the_reason(world: World) -> None:
    world.add("hopeless", status(503))
    world.tell("hopeless")
    [letter] = world.dead("hopeless")
    assert letter["Reprise-Reason"] == "WebhookFailed"
    assert "webhook hopeless: it answered 503" in letter["Reprise-Detail"]
    assert letter["Reprise-Subject"] == "reprise.v1.failover.completed.n1.hopeless.counter"
    assert len(world.at("hopeless", ATTEMPTS)) == ATTEMPTS


def test_a_redirect_is_not_followed(world: World) -> None:
    world.add("moved", status(307, Location=f"https://localhost:{world.port}/trap"))
    world.tell("moved")
    assert "redirects are not followed" in world.dead("moved")[0]["Reprise-Detail"]
    assert not [request for request in world.received if request.path == "/trap"]


def test_an_answer_without_end_is_not_read_to_its_end(world: World) -> None:
    world.add("torrent", endless(0, bytes(65536)))
    world.tell("torrent", count=2)
    world.at("torrent", 2)
    time.sleep(2)
    assert len(world.at("torrent", 2)) == 2


def test_retry_after_is_heeded(world: World) -> None:
    world.add("busy", status(429, Retry_After="3"), status(200))
    world.tell("busy")
    first, second = world.at("busy", 2)
    assert 3 <= second.at - first.at < 6
    signed = [int(attempt.headers["webhook-timestamp"]) for attempt in (first, second)]
    assert signed[0] < signed[1], "each attempt is signed with its own time, in whole seconds"


def test_an_endpoint_that_hangs_holds_up_no_other(world: World) -> None:
    world.add("stuck", says_nothing)
    world.add("quick")
    world.tell("stuck", count=20)
    began = time.monotonic()
    world.tell("quick", count=20)
    world.at("quick", 20)
    assert time.monotonic() - began < 5


def test_gone_disables_an_endpoint_until_its_record_is_deleted_and_keeps_its_events(world: World) -> None:
    world.add("gone", status(410), status(200))
    world.tell("gone")
    world.at("gone", 1)
    wait(lambda: world.logged("endpoint is not served any more", "gone"), "the endpoint to be left alone")
    later = world.tell("gone", count=3)
    time.sleep(1)
    assert len(world.at("gone", 1)) == 1

    async def record(client: nats.NATS) -> Disabled:
        bucket = await client.jetstream().key_value("webhooks")
        found = Disabled.model_validate_json((await bucket.get("gone")).value or b"")
        await bucket.delete("gone")
        return found

    disabled = world.on_nats(record)
    assert str(world.port) not in disabled.model_dump_json()  # its address may hold a token
    assert {request.body for request in world.at("gone", 4)} >= set(later)


def test_a_private_address_is_refused_unless_it_is_meant(world: World) -> None:
    world.add("inside", private=False)
    world.tell("inside")
    assert "set `private: true` if it is meant" in world.dead("inside")[0]["Reprise-Detail"]
    assert not [request for request in world.received if request.path == "/inside"]


def test_a_certificate_of_another_name_is_refused(world: World) -> None:
    world.add("impostor", url=f"https://127.0.0.1:{world.port}/impostor")
    world.tell("impostor")
    assert "certificate verify failed" in world.dead("impostor")[0]["Reprise-Detail"]
    assert not [request for request in world.received if request.path == "/impostor"]


def test_an_event_that_is_too_large_is_dead_lettered_at_once(world: World) -> None:
    world.add("small")
    world.tell("small", cause="x" * 5000)
    assert world.dead("small")[0]["Reprise-Reason"] == "TooLarge"


def test_a_secret_is_replaced_without_a_restart_and_without_a_gap(world: World) -> None:
    old, new = world.add("rotated"), secret()
    world.endpoints["rotated"]["secrets"] = [new, old]
    world.write()
    time.sleep(1)
    world.tell("rotated")
    [request] = world.at("rotated", 1)
    assert request.verified(old) == request.verified(new)
    world.endpoints["rotated"]["secrets"] = [new]
    world.write()
    time.sleep(1)
    world.tell("rotated")
    assert world.at("rotated", 2)[1].verified(new)
    assert len(world.at("rotated", 2)[1].headers["webhook-signature"].split()) == 1


def test_a_bad_file_is_told_without_its_secrets_and_the_last_valid_one_stays(world: World) -> None:
    key = world.add("steady")
    world.file.write_text(yaml.safe_dump({"endpoints": [{"name": "steady", "url": "http://x", "secrets": [key]}]}))
    wait(lambda: "endpoints.0.url" in world.log(), "the complaint")
    world.tell("steady")
    assert world.at("steady", 1)[0].verified(key)
    assert key not in world.log()
    world.write()


def test_a_service_that_is_killed_in_a_delivery_delivers_again(world: World) -> None:
    world.add("twice", says_nothing, status(200))
    world.tell("twice")
    world.at("twice", 1)
    world.kill()
    world.start()
    first, second = world.at("twice", 2, seconds=30)  # the bus waits ACK_WAIT_S for an acknowledgement
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
