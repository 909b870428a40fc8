"""One conversation: who with, since when, what came and went; and the socket that counts it.

A conversation is a connection, or a datagram with its answer. Nothing here decides anything; `srvctl.serving` does.
"""

from __future__ import annotations

import _socket
import fcntl
import mmap
import socket
import struct
import termios
from time import monotonic, monotonic_ns

from srvctl.address import format_sockaddr, mapped
from srvctl.socketserver.datagram import ICMP_ERRNOS, ReplySocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, MutableSequence
    from typing import Any

    Meter = MutableSequence[int]

# What a meter holds: bytes, monotonic nanoseconds, and how the handler ended. A forked child's is in memory that
# it shares with its parent, so these are whole numbers.
RECEIVED, SENT, CAME_AT, WENT_AT, OUTCOME, LOST, METER_ITEMS = range(7)
_METER_BYTES = 64  # a cache line each: neighbours are written by other processes

DONE, FAILED, RESET, EXITED = range(4)
OUTCOMES = ("done", "failed", "reset", "exit")

_PEEK = socket.MSG_PEEK
_recv, _recv_into = _socket.socket.recv, _socket.socket.recv_into
_send, _sendall = _socket.socket.send, _socket.socket.sendall


class Conversation:
    """A row of the server's table.

    `how` is set by whoever ends it against its will; otherwise the meter says how the handler ended. `pid` is the
    child that serves it, or 0.
    """

    __slots__ = ("began", "cut_at", "half_closed", "how", "meter", "outq", "peer", "pid", "request")

    def __init__(self, request: Any, peer: Any, meter: Meter) -> None:
        self.request = request
        self.peer = peer
        self.meter = meter
        self.began = monotonic()
        self.pid = 0
        self.how = ""
        self.cut_at = 0.0
        self.half_closed = False
        self.outq = 0

    @property
    def connection(self) -> socket.socket | None:
        """The connection, or None for a datagram."""
        return self.request if isinstance(self.request, socket.socket) else None

    @property
    def age(self) -> float:
        """Seconds since it began."""
        return monotonic() - self.began

    @property
    def name(self) -> str:
        """The peer, for the log: its address, or the process that a nameless unix peer was."""
        text = format_sockaddr(self.peer)
        connection = self.connection
        if text == "-" and connection is not None and connection.family == socket.AF_UNIX:
            try:
                credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            except OSError:
                return text
            return f"pid:{struct.unpack('3i', credentials)[0]}"
        return text

    def last_came(self) -> float:
        """Return when something came last, or when it began; with unread bytes in the kernel, that is now."""
        if _queued(self.connection, termios.FIONREAD):
            return monotonic()
        return max(self.began, self.meter[CAME_AT] / 1e9)

    def last_moved(self) -> float:
        """Return when something came or went last; what the peer's kernel has taken since we looked counts."""
        outq = _queued(self.connection, termios.TIOCOUTQ)
        if outq != self.outq:
            self.outq = outq
            return monotonic()
        return max(self.last_came(), self.meter[WENT_AT] / 1e9)


def _queued(connection: socket.socket | None, request: int) -> int:
    """Return the bytes that the kernel holds for `connection`, one way or the other: tcp(7), unix(7)."""
    if connection is None:
        return 0
    try:
        return int.from_bytes(fcntl.ioctl(connection.fileno(), request, b"\0\0\0\0"), "little")
    except (OSError, ValueError):
        return 0


def new_meter() -> Meter:
    """Return a meter for this process alone."""
    return [0] * METER_ITEMS


class SharedMeters:
    """Meters in memory that forked children share with their parent; `take` and `give_back` are the parent's."""

    def __init__(self, count: int) -> None:
        self._memory = mmap.mmap(-1, (count + 1) * _METER_BYTES)
        self._words = memoryview(self._memory).cast("q")
        self._free = list(range(count))
        self._flag = count * _METER_BYTES // 8

    @property
    def flag(self) -> bool:
        """One bit that parent and children share: the parent sets it, for good."""
        return self._words[self._flag] != 0

    def raise_flag(self) -> None:
        """Set the flag."""
        self._words[self._flag] = 1

    def take(self) -> Meter | None:
        """Return a meter that reads zero, or None when all are taken."""
        if not self._free:
            return None
        width = _METER_BYTES // 8
        at = self._free.pop() * width
        self._words[at : at + width] = memoryview(bytes(_METER_BYTES)).cast("q")
        return _SharedMeter(self._words[at : at + width], at // width)  # type: ignore[return-value]

    def give_back(self, meter: Any) -> None:
        """Take back a meter of `take`; any other is not ours."""
        if isinstance(meter, _SharedMeter):
            self._free.append(meter.slot)


class _SharedMeter:
    __slots__ = ("_words", "slot")

    def __init__(self, words: memoryview[int], slot: int) -> None:
        self._words, self.slot = words, slot

    def __getitem__(self, item: int) -> int:
        return self._words[item]

    def __setitem__(self, item: int, value: int) -> None:
        self._words[item] = value


class Connection(socket.socket):
    """An accepted connection that notes on its meter what comes and goes, and is a socket in everything else."""

    __slots__ = ("meter",)

    meter: Meter

    def _came(self, count: int) -> None:
        if count:
            meter = self.meter
            meter[RECEIVED] += count
            meter[CAME_AT] = monotonic_ns()

    def _went(self, count: int) -> None:
        meter = self.meter
        meter[SENT] += count
        meter[WENT_AT] = monotonic_ns()

    def note_received(self, count: int) -> None:
        """Count `count` bytes that a handler took off the descriptor by itself, as splice(2) does."""
        self._came(count)

    def note_sent(self, count: int) -> None:
        """Count `count` bytes that a handler put on the descriptor by itself."""
        self._went(count)

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        data = _recv(self, bufsize, flags)
        if not flags & _PEEK:
            self._came(len(data))
        return data

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        count = _recv_into(self, buffer, nbytes, flags)
        if not flags & _PEEK:
            self._came(count)
        return count

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        data, address = super().recvfrom(bufsize, flags)
        if not flags & _PEEK:
            self._came(len(data))
        return data, address

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        count, address = super().recvfrom_into(buffer, nbytes, flags)
        if not flags & _PEEK:
            self._came(count)
        return count, address

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /) -> tuple[bytes, list[Any], int, Any]:
        message = super().recvmsg(bufsize, ancbufsize, flags)
        if not flags & _PEEK:
            self._came(len(message[0]))
        return message

    def recvmsg_into(
        self, buffers: Iterable[Any], ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[int, list[Any], int, Any]:
        message = super().recvmsg_into(buffers, ancbufsize, flags)
        if not flags & _PEEK:
            self._came(message[0])
        return message

    def send(self, data: Any, flags: int = 0, /) -> int:
        count = _send(self, data, flags)
        self._went(count)
        return count

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        _sendall(self, data, flags)
        self._went(len(data) if type(data) is bytes else memoryview(data).nbytes)

    def sendmsg(self, buffers: Iterable[Any], ancdata: Any = (), flags: int = 0, address: Any = None, /) -> int:
        count = super().sendmsg(buffers, ancdata, flags, address)
        self._went(count)
        return count

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        before = self.meter[SENT]
        sent = super().sendfile(file, offset, count)
        self._went(max(0, sent - (self.meter[SENT] - before)))  # without os.sendfile it went through `send`
        return sent


class CountingReply(ReplySocket):
    """What a handler of srvctl's answers a datagram with; it notes what went, and bears ICMP errors."""

    __slots__ = ("meter",)

    meter: Meter

    def sendto(self, data: Any, *flags_and_address: Any) -> int:
        *flags, address = flags_and_address
        address = mapped(address) if self._sock.family == socket.AF_INET6 else address
        try:
            sent = super().sendto(data, *flags, address)
        except OSError as error:
            if error.errno not in ICMP_ERRNOS or self._sock.family == socket.AF_UNIX:
                raise
            # An error that came back for an earlier datagram, to whomever; asking took it off the socket.
            self.meter[LOST] += 1
            sent = super().sendto(data, *flags, address)
        self.meter[SENT] += sent
        self.meter[WENT_AT] = monotonic_ns()
        return sent
