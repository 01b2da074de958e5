"""The HTTP connections to the store: short to give up on a host that is not there, patient with one that is slow."""

import ssl

import urllib3
from reprise.archive.settings import StoreSettings
from urllib3.connection import HTTPConnection, HTTPSConnection


def http_pool(settings: StoreSettings) -> urllib3.PoolManager:
    """Without urllib3's own retries: reprise.archive.calls has them.

    While a request's body is sent on a new connection urllib3 leaves the connect time-out on the socket. A store that
    takes a breath longer than that (a restart, an election) would break off a large put: sending has the read time-out.
    """
    stall_s = settings.read_timeout_s

    class Plain(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            self.sock.settimeout(stall_s)

    class Tls(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            self.sock.settimeout(stall_s)

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class TlsPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Tls

    ca_file = str(settings.ca_file) if settings.ca_file else None
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=settings.connect_timeout_s, read=settings.read_timeout_s),
        maxsize=settings.connections,
        retries=False,
        ssl_context=ssl.create_default_context(cafile=ca_file) if settings.secure else None,
    )
    pool.pool_classes_by_scheme = {"http": PlainPool, "https": TlsPool}
    return pool
