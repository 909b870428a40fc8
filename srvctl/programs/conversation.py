"""What came and went on a connection that another process reads and writes, as the kernel knows it.

TCP counts, tcp(7) TCP_INFO. Of other sockets the kernel tells only what is queued; so what the processes at this end
have read and written, on whatever, is taken for a sign of life, proc(5) io.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import termios
from collections import namedtuple
from time import monotonic

from srvctl.serving.conversation import RECEIVED, SENT, Conversation, queued

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from srvctl.serving.conversation import Meter

# struct tcp_info, linux/tcp.h: tcpi_state; tcpi_last_data_sent and tcpi_last_data_recv in milliseconds before now;
# tcpi_bytes_received; tcpi_data_segs_in; tcpi_bytes_sent and tcpi_bytes_retrans, which came with Linux 4.19.
_TCP_INFO = struct.Struct("@B43xI4xI72xQ16xI44xQQ")
# linux/tcp_states.h: the states in which the peer's FIN has been counted as a byte received.
_FIN_CAME = frozenset((6, 8, 9, 11))  # TIME_WAIT, CLOSE_WAIT, LAST_ACK, CLOSING


class Traffic(namedtuple("Traffic", "received sent came_at went_at")):
    """Bytes each way, and when the last of them came and went, in seconds of `time.monotonic`."""

    __slots__ = ()


def of_tcp(connection: socket.socket) -> Traffic | None:
    """Return the traffic of a TCP connection so far, or None when it is not TCP or the kernel does not tell."""
    try:
        found = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        state, sent_ago, came_ago, received, segments, sent, again = _TCP_INFO.unpack(found)
    except (OSError, struct.error):
        return None
    now = monotonic()
    received = max(0, received - (state in _FIN_CAME)) if segments else 0
    return Traffic(received, sent - again, now - came_ago / 1000, now - sent_ago / 1000)


def io_of_family(pid: int) -> int:
    """Return how much process `pid` and its descendants have read and written so far, in bytes and calls together."""
    total = 0
    with contextlib.suppress(OSError, ValueError):
        with open(f"/proc/{pid}/io", "rb") as io:
            total = sum(int(line.split()[1]) for line in io.read().splitlines()[:4])  # rchar wchar syscr syscw
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as children:
                total += sum(io_of_family(int(child)) for child in children.read().split())
    return total


class ProgramConversation(Conversation):
    """A conversation with a program, which has the connection to itself; `id` is its name in log and environment.

    `status` is the wait status of the program, when it has ended; `lines` takes its standard error and `output` its
    standard output, where we read those. `is_counted` says that the meter has what came and went.
    """

    is_counted = False
    status: int | None = None
    lines: Any = None
    output: Any = None
    signs = (0, 0, 0)
    _name = ""

    def __init__(self, request: Any, peer: Any, meter: Meter, id: str) -> None:
        super().__init__(request, peer, meter)
        self.id = id
        # As Python's own sockets know it; `family` would make an enumeration's member of it each time.
        self._is_tcp = type(self.peer) is tuple and type(self.peer[0]) is str
        self.moved_at = self.began

    @property
    def name(self) -> str:
        """The peer, for the log; as it was when it was first asked for, with the connection open."""
        self._name = self._name or super().name
        return self._name

    def close_pipes(self) -> None:
        """Read no more of what the program writes."""
        for pipe in (self.lines, self.output):
            if pipe:
                pipe.close()
        self.lines = self.output = None

    def traffic(self) -> Traffic | None:
        """Return what came and went, where the kernel tells."""
        connection = self.connection if self._is_tcp else None
        return of_tcp(connection) if connection is not None else None

    def count(self) -> None:
        """Put what came and went on the meter, as far as it is known; a datagram's is there already."""
        if self.connection is None:
            self.is_counted = True
        elif traffic := self.traffic():
            self.meter[RECEIVED], self.meter[SENT] = traffic.received, traffic.sent
            self.is_counted = True

    def last_came(self) -> float:
        """Return when something came last; where the kernel does not tell, when something moved."""
        if (came_at := super().last_came()) > self.began:  # it has not been read yet
            return came_at
        traffic = self.traffic()
        return traffic.came_at if traffic else self.last_moved()

    def last_moved(self) -> float:
        traffic = self.traffic()
        signs = self._signs(is_counted=bool(traffic))
        if signs != self.signs:
            self.signs, self.moved_at = signs, monotonic()
        return max(self.moved_at, traffic.came_at, traffic.went_at) if traffic else self.moved_at

    def _signs(self, is_counted: bool) -> tuple[int, int, int]:
        """Return what changes when something moves: what is queued, and what has been read and written."""
        if self.connection is None:
            return 0, 0, io_of_family(self.pid)
        queued_out = queued(self.connection, termios.TIOCOUTQ)
        if is_counted:
            return 0, queued_out, 0
        return queued(self.connection, termios.FIONREAD), queued_out, io_of_family(self.pid)
