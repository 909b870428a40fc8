"""Syslog messages out of a stream, each in one of the two framings of RFC 6587.

A message that begins with its length and a space has that many bytes (3.4.1); any other one ends with a line feed, or
a null byte (3.4.2). Which it is is seen message by message. What is kept of one that is not complete is bounded.
"""

from __future__ import annotations

import re
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE_BYTES = 64 * 1024
# A length beyond this is a line that begins with a number: nobody is to make us skip what others send for an hour.
MOST_COUNTED = 1024 * 1024

_BETWEEN = re.compile(rb"[\r\n\0]*")
_END = re.compile(rb"\r?\n|\0")
_COUNTED = re.compile(rb"([1-9][0-9]{0,6}) <")
_MAYBE_COUNTED = re.compile(rb"[1-9][0-9]{0,6} ?")


class Frames:
    """The messages of `connection`, as many at a time as have come.

    One of more than `longest` bytes is cut off there, with three dots behind it: RFC 5424, 6.1. At the end of the
    connection what is left is a message too.
    """

    def __init__(self, connection: socket.socket, longest: int) -> None:
        self._connection, self._longest = connection, longest
        self._kept = b""
        self._to_skip = 0  # bytes of a message that was cut off
        self._skips_line = False

    def __iter__(self) -> Iterator[list[bytes]]:
        end = b"\n" if self._connection.type == socket.SOCK_SEQPACKET else b""  # of a record
        while data := self._connection.recv(PIECE_BYTES):
            if messages := self.feed(data + end):
                yield messages
        if messages := self.end():
            yield messages

    def feed(self, data: bytes) -> list[bytes]:
        """Return the messages that `data` completes."""
        data, self._kept = self._kept + data, b""
        messages = []
        at = 0
        while at < len(data):
            message, after = self._next(data, at)
            if message:
                messages.append(message)
            if after < 0:
                self._kept = data[at:]
                break
            at = after
        return messages

    def end(self) -> list[bytes]:
        """Return what is left as a message."""
        at = _BETWEEN.match(self._kept).end()  # type: ignore[union-attr]
        if counted := _COUNTED.match(self._kept, at):
            at = counted.end(1) + 1
        left = self._kept[at:].rstrip(b"\r\n\0")
        return [left] if left else []

    def _next(self, data: bytes, at: int) -> tuple[bytes, int]:
        """Return the message at `at`, perhaps none, and where it ends, or -1 when that has not come yet."""
        if self._to_skip:
            skipped = min(self._to_skip, len(data) - at)
            self._to_skip -= skipped
            return b"", at + skipped
        if self._skips_line:
            found = _END.search(data, at)
            self._skips_line = not found
            return b"", found.end() if found else len(data)
        at = _BETWEEN.match(data, at).end()  # type: ignore[union-attr]
        counted = _COUNTED.match(data, at)
        if counted and int(counted[1]) <= MOST_COUNTED:
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
        found = _END.search(data, start)
        stop = found.start() if found else len(data)
        if stop - start > self._longest:
            self._skips_line = not found
            return data[start : start + self._longest] + b"...", found.end() if found else len(data)
        if found:
            return data[start:stop], found.end()
        return b"", len(data) if start == len(data) else -1
