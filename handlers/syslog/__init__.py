"""Write syslog messages, one line each, to a file or standard output (RFC 5424)."""

from __future__ import annotations

import socket
import time

from srvctl import BaseRequestHandler, DatagramRequestHandler
from srvctl.errors import UsageError

from ..shared.append_file import Appending, Output
from .frames import Frames
from .message import Message, as_json, as_text, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

FORMATS: dict[str, Callable[[Message], str]] = {"text": as_text, "json": as_json}


class _Recording(Appending):
    """The options of both handlers, and what becomes of a message."""

    longest: int = 8192
    format: str = "text"

    @classmethod
    def prepare(cls) -> Output:
        """Return what to append to. Raises `UsageError` and `LoadError`."""
        if cls.format not in FORMATS:
            raise UsageError("set", f"format={cls.format!r}", f"expected {' or '.join(FORMATS)}")
        return super().prepare()

    def _line(self, raw: bytes, client_address: Any) -> bytes:
        """Return `raw` as a line; who sent it and when it came is what it does not say itself."""
        is_local = not isinstance(client_address, tuple)
        sender = socket.gethostname() if is_local else str(client_address[0])
        message = parse(raw, time.time(), is_local)
        return (FORMATS[self.format](message._replace(host=message.host or sender)) + "\n").encode()


class Stream(_Recording, BaseRequestHandler):
    """Write the messages of a connection, in either framing of RFC 6587."""

    def handle(self) -> None:
        place = self.prepare().opened()
        try:
            for messages in Frames(self.request, self.longest):
                lines = [self._line(message, self.client_address) for message in messages]
                place.append(b"".join(lines), self.sync == "record")
        finally:
            if self.sync == "end":
                place.sync()


class Datagram(_Recording, DatagramRequestHandler):
    """Write the message of a datagram."""

    def handle(self) -> None:
        place = self.prepare().opened()
        raw = self.packet.rstrip(b"\r\n\0")
        if len(raw) > self.longest:
            raw = raw[: self.longest] + b"..."
        if raw:
            place.append(self._line(raw, self.client_address), self.sync != "no")
