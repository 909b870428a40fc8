"""TLS that a handler makes by itself: counted, timed, drained and cut like a plain connection, in every model."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.launched import PATIENCE, Launched

Launch = Callable[..., Launched]

CERTIFICATE = Path(__file__).parents[1] / "data" / "localhost.pem"
HANDLER = f"""
import ssl
from srvctl import StreamRequestHandler

CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
CONTEXT.load_cert_chain({str(CERTIFICATE)!r})


class Echo(StreamRequestHandler):
    def setup(self):
        self.request = CONTEXT.wrap_socket(self.request, server_side=True)
        super().setup()

    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)
            if line == b"close\\n":
                self.rfile.close()
                self.wfile.close()
                self.request.close()
                open("closed", "w").close()
                open("go on").close()  # a named pipe
"""

by_model = pytest.mark.parametrize("model", ["--sync", "--threads", "--fork"])


@pytest.fixture
def serve(launch: Launch, place: Path) -> Callable[..., Launched]:
    """Serve the handler with options."""
    (place / "secure.py").write_text(HANDLER)
    return lambda *words: launch("tcp4", "127.0.0.1:0", *words, "secure:Echo")


@contextlib.contextmanager
def connected(server: Launched) -> Iterator[ssl.SSLSocket]:
    """Connect with TLS, and have a line sent back."""
    context = ssl.create_default_context(cafile=CERTIFICATE)
    with server.connect() as plain, context.wrap_socket(plain, server_hostname="localhost") as client:
        client.settimeout(PATIENCE)
        client.sendall(b"hello\n")
        assert client.recv(99) == b"hello\n"
        yield client


@by_model
def test_what_a_handler_says_is_counted_and_a_stop_does_not_wait_for_a_quiet_client(model: str, serve) -> None:
    """As plain text; the client meets the end of the connection, and nothing is cut."""
    server = serve(model, "--drain-idle-timeout", "0.1", "--graceful-timeout", "1h")
    with connected(server) as client:
        server.process.terminate()
        with contextlib.suppress(ssl.SSLError):  # an end without a farewell of TLS
            assert client.recv(1) == b""
    assert server.wait() == 0, server.log
    assert " received=6 sent=6 how=done " in server.log


@by_model
def test_a_client_that_says_nothing_more_is_cut(model: str, serve) -> None:
    """At its time limit; and so is one that never shakes hands."""
    server = serve(model, "--idle-timeout", "0.3")
    with connected(server) as client, contextlib.suppress(ssl.SSLError, ConnectionError):
        assert client.recv(1) == b""
    with server.connect() as silent, contextlib.suppress(ConnectionError):
        assert silent.recv(1) == b""
    log = server.wait_for_log(" how=idle ", 2)
    assert " received=6 sent=6 how=idle " in log


@by_model
def test_a_client_that_speaks_no_tls_is_no_fault_of_the_handler(model: str, serve) -> None:
    """Its conversation is reset."""
    server = serve(model)
    with server.connect() as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while client.recv(999):
                pass
    assert " how=reset " in server.wait_for_log(" ended ")
    assert "handler failed" not in server.log


def test_a_handler_that_closes_its_connection_has_closed_it(serve, place: Path) -> None:
    """Though it goes on for a while."""
    os.mkfifo(place / "go on")
    server = serve("--threads")
    with connected(server) as client:
        client.sendall(b"close\n")
        assert client.recv(99) == b"close\n"
        with contextlib.suppress(ssl.SSLError):
            assert client.recv(1) == b""
    assert " ended " not in server.log
    (place / "go on").write_text("")
    server.wait_for_log(" ended ")
