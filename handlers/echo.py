"""Send back whatever comes (RFC 862)."""

from __future__ import annotations

from srvctl import BaseRequestHandler

from .shared.amplification_guard import GuardedDatagramHandler

# On sequenced packets one recv() takes one record and drops what does not fit. No socket sends a longer
# record than this unless its SO_SNDBUF was raised: net.core.wmem_default is 208 KiB, socket(7).
LONGEST_RECORD = 256 * 1024


class Stream(BaseRequestHandler):
    """Echo until the peer has sent its last byte; records come back as the records they were."""

    def handle(self) -> None:
        while data := self.request.recv(LONGEST_RECORD):
            self.request.sendall(data)


class Datagram(GuardedDatagramHandler):
    """Echo one datagram."""

    def handle(self) -> None:
        self.wfile.write(self.packet)
