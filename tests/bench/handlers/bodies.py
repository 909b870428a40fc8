"""What each handler does, without a base class: the same lines for every server that takes a handler class."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Pong:
    """Answer each line as `redis-benchmark -t ping_inline` expects it."""

    rfile: Any
    wfile: Any

    def handle(self) -> None:
        for _ in self.rfile:
            self.wfile.write(b"+PONG\r\n")


class Lines:
    """Send back each line, so that a client can check whose it is."""

    rfile: Any
    wfile: Any

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)


class Dns:
    """Set the answer bit (QR) in the header: enough of a DNS server for dnsperf (RFC 1035, 4.1.1)."""

    packet: bytes
    wfile: Any

    def handle(self) -> None:
        self.wfile.write(answered(self.packet))


class Datagram:
    """Send back the datagram."""

    packet: bytes
    wfile: Any

    def handle(self) -> None:
        self.wfile.write(self.packet)


def answered(query: bytes) -> bytes:
    """Return `query` with the answer bit set."""
    return query[:2] + bytes((query[2] | 0x80,)) + query[3:]
