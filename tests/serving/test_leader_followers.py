"""The pool after a burst: as few threads accept as before it."""

from __future__ import annotations

import contextlib
import socket

from srvctl.config.settings import Settings
from srvctl.serving.leader_followers import ACTIVE_THREADS, SPARE_THREADS, LeaderFollowers
from srvctl.worker.assemble import assemble
from tests.launched import wait_until
from tests.serving.running import PATIENCE, running

BURST = 80


def serve_a_line(request: socket.socket, client_address: object, server: object) -> None:
    """Send a line back when it comes."""
    request.sendall(request.recv(100))


def test_after_a_burst_of_quiet_clients_few_threads_accept_again() -> None:
    """Those that came for it leave when they have served; the next clients find what the first ones found."""
    sock = socket.create_server(("127.0.0.1", 0))
    settings = Settings.resolve("fd", "3", "echo", "threads")
    server = assemble(settings, 512, sock, serve_a_line, is_own=True)
    pool = server.executor
    assert isinstance(pool, LeaderFollowers)

    def ask() -> None:
        with socket.create_connection(server.server_address, PATIENCE) as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"

    with running(server):
        with contextlib.ExitStack() as quiet:
            for _ in range(BURST):
                quiet.enter_context(socket.create_connection(server.server_address, PATIENCE))
            wait_until(lambda: len(server.table) == BURST, "the burst")
        wait_until(lambda: not server.table, "the end of the burst")

        def is_small() -> bool:
            ask()
            return len(pool._active) <= ACTIVE_THREADS and len(pool._pool) <= ACTIVE_THREADS + SPARE_THREADS

        wait_until(is_small, "few threads")
