"""Send lines of characters until the client disconnects (RFC 864)."""

from __future__ import annotations

from itertools import chain, cycle, islice

from srvctl import StreamRequestHandler

from .shared.amplification_guard import GuardedDatagramHandler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PRINTABLE = bytes(range(0x20, 0x7F))
MAX_DATAGRAM_BYTES = 512  # RFC 864: "between 0 and 512" characters


def lines(length: int) -> Iterator[bytes]:
    """Yield lines of `length` characters for ever; each line starts one character later than the line before."""
    ring = PRINTABLE * (length // len(PRINTABLE) + 2)
    for start in cycle(range(len(PRINTABLE))):
        yield ring[start : start + length] + b"\r\n"


class Stream(StreamRequestHandler):
    """Send until the server stops, or until the client disconnects: then writing to ``wfile`` raises."""

    line_length: int = 72
    wbufsize = -1  # buffered: one system call for many lines

    def handle(self) -> None:
        for line in lines(self.line_length):
            if getattr(self.server, "draining", False):  # servers of the standard library have no such attribute
                break
            self.wfile.write(line)


class Datagram(GuardedDatagramHandler):
    """Answer with as many characters as the datagram has bytes."""

    line_length: int = 72

    def handle(self) -> None:
        size = min(len(self.packet), MAX_DATAGRAM_BYTES)
        self.wfile.write(bytes(islice(chain.from_iterable(lines(self.line_length)), size)))
