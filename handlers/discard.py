"""Read everything that the client sends, and answer nothing (RFC 863)."""

from __future__ import annotations

from srvctl import BaseRequestHandler, DatagramRequestHandler


class Stream(BaseRequestHandler):
    """Read until the client shuts down its side."""

    def handle(self) -> None:
        while self.request.recv(65536):
            pass


class Datagram(DatagramRequestHandler):
    """Take one datagram. There is no answer, because nothing is written to ``wfile``."""

    def handle(self) -> None:
        pass
