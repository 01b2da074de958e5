"""nats-py's client, for a server that may vanish without a word: a node that lost power closes no connection.

What is overridden is private there: tests/component/test_three_servers.py holds it to that.
"""

from typing import Any

from nats.aio.client import Client
from nats.aio.transport import TcpTransport

PING_S = 1.0
PINGS = 2
"""So many pings without an answer, and the server is given up: after two to three seconds."""
CONNECT_S = 2.0
OPTIONS: dict[str, Any] = {
    "allow_reconnect": True,
    "max_reconnect_attempts": -1,
    "reconnect_time_wait": 0.25,
    "connect_timeout": CONNECT_S,
    "ping_interval": PING_S,
    "max_outstanding_pings": PINGS,
}
"""For connect()."""


class Connection(Client):
    """Gives a silent server up at once, and knows no server that its cluster does not."""

    async def _attempt_reconnect(self) -> None:
        """Close without a farewell: TLS waits for the other side's for 30 s, and unsent data until TCP gives up."""
        if isinstance(self._transport, TcpTransport) and self._transport._io_writer is not None:
            self._transport._io_writer.transport.abort()
        await super()._attempt_reconnect()

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        """A server's address is a pod's, and is another after each restart: an old one costs CONNECT_S when it is tried."""
        await super()._process_info(info, initial_connection)
        if known := info.get("connect_urls"):
            self._server_pool = [s for s in self._server_pool if not s.discovered or s.uri.netloc in known]
