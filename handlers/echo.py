"""Send back everything that the client sends (RFC 862)."""

from __future__ import annotations

from srvctl import BaseRequestHandler

from .shared.amplification_guard import GuardedDatagramHandler
from .shared.records import MAX_RECORD_BYTES


class Stream(BaseRequestHandler):
    """Echo until the client shuts down its side. On sequenced packets each record is echoed as one record."""

    def handle(self) -> None:
        while data := self.request.recv(MAX_RECORD_BYTES):
            self.request.sendall(data)


class Datagram(GuardedDatagramHandler):
    """Echo one datagram."""

    def handle(self) -> None:
        self.wfile.write(self.packet)
