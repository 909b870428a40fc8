"""Write syslog messages, one line each, to a file or standard output (RFC 5424)."""

from __future__ import annotations

import socket
import time

from srvctl import BaseRequestHandler, DatagramRequestHandler
from srvctl.errors import UsageError

from ..shared.append_file import AppendOptions, Output
from .frames import FrameReader
from .message import Message, as_json, as_text, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

FORMATS: dict[str, Callable[[Message], str]] = {"text": as_text, "json": as_json}


class _SyslogOptions(AppendOptions):
    """The options of both handlers, and the conversion of a message to a line."""

    longest: int = 8192
    format: str = "text"

    @classmethod
    def service_start(cls, server: Any) -> Output:
        """Check the options, and return the output. Raises `UsageError` and `LoadError`."""
        if cls.format not in FORMATS:
            raise UsageError("set", f"format={cls.format!r}", f"expected {' or '.join(FORMATS)}")
        return super().service_start(server)

    def _line(self, raw: bytes, client_address: Any) -> bytes:
        """Return the message `raw` as a line, with our time and the client's address where it has no time or host."""
        is_local = not isinstance(client_address, tuple)
        sender = socket.gethostname() if is_local else str(client_address[0])
        message = parse(raw, time.time(), is_local)
        return (FORMATS[self.format](message._replace(host=message.host or sender)) + "\n").encode()


class Stream(_SyslogOptions, BaseRequestHandler):
    """Write the messages of a connection, in either framing of RFC 6587."""

    def handle(self) -> None:
        output = self.server.state.ensure_open()
        try:
            for messages in FrameReader(self.request, self.longest):
                lines = [self._line(message, self.client_address) for message in messages]
                output.append(b"".join(lines), self.sync == "record")
        finally:
            if self.sync == "end":
                output.sync()


class Datagram(_SyslogOptions, DatagramRequestHandler):
    """Write the message of a datagram."""

    def handle(self) -> None:
        output = self.server.state.ensure_open()
        raw = self.packet.rstrip(b"\r\n\0")
        if len(raw) > self.longest:
            raw = raw[: self.longest] + b"..."
        if raw:
            output.append(self._line(raw, self.client_address), self.sync != "no")
