"""What the store's connections are made with."""

import socket
from contextlib import closing

from reprise.archive.http_pool import VANISHED_S, http_pool
from reprise.archive.settings import StoreSettings


def test_a_connection_to_a_machine_that_vanished_is_given_up_in_seconds() -> None:
    """The kernel does it, whether something was sent or an answer is waited for; a read time-out alone would take 30 s."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        host, port = listener.getsockname()
        pool = http_pool(StoreSettings(endpoint=f"{host}:{port}")).connection_from_host(host, port)
        with closing(pool._new_conn()) as connection:
            connection.connect()
            sock = connection.sock
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == VANISHED_S * 1000
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            probes = [
                sock.getsockopt(socket.IPPROTO_TCP, n) for n in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            ]
            idle_s, interval_s, count = probes
            assert idle_s + interval_s * count <= VANISHED_S
