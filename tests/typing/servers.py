"""Programs with servers of srvctl.socketserver, and tests with srvctl.testing; see handlers.py."""

from __future__ import annotations

import socket
from typing import Any

from srvctl import StreamRequestHandler
from srvctl.socketserver import (
    BaseServer,
    ForkingUDPServer,
    ThreadingTCPServer,
    UDPServer,
)
from srvctl.socketserver import ThreadingTCPServr as Misspelt  # E: attr-defined
from srvctl.testing import Serve, exchange, exchange_datagram


class Echo(StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(self.rfile.read())


def function(request: socket.socket, client_address: tuple[str, int], server: BaseServer) -> None:
    request.sendall(b"x")


def serve() -> None:
    with ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.max_threads = 7
        server.max_threads = "7"  # E: assignment
        server.serve_forever()
        connection, _ = server.get_request()
        connection.sendall(b"x")
        server.state = {"anything": 1}
    (data, reply), sender = UDPServer(("127.0.0.1", 0), function).get_request()
    reply.sendto(data, sender)
    ForkingUDPServer(("127.0.0.1", 0), Echo, sock=None).collect_children(blocking=True)
    ThreadingTCPServer(("127.0.0.1", 0), Echo, bind_and_activat=False)  # E: call-arg
    ThreadingTCPServer(("127.0.0.1", 0), 7)  # E: arg-type


class Rows(BaseServer):
    def get_request(self) -> tuple[Any, Any]:
        raise BlockingIOError

    def verify_request(self, request: Any, client_address: Any) -> str:  # E: override
        return ""


def test_echo(serve: Serve) -> None:
    written: bytes = exchange(Echo, b"x", state=7)
    exchange(Echo, "x")  # E: arg-type
    exchange(function)
    written.encode()  # E: attr-defined
    (answer,) = exchange_datagram(Echo, b"x")
    answer.upper()
    client = serve(Echo, "tcp", "--threads")
    client.exchange("x")  # E: arg-type
    client.server.stop() + 1
    client.server.stops()  # E: attr-defined


print(Misspelt)
