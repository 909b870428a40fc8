"""Throw away whatever comes, and answer nothing (RFC 863)."""

from __future__ import annotations

from srvctl import BaseRequestHandler, DatagramRequestHandler


class Stream(BaseRequestHandler):
    """Read until the peer has sent its last byte."""

    def handle(self) -> None:
        while self.request.recv(65536):
            pass


class Datagram(DatagramRequestHandler):
    """Take one datagram; what is not written to ``wfile`` is not sent."""
