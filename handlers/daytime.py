"""Send the date and time as a line of text (RFC 867)."""

from __future__ import annotations

import time

from srvctl import BaseRequestHandler

from .shared.amplification_guard import GuardedDatagramHandler

# The first of the two formats that RFC 867 calls popular.
POPULAR = "%A, %B %d, %Y %H:%M:%S-%Z"


def now(format: str) -> bytes:
    """Return the local time as one line of ASCII; `format` is that of strftime(3)."""
    return time.strftime(format).encode("ascii", "replace") + b"\r\n"


class Stream(BaseRequestHandler):
    """Send the line. Input from the client is ignored."""

    format: str = POPULAR

    def handle(self) -> None:
        self.request.sendall(now(self.format))


class Datagram(GuardedDatagramHandler):
    """Answer any datagram that is at least as long as the line."""

    format: str = POPULAR

    def handle(self) -> None:
        self.wfile.write(now(self.format))
