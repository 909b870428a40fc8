"""Append what comes to a file or standard output, one record a line or datagram."""

from __future__ import annotations

import re
import socket

from srvctl import BaseRequestHandler, DatagramRequestHandler

from .shared.append_file import Appending

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE_BYTES = 64 * 1024
LONGEST_RECORD = 256 * 1024  # of sequenced packets; see `srvctl.handlers.echo`

_ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}


class TooLong(Exception):
    """Records were dropped because they had more bytes than ``longest``."""


def unescaped(text: str) -> bytes:
    r"""Return `text` with ``\n``, ``\r``, ``\t``, ``\0``, ``\\`` and ``\xNN`` as the bytes they stand for."""
    return re.sub(
        rb"\\(?:x([0-9a-fA-F]{2})|([nrt0\\]))",
        lambda found: bytes.fromhex(found[1].decode()) if found[1] else _ESCAPES[found[2]],
        text.encode(errors="surrogateescape"),
    )


class Stream(Appending, BaseRequestHandler):
    """Append each line when it is complete, and at the end of the connection what is left."""

    end: str = r"\n"

    def handle(self) -> None:
        place, end = self.prepare().opened(), unescaped(self.end)
        if self.request.type == socket.SOCK_SEQPACKET:
            records = Packets(self.request, end, self.longest)
        else:
            records = Lines(self.request, end, self.longest)
        try:
            for complete in records:
                place.append(complete, self.sync == "record")
        finally:
            if self.sync == "end":
                place.sync()
        if records.dropped:
            raise TooLong(f"dropped {records.dropped} records of more than {self.longest} bytes")


class Datagram(Appending, DatagramRequestHandler):
    """Append the datagram."""

    end: str = r"\n"

    def handle(self) -> None:
        place, end = self.prepare().opened(), unescaped(self.end)
        if len(self.packet) > self.longest:
            raise TooLong(f"dropped a record of {len(self.packet)} bytes; at most {self.longest} are taken")
        place.append(ended(self.packet, end), self.sync != "no")


def ended(record: bytes, end: bytes) -> bytes:
    """Return `record` with `end` behind it, once."""
    return record if record.endswith(end) else record + end


class Packets:
    """The records of a connection that keeps them apart; `dropped` is how many were longer than `longest`."""

    def __init__(self, connection: socket.socket, end: bytes, longest: int) -> None:
        self.connection, self.end, self.longest = connection, end, longest
        self.dropped = 0

    def __iter__(self) -> Iterator[bytes]:
        while record := self.connection.recv(LONGEST_RECORD):
            if len(record) > self.longest:
                self.dropped += 1
            else:
                yield ended(record, self.end)


class Lines(Packets):
    """The records of a stream, as many at a time as have come; without an `end` to look for, whatever has come."""

    def __iter__(self) -> Iterator[bytes]:
        kept, is_too_long = b"", False
        while data := self.connection.recv(PIECE_BYTES):
            *lines, kept = (kept + data).split(self.end) if self.end else (data, b"")
            if lines and is_too_long:  # its end has come
                del lines[0]
                is_too_long = False
            whole = [line for line in lines if len(line) <= self.longest or not self.end]
            self.dropped += len(lines) - len(whole)
            if whole:
                yield b"".join(line + self.end for line in whole)
            if len(kept) > self.longest or is_too_long:
                self.dropped += not is_too_long
                # Thrown away, but for what may be the beginning of its end.
                kept, is_too_long = kept[len(kept) - len(self.end) + 1 :], True
        if kept and not is_too_long:
            yield kept + self.end
