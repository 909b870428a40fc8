"""One conversation: who with, since when, and its meter of what came and went.

A conversation is a connection, or a datagram with its answer. Nothing here decides anything; `srvctl.serving` does.
"""

from __future__ import annotations

import fcntl
import mmap
import socket
import struct
import termios
from time import monotonic

from srvctl.net.address import format_sockaddr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableSequence
    from typing import Any

    Meter = MutableSequence[int]

# What a meter holds: bytes, monotonic nanoseconds, and how the handler ended. A forked child's is in memory that
# it shares with its parent, so these are whole numbers.
RECEIVED, SENT, CAME_AT, WENT_AT, OUTCOME, LOST, METER_ITEMS = range(7)
SLOT = METER_ITEMS  # of a shared one: which it is
_METER_BYTES = 64  # a cache line each: neighbours are written by other processes

DONE, FAILED, RESET, EXITED = range(4)
OUTCOMES = ("done", "failed", "reset", "exit")


class Conversation:
    """A row of the server's table.

    `how` is set by whoever ends it against its will; otherwise the meter says how the handler ended. `pid` is the
    child that serves it, or 0.
    """

    # On the class until they are set: most conversations end without any of them, and each costs its constructor.
    pid = 0
    how = ""
    cut_at = 0.0
    half_closed = False
    outq = 0

    def __init__(self, request: Any, peer: Any, meter: Meter) -> None:
        self.request = request
        self.peer = peer
        self.meter = meter
        self.began = monotonic()

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
        if queued(self.connection, termios.FIONREAD):
            return monotonic()
        return max(self.began, self.meter[CAME_AT] / 1e9)

    def last_moved(self) -> float:
        """Return when something came or went last; what the peer's kernel has taken since we looked counts."""
        outq = queued(self.connection, termios.TIOCOUTQ)
        if outq != self.outq:
            self.outq = outq
            return monotonic()
        return max(self.last_came(), self.meter[WENT_AT] / 1e9)


def queued(connection: socket.socket | None, request: int) -> int:
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
        meter = self._words[at : at + width]
        meter[SLOT] = at // width
        return meter  # type: ignore[return-value]

    def at(self, slot: int) -> Meter | None:
        """Return the meter of a slot, in another process; none for -1."""
        width = _METER_BYTES // 8
        return self._words[slot * width : (slot + 1) * width] if slot >= 0 else None  # type: ignore[return-value]

    def slot_of(self, meter: Meter) -> int:
        """Return the slot of a meter of `take`, or -1."""
        return meter[SLOT] if isinstance(meter, memoryview) else -1

    def give_back(self, meter: Meter) -> None:
        """Take back a meter of `take`; any other is not ours."""
        if isinstance(meter, memoryview):
            self._free.append(meter[SLOT])
