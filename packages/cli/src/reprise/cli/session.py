"""Where store and console are: told by the environment, or found in the cluster and reached through a port-forward."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path

from reprise.archive.crypto import FetchedKeys, KeyWrapper, SecretKeys
from reprise.archive.damage import Copies
from reprise.archive.repository import Repository
from reprise.cli.adapters.console import HttpConsole
from reprise.cli.adapters.copies import FolderCopies
from reprise.cli.adapters.store import open_store
from reprise.cli.ports import Cluster, ClusterError, Console, KeySecret, Mover, Objects, Stream, Support
from reprise.cli.settings import Settings

STORE_SECRET, KEYS_SECRET = "reprise-store", "reprise-keys"
STORE_SERVICE, STORE_PORT = "minio", 9000
CONSOLE_SERVICE, CONSOLE_PORT = "console", 8080
NATS_SERVICE, NATS_PORT = "nats", 4222
READER_SECRET = "reprise-nats-reader"


class LazySession:
    """The Session of real life. Nothing is connected to before a command needs it. connect: by kubeconfig and context."""

    def __init__(self, settings: Settings, connect: Callable[[str, str], Cluster]) -> None:
        self._settings, self._connect = settings, connect
        self._kubeconfig = self._context = self.named_namespace = ""

    def choose(self, kubeconfig: str, context: str, namespace: str) -> None:
        self._kubeconfig, self._context = kubeconfig or self._kubeconfig, context or self._context
        self.named_namespace = namespace or self.named_namespace

    @cached_property
    def _cluster(self) -> Cluster:
        return self._connect(self._kubeconfig, self._context)

    @contextmanager
    def repository(self, *, keys: bool = False) -> Iterator[Repository]:
        told = self._settings
        with ExitStack() as stack:
            endpoint, access, secret = told.store_endpoint, told.store_access_key, told.store_secret_key
            if not endpoint:
                found = self._cluster.secret(told.system_namespace, STORE_SECRET)
                access, secret = (found.get(name, b"").decode() for name in ("access-key", "secret-key"))
                endpoint = stack.enter_context(self._cluster.forward(told.system_namespace, STORE_SERVICE, STORE_PORT))
            store = open_store(endpoint, access, secret, told.store_bucket, secure=told.store_secure)
            yield Repository(store, self._keys() if keys else None)

    def _keys(self) -> KeyWrapper:
        told = self._settings
        if told.kek_dir:
            return SecretKeys(told.kek_dir)
        if told.store_endpoint:
            raise ClusterError(
                "what is stored is encrypted, and no keys are configured", subject="REPRISE_KEK_DIR",
                remedy="a folder with the keys of the Secret; or unset REPRISE_STORE_ENDPOINT: the cluster has them",
            )  # fmt: skip
        return FetchedKeys(self._cluster.secret(told.system_namespace, KEYS_SECRET), f"Secret {KEYS_SECRET}")

    def key_secret(self) -> KeySecret | None:
        told = self._settings
        if told.kek_dir or told.store_endpoint:
            return None
        return self._cluster.key_secret(told.system_namespace, KEYS_SECRET)

    def copies(self) -> Copies:
        told = self._settings
        if told.cache_dir:
            return FolderCopies(told.cache_dir)
        return self._cluster.copies(told.system_namespace)

    @contextmanager
    def console(self) -> Iterator[Console]:
        told = self._settings
        if told.console_url:
            with HttpConsole(told.console_url, token=told.console_token) as console:
                yield console
            return
        with (
            self._cluster.forward(told.system_namespace, CONSOLE_SERVICE, CONSOLE_PORT) as address,
            HttpConsole(f"http://{address}", f"console in {told.system_namespace}", told.console_token) as console,
        ):
            yield console

    @contextmanager
    def console_address(self, local: int) -> Iterator[str]:
        told = self._settings
        if told.console_url:
            yield told.console_url
            return
        with self._cluster.forward(told.system_namespace, CONSOLE_SERVICE, CONSOLE_PORT, local) as address:
            yield f"http://{address}"

    @contextmanager
    def stream(self) -> Iterator[Stream]:
        # Imported here: it takes half a second that other commands need not wait for.
        from reprise.cli.adapters.stream import NatsStream

        told = self._settings
        if told.nats_url:
            yield NatsStream(told.nats_url, told.nats_url, told.nats_credentials)
            return
        where, name = told.system_namespace, f"NATS in {told.system_namespace}"
        files = self._cluster.secret(where, READER_SECRET)
        with tempfile.TemporaryDirectory() as folder, self._cluster.forward(where, NATS_SERVICE, NATS_PORT) as address:
            for file, content in files.items():
                (Path(folder) / file).write_bytes(content)
            yield NatsStream(f"tls://{address}", name, Path(folder))

    def objects(self) -> Objects:
        return self._cluster.objects()

    def support(self) -> Support:
        return self._cluster.support(self._settings.system_namespace)

    @property
    def system_namespace(self) -> str:
        return self._settings.system_namespace

    def mover(self) -> Mover:
        return self._cluster.mover()

    def namespace(self) -> str:
        if self.named_namespace:
            return self.named_namespace
        if self._settings.console_url:
            return "default"
        return self._cluster.namespace

    def require_namespace(self, name: str) -> None:
        if not self._settings.console_url and not self._cluster.has_namespace(name):
            raise ClusterError(
                "there is no such namespace", subject=f"namespace {name}",
                remedy="`kubectl get namespaces` lists them; -A shows all workloads",
            )  # fmt: skip
