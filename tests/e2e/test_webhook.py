"""The webhook component on the cluster: what happens there reaches a receiver outside of it, signed."""

import base64
import json
import os
import secrets
import signal
import ssl
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from reprise_lab import counter, faults
from reprise_lab.paths import CHECKOUT, NET
from reprise_lab.shell import kubectl, poll
from reprise_lab.witness import Witness
from standardwebhooks.webhooks import Webhook

pytestmark = pytest.mark.e2e
HOST = f"{NET}.1"
SECRET = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


class Receiver(BaseHTTPRequestHandler):
    events: list[dict[str, Any]]
    timeout = 10

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.events.append(Webhook(SECRET).verify(body, {k.lower(): v for k, v in self.headers.items()}))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Its port, and the events that it could verify."""
    made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=receiver"]
    files = ["-keyout", tmp_path / "tls.key", "-out", tmp_path / "ca.crt", "-addext", f"subjectAltName=IP:{HOST}"]
    subprocess.run(["openssl", "req", "-x509", *made, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "ca.crt", tmp_path / "tls.key")
    handler = type("Handler", (Receiver,), {"events": []})
    server = ThreadingHTTPServer((HOST, 0), handler)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port, handler.events
    server.shutdown()


@pytest.fixture
def webhook(receiver: tuple[int, list[dict[str, Any]]], tmp_path: Path) -> Iterator[list[dict[str, Any]]]:
    """The component as an overlay adds it, with one endpoint: the events that it was sent."""
    port, events = receiver
    endpoint = {"name": "outside", "url": f"https://{HOST}:{port}/", "secrets": [SECRET], "private": True}
    (tmp_path / "endpoints.yaml").write_text(yaml.safe_dump({"endpoints": [endpoint]}))
    images = yaml.safe_load((CHECKOUT / "deploy/overlays/lab/kustomization.yaml").read_text())["images"]
    component = os.path.relpath(CHECKOUT / "deploy/components/webhook", tmp_path)
    generated = {
        "name": "reprise-webhooks", "namespace": "reprise-system", "files": ["endpoints.yaml", "ca.crt"],
        "options": {"disableNameSuffixHash": True},
    }  # fmt: skip
    (tmp_path / "kustomization.yaml").write_text(
        yaml.safe_dump({"components": [component], "images": images, "secretGenerator": [generated]})
    )
    kubectl("apply", "-k", str(tmp_path))
    kubectl("-n", "reprise-system", "rollout", "status", "deployment/webhook", "--timeout=60s")
    yield events
    kubectl("delete", "-k", str(tmp_path), "--wait=true", "--timeout=60s")


def test_a_failover_is_told_outside_the_cluster_in_its_own_trace(
    webhook: list[dict[str, Any]], protected_counter: Witness
) -> None:
    namespace = protected_counter.namespace
    faults.process_signal(namespace, counter.pod(namespace)["metadata"]["name"], "counter", signal.SIGKILL)
    failover = counter.wait_failover(namespace, "crash")["failover_id"]

    def told(kind: str) -> list[dict[str, Any]]:
        ours = [event for event in webhook if event["data"]["workload"]["namespace"] == namespace]
        return [
            event["data"] | {"traceparent": event["traceparent"]} for event in ours if event["type"] == f"dev.reprise.v1.{kind}"
        ]

    def ended() -> list[dict[str, Any]]:
        return [data for data in told("failover.completed") if data["failover_id"] == failover]

    poll(20, lambda: bool(ended()), "the failover's end to be told")
    assert told("checkpoint.stored")
    completed = ended()[0]
    assert completed["cause"] == "crash"
    trace_id = completed["traceparent"].split("-")[1]
    poll(15, lambda: {"POST outside", "publish failover.completed"} <= span_names(trace_id), "the delivery in the trace", 0.5)


def span_names(trace_id: str) -> set[str]:
    """By Jaeger's query API; none while it has none."""
    address = kubectl("-n", "reprise-system", "get", "service", "jaeger", "-o", "jsonpath={.spec.clusterIP}")
    try:
        with urllib.request.urlopen(f"http://{address}:16686/api/traces/{trace_id}", timeout=5) as answer:
            return {span["operationName"] for span in json.loads(answer.read())["data"][0]["spans"]}
    except (OSError, IndexError, KeyError):
        return set()
