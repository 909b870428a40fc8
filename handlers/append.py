"""Append each line, record or datagram to a file or standard output."""

from __future__ import annotations

import re
import socket

from srvctl import BaseRequestHandler, DatagramRequestHandler

from .shared.append_file import AppendOptions
from .shared.records import MAX_RECORD_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

READ_BYTES = 64 * 1024

_ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}


class TooLong(Exception):
    """Records were dropped because they had more than ``longest`` bytes."""


def unescaped(text: str) -> bytes:
    r"""Return `text` with ``\n``, ``\r``, ``\t``, ``\0``, ``\\`` and ``\xNN`` replaced by the bytes they stand for."""
    return re.sub(
        rb"\\(?:x([0-9a-fA-F]{2})|([nrt0\\]))",
        lambda match: bytes.fromhex(match[1].decode()) if match[1] else _ESCAPES[match[2]],
        text.encode(errors="surrogateescape"),
    )


class Stream(AppendOptions, BaseRequestHandler):
    """Append each line when it is complete. The end of the connection completes the last line."""

    end: str = r"\n"

    def handle(self) -> None:
        output, end = self.server.state.ensure_open(), unescaped(self.end)
        reader = PacketReader if self.request.type == socket.SOCK_SEQPACKET else LineReader
        records = reader(self.request, end, self.longest)
        try:
            for complete in records:
                output.append(complete, self.sync == "record")
        finally:
            if self.sync == "end":
                output.sync()
        if records.dropped:
            raise TooLong(f"dropped {records.dropped} records of more than {self.longest} bytes")


class Datagram(AppendOptions, DatagramRequestHandler):
    """Append the datagram."""

    end: str = r"\n"

    def handle(self) -> None:
        output, end = self.server.state.ensure_open(), unescaped(self.end)
        if len(self.packet) > self.longest:
            raise TooLong(f"dropped a record of {len(self.packet)} bytes; the limit is {self.longest}")
        output.append(terminated(self.packet, end), self.sync != "no")


def terminated(record: bytes, end: bytes) -> bytes:
    """Return `record` with `end` at its end, exactly once."""
    return record if record.endswith(end) else record + end


class PacketReader:
    """Iterate over the records of a sequenced-packet connection.

    Each yielded record is terminated with `end`. Records of more than `longest` bytes are only counted, in `dropped`.
    """

    def __init__(self, connection: socket.socket, end: bytes, longest: int) -> None:
        self.connection, self.end, self.longest = connection, end, longest
        self.dropped = 0

    def __iter__(self) -> Iterator[bytes]:
        while record := self.connection.recv(MAX_RECORD_BYTES):
            if len(record) > self.longest:
                self.dropped += 1
            else:
                yield terminated(record, self.end)


class LineReader(PacketReader):
    """Iterate over the lines of a stream, joined as far as they were received together.

    With an empty `end` there are no lines: the data is yielded as it is received.
    """

    def __iter__(self) -> Iterator[bytes]:
        rest, is_too_long = b"", False
        while data := self.connection.recv(READ_BYTES):
            *lines, rest = (rest + data).split(self.end) if self.end else (data, b"")
            if lines and is_too_long:  # the end of the line that is being dropped
                del lines[0]
                is_too_long = False
            accepted = [line for line in lines if len(line) <= self.longest or not self.end]
            self.dropped += len(lines) - len(accepted)
            if accepted:
                yield b"".join(line + self.end for line in accepted)
            if len(rest) > self.longest or is_too_long:
                self.dropped += not is_too_long
                # Drop all of it but the last bytes, which may be the beginning of `end`.
                rest, is_too_long = rest[len(rest) - len(self.end) + 1 :], True
        if rest and not is_too_long:
            yield rest + self.end
