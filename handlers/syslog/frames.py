"""Framing of syslog messages in a stream, RFC 6587.

A message that begins with its length and a space is octet-counted (3.4.1). Any other message ends at a line feed or a
null byte (3.4.2). Both may occur in one stream. The memory for an incomplete message is bounded.
"""

from __future__ import annotations

import re
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

READ_BYTES = 64 * 1024
# A larger number is not a length but the beginning of a line. Otherwise a sender behind a shared relay could announce a
# huge message and have all messages that follow discarded.
MAX_COUNTED_BYTES = 1024 * 1024

_BETWEEN = re.compile(rb"[\r\n\0]*")
_END = re.compile(rb"\r?\n|\0")
_COUNTED = re.compile(rb"([1-9][0-9]{0,6}) <")
_MAYBE_COUNTED = re.compile(rb"[1-9][0-9]{0,6} ?")


class FrameReader:
    """Iterate over the messages of `connection`, in lists of those that were received together.

    A message of more than `longest` bytes is cut there and ends in three dots: RFC 5424, 6.1. The end of the connection
    completes the last message.
    """

    def __init__(self, connection: socket.socket, longest: int) -> None:
        self._connection, self._longest = connection, longest
        self._rest = b""
        self._to_skip = 0  # bytes that are left of an octet-counted message that was cut
        self._skips_line = False

    def __iter__(self) -> Iterator[list[bytes]]:
        end = b"\n" if self._connection.type == socket.SOCK_SEQPACKET else b""  # one record is one message
        while data := self._connection.recv(READ_BYTES):
            if messages := self.feed(data + end):
                yield messages
        if messages := self.end():
            yield messages

    def feed(self, data: bytes) -> list[bytes]:
        """Return the messages that `data` completes."""
        data, self._rest = self._rest + data, b""
        messages = []
        at = 0
        while at < len(data):
            message, after = self._next(data, at)
            if message:
                messages.append(message)
            if after < 0:
                self._rest = data[at:]
                break
            at = after
        return messages

    def end(self) -> list[bytes]:
        """Return the incomplete message at the end of the connection, if there is one."""
        at = _BETWEEN.match(self._rest).end()  # type: ignore[union-attr]
        if counted := _COUNTED.match(self._rest, at):
            at = counted.end(1) + 1
        left = self._rest[at:].rstrip(b"\r\n\0")
        return [left] if left else []

    def _next(self, data: bytes, at: int) -> tuple[bytes, int]:
        """Return the message at `at`, empty if there is none, and the index after it, or -1 if it is incomplete."""
        if self._to_skip:
            skipped = min(self._to_skip, len(data) - at)
            self._to_skip -= skipped
            return b"", at + skipped
        if self._skips_line:
            match = _END.search(data, at)
            self._skips_line = not match
            return b"", match.end() if match else len(data)
        at = _BETWEEN.match(data, at).end()  # type: ignore[union-attr]
        counted = _COUNTED.match(data, at)
        if counted and int(counted[1]) <= MAX_COUNTED_BYTES:
            return self._counted(data, counted.end(1) + 1, int(counted[1]))
        if _MAYBE_COUNTED.fullmatch(data, at):
            return b"", -1
        return self._line(data, at)

    def _counted(self, data: bytes, start: int, length: int) -> tuple[bytes, int]:
        wanted = min(length, self._longest)
        if len(data) - start < wanted:
            return b"", -1
        message = data[start : start + wanted]
        self._to_skip = length - wanted
        return (message + b"..." if self._to_skip else message.rstrip(b"\r\n\0")), start + wanted

    def _line(self, data: bytes, start: int) -> tuple[bytes, int]:
        match = _END.search(data, start)
        stop = match.start() if match else len(data)
        if stop - start > self._longest:
            self._skips_line = not match
            return data[start : start + self._longest] + b"...", match.end() if match else len(data)
        if match:
            return data[start:stop], match.end()
        return b"", len(data) if start == len(data) else -1
