"""Send lines of characters until the peer goes away (RFC 864)."""

from __future__ import annotations

from itertools import chain, cycle, islice

from srvctl import StreamRequestHandler

from .shared.amplification_guard import GuardedDatagramHandler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PRINTABLE = bytes(range(0x20, 0x7F))
LONGEST_DATAGRAM = 512  # RFC 864: "between 0 and 512" characters


def lines(length: int) -> Iterator[bytes]:
    """Yield lines of `length` characters for ever, each one character further along the ring than the last."""
    ring = PRINTABLE * (length // len(PRINTABLE) + 2)
    for start in cycle(range(len(PRINTABLE))):
        yield ring[start : start + length] + b"\r\n"


class Stream(StreamRequestHandler):
    """Send until the server is asked to stop; that the peer has gone is an exception out of ``wfile``."""

    line_length: int = 72
    wbufsize = -1  # a system call for every few kilobytes, not for every line

    def handle(self) -> None:
        for line in lines(self.line_length):
            if getattr(self.server, "draining", False):  # the standard library's servers do not have it
                break
            self.wfile.write(line)


class Datagram(GuardedDatagramHandler):
    """Answer with as many characters as came."""

    line_length: int = 72

    def handle(self) -> None:
        size = min(len(self.packet), LONGEST_DATAGRAM)
        self.wfile.write(bytes(islice(chain.from_iterable(lines(self.line_length)), size)))
