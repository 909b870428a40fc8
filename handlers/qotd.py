"""Send the quote of the day (RFC 865)."""

from __future__ import annotations

import os
import time

from srvctl import BaseRequestHandler
from srvctl.errors import LoadError

from .shared.amplification_guard import GuardedDatagramHandler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvctl.loader.builtin import SandboxNeeds

POSTEL = "Be liberal in what you accept, and conservative in what you send. (RFC 1122)"
LONGEST_QUOTE = 511  # RFC 865: "less than 512 characters", the end of the last line included


def todays(quote: str, file: str) -> bytes:
    """Return `quote`, or today's of those in `file`, whose quotes have a line with a percent sign between them.

    The file is read for each request, so that it can be edited. Raises OSError when it cannot be read.
    """
    if file:
        with open(file, encoding="utf-8", errors="replace") as opened:
            quotes = [found for found in f"\n{opened.read()}\n".split("\n%\n") if found.strip()]
        if quotes:
            quote = quotes[int(time.time()) // 86400 % len(quotes)]
    text = "\r\n".join(quote.strip().splitlines()).encode("ascii", "replace")
    return text[: LONGEST_QUOTE - 2] + b"\r\n"


class _Quoting:
    """The options of both handlers, and what they take."""

    quote: str = POSTEL
    file: str = ""

    @classmethod
    def prepare(cls) -> None:
        """Read the file as each request does. Raises `LoadError`."""
        try:
            todays(cls.quote, cls.file)
        except OSError as error:
            raise LoadError("read", f"{cls.file!r}", error.strerror or str(error)) from error

    @classmethod
    def needs(cls) -> SandboxNeeds:
        """Return what a sandbox must leave it."""
        from srvctl.loader.builtin import SandboxNeeds

        return SandboxNeeds(reads=(os.path.dirname(os.path.abspath(cls.file)),) if cls.file else ())


class Stream(_Quoting, BaseRequestHandler):
    """Send the quote; whatever the peer sends is ignored."""

    def handle(self) -> None:
        self.request.sendall(todays(self.quote, self.file))


class Datagram(_Quoting, GuardedDatagramHandler):
    """Answer any datagram that is at least as long as the quote."""

    def handle(self) -> None:
        self.wfile.write(todays(self.quote, self.file))
