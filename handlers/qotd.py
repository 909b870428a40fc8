"""Send the quote of the day (RFC 865)."""

from __future__ import annotations

import os
import time

from srvctl import BaseRequestHandler
from srvctl.errors import LoadError

from .shared.amplification_guard import GuardedDatagramHandler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from srvctl.loader.builtin import SandboxNeeds

POSTEL = "Be liberal in what you accept, and conservative in what you send. (RFC 1122)"
MAX_QUOTE_BYTES = 511  # RFC 865: "less than 512 characters", the end of the last line included


def todays_quote(default: str, file: str) -> bytes:
    """Return today's quote from `file`, or `default` if no file is named or it has no quotes.

    A line with only a percent sign separates two quotes. The file is read for each request, so that it can be edited
    while the server runs. Raises OSError.
    """
    quote = default
    if file:
        with open(file, encoding="utf-8", errors="replace") as lines:
            quotes = [block for block in f"\n{lines.read()}\n".split("\n%\n") if block.strip()]
        if quotes:
            days = int(time.time()) // 86400
            quote = quotes[days % len(quotes)]
    text = "\r\n".join(quote.strip().splitlines()).encode("ascii", "replace")
    return text[: MAX_QUOTE_BYTES - 2] + b"\r\n"


class _QuoteOptions:
    """The options of both handlers, and the two class methods that srvctl calls before there is a request."""

    quote: str = POSTEL
    file: str = ""

    @classmethod
    def service_start(cls, server: Any) -> None:
        """Check in each worker, before it serves, that the file can be read. Raises `LoadError`."""
        try:
            todays_quote(cls.quote, cls.file)
        except OSError as error:
            raise LoadError("read", f"{cls.file!r}", error.strerror or str(error)) from error

    @classmethod
    def needs(cls) -> SandboxNeeds:
        """Return what ``srvctl unit`` must leave accessible."""
        from srvctl.loader.builtin import SandboxNeeds

        return SandboxNeeds(reads=(os.path.dirname(os.path.abspath(cls.file)),) if cls.file else ())


class Stream(_QuoteOptions, BaseRequestHandler):
    """Send the quote. Input from the client is ignored."""

    def handle(self) -> None:
        self.request.sendall(todays_quote(self.quote, self.file))


class Datagram(_QuoteOptions, GuardedDatagramHandler):
    """Answer any datagram that is at least as long as the quote."""

    def handle(self) -> None:
        self.wfile.write(todays_quote(self.quote, self.file))
