"""The HTTP connections to the store: short to give up on a host that is not there, patient with one that is slow."""

import socket
import ssl
from http import HTTPStatus
from typing import Any

import urllib3
from reprise.archive.settings import StoreSettings
from urllib3.connection import HTTPConnection, HTTPSConnection

VANISHED_S = 5
"""So long nothing comes back from the other machine, not even that what was sent has arrived: then it is gone. One that is only
slow has a kernel that answers, and gets the read time-out.
"""
SOCKET_OPTIONS = [
    *HTTPConnection.default_socket_options,
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, VANISHED_S * 1000),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, VANISHED_S - 2),
]


def http_pool(settings: StoreSettings) -> urllib3.PoolManager:
    """Without urllib3's own retries: reprise.archive.calls has them.

    While a request's body is sent on a new connection urllib3 leaves the connect time-out on the socket. A store that
    takes a breath longer than that (a restart, an election) would break off a large put: sending has the read time-out.

    A server that refuses a put's condition need not read its body, and then hangs up a moment later: the next request
    must not be sent on that connection.

    A node that lost power closes no connection: what was kept open to its server must not take the read time-out each.
    """
    stall_s = settings.read_timeout_s

    class Connection(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            self.sock.settimeout(stall_s)

        def getresponse(self) -> Any:
            answer = super().getresponse()
            self.refused = answer.status == HTTPStatus.PRECONDITION_FAILED
            return answer

    class Plain(Connection):
        pass

    class Tls(Connection, HTTPSConnection):
        pass

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

        def _put_conn(self, conn: Any) -> None:
            super()._put_conn(_usable(conn))

    class TlsPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Tls

        def _put_conn(self, conn: Any) -> None:
            super()._put_conn(_usable(conn))

    ca_file = str(settings.ca_file) if settings.ca_file else None
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=settings.connect_timeout_s, read=settings.read_timeout_s),
        maxsize=settings.connections,
        retries=False,
        socket_options=SOCKET_OPTIONS,
        ssl_context=ssl.create_default_context(cafile=ca_file) if settings.secure else None,
    )
    pool.pool_classes_by_scheme = {"http": PlainPool, "https": TlsPool}
    return pool


def _usable(conn: Any) -> Any:
    """Closed, it connects anew for the next request."""
    if conn is not None and getattr(conn, "refused", False):
        conn.close()
    return conn
