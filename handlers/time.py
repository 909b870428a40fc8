"""Send the time as a 32-bit number of seconds since 1900 (RFC 868)."""

from __future__ import annotations

import time

from srvctl import BaseRequestHandler

from .shared.amplification_guard import GuardedDatagramHandler

# Seconds from 1900-01-01 to the epoch of time(2): 70 years with 17 leap days. RFC 868 gives the same number.
FROM_1900_TO_1970 = 2_208_988_800


def now() -> bytes:
    """Return the time in network byte order.

    RFC 868: "this base will serve until the year 2036". On 2036-02-07 at 06:28:16 UTC the number wraps to 0, as NTP's
    does. A client that knows the date roughly can tell the two eras apart.
    """
    return ((int(time.time()) + FROM_1900_TO_1970) % 2**32).to_bytes(4, "big")


class Stream(BaseRequestHandler):
    """Send the number. Input from the client is ignored."""

    def handle(self) -> None:
        self.request.sendall(now())


class Datagram(GuardedDatagramHandler):
    """Answer any datagram of at least four bytes."""

    def handle(self) -> None:
        self.wfile.write(now())
