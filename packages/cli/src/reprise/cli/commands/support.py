"""`reprise support-bundle`: what somebody who helps needs to see, in one file."""

import io
import json
import os
import tarfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from reprise.cli.bundle import redacted, without_secrets
from reprise.cli.options import duration
from reprise.cli.output import say
from reprise.cli.ports import ClusterError, Session, Support
from reprise.cli.progress import waiting
from reprise.contracts.errors import RepriseError
from reprise.contracts.humane import plural, size

PORT = "prometheus.io/port"
AGENT = "health-watcher"
README = """A support bundle of Reprise: versions, the state of its pods and nodes, Events, logs, metrics, and the slots' sizes.
No Secret was read, no checkpoint and no memory; what looks like a key, a token or a password is blacked out. It does
name namespaces, workloads, pods, nodes and images. errors.txt has what could not be had, and why.
"""

To = Annotated[
    Path | None, typer.Option("--to", metavar="FILE", show_default=False, help="reprise-support-TIME.tar.gz here, if not given.")
]
Since = Annotated[float, typer.Option("--since", parser=duration, metavar="DURATION", help="How far back logs go.")]


def support_bundle(context: typer.Context, to: To = None, since: Since = 86400) -> None:
    """One archive for whoever helps: versions, state, Events, logs and metrics of Reprise. Neither Secrets nor any memory."""
    session: Session = context.obj
    path = to or Path(f"reprise-support-{datetime.now(UTC):%Y%m%dt%H%M%S}.tar.gz")
    collected = Collected(session.support())
    with waiting("collecting"):
        collected.cluster()
        collected.console(session)
        collected.pods(int(since))
    if not collected.files:
        raise ClusterError(collected.errors[0] if collected.errors else "nothing was found", subject="support bundle")
    try:
        collected.write(path)
    except OSError as error:
        why = error.strerror or str(error)
        raise ClusterError(f"it cannot be written: {why}", subject=str(path), remedy="name another file with --to") from error
    say(f"{path}: {plural(len(collected.files), 'file')}, {size(path.stat().st_size)}", "green")
    if collected.errors:
        say(f"{plural(len(collected.errors), 'thing')} could not be had: errors.txt in it says why", "yellow")


class Collected:
    """files: text by path. errors: what could not be had. One thing that fails keeps no other out."""

    def __init__(self, support: Support) -> None:
        self._support = support
        self._pods: list[dict[str, Any]] = []
        self.files: dict[str, str] = {}
        self.errors: list[str] = []

    def cluster(self) -> None:
        self._object("versions.json", lambda: {"cli": version("reprise-cli"), "kubernetes": self._support.version()})
        self._object("nodes.json", self._support.nodes)
        self._object("events.json", self._support.events)
        found = self._had("objects", self._support.objects) or {}
        for kind, listed in found.items():
            self._object(f"objects/{kind}.json", lambda listed=listed: listed)  # type: ignore[misc]
        self._pods = [pod for pod in found.get("pods", []) if pod.get("spec")]

    def console(self, session: Session) -> None:
        """Health and failures as the console knows them; no ends of containers, which quote the workload's own log."""

        def ask() -> dict[str, Any]:
            with session.console() as console:
                return {
                    "workloads": console.workloads(None), "failovers": console.rows("failovers", {}, 200),
                    "failed": console.rows("checkpoints", {"state": "failed"}, 200),
                }  # fmt: skip

        self._object("console.json", ask)

    def pods(self, since_s: int) -> None:
        for pod in self._pods:
            name, labels = pod["metadata"]["name"], pod["metadata"].get("labels") or {}
            for container in (each["name"] for each in pod["spec"].get("containers") or []):
                self._text(f"logs/{name}/{container}.log", self._log(name, container, False, since_s))
                self._text(f"logs/{name}/{container}.previous.log", self._log(name, container, True, since_s))
            port = (pod["metadata"].get("annotations") or {}).get(PORT, "")
            if port.isdigit():
                self._text(f"metrics/{name}.txt", lambda name=name, port=port: self._support.metrics(name, int(port)))  # type: ignore[misc]
            if labels.get("app.kubernetes.io/name") == AGENT:
                node = pod["spec"].get("nodeName", name)
                self._text(f"node-files/{node}.json", lambda name=name: self._support.node_files(name))  # type: ignore[misc]

    def _log(self, pod: str, container: str, previous: bool, since_s: int) -> Callable[[], str]:
        return lambda: self._support.logs(pod, container, previous=previous, since_s=since_s)

    def _had(self, what: str, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except RepriseError as error:
            self.errors.append(f"{what}: {error}")
            return None

    def _object(self, path: str, ask: Callable[[], Any]) -> None:
        found = self._had(path, ask)
        if found is not None:
            self.files[path] = json.dumps(without_secrets(found), indent=1, default=str) + "\n"

    def _text(self, path: str, ask: Callable[[], str]) -> None:
        found = self._had(path, ask)
        if found:
            self.files[path] = redacted(found)

    def write(self, path: Path) -> None:
        """For its owner alone to read."""
        files = {"README.txt": README, **self.files}
        if self.errors:
            files["errors.txt"] = redacted("\n".join(self.errors) + "\n")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            for name, text in sorted(files.items()):
                body = text.encode()
                member = tarfile.TarInfo(f"reprise-support/{name}")
                member.size, member.mtime, member.mode = len(body), int(time.time()), 0o600
                archive.addfile(member, io.BytesIO(body))
