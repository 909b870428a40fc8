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

from srvctl.runtime import log
from srvctl.runtime.current import ID_PREFIX
from srvctl.runtime.exit_status import signal_name
from srvctl.serving.conversation import (
    DONE,
    HANDLER_OUTCOME,
    RECEIVED,
    SENT,
    Conversation,
    Outcome,
    queued_bytes,
)
from srvctl.serving.datagram import DatagramConversation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvctl.programs.output import DatagramReply, StderrLines

# struct tcp_info, linux/tcp.h: tcpi_state; tcpi_last_data_sent and tcpi_last_data_recv in milliseconds before now;
# tcpi_bytes_received; tcpi_data_segs_in; tcpi_bytes_sent and tcpi_bytes_retrans, which came with Linux 4.19.
_TCP_INFO = struct.Struct("@B43xI4xI72xQ16xI44xQQ")
# linux/tcp_states.h: the states in which the peer's FIN has been counted as a byte received.
_FIN_CAME = frozenset((6, 8, 9, 11))  # TIME_WAIT, CLOSE_WAIT, LAST_ACK, CLOSING


class TcpCounters(namedtuple("TcpCounters", "received sent received_at sent_at")):
    """Bytes each way, and when the last of them came and went, in seconds of `time.monotonic`."""

    __slots__ = ()


def read_tcp_info(connection: socket.socket) -> TcpCounters | None:
    """Return the counters of a TCP connection so far, or None when it is not TCP or the kernel does not tell."""
    try:
        found = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        state, sent_ago, received_ago, received, segments, sent, again = _TCP_INFO.unpack(found)
    except (OSError, struct.error):
        return None
    now = monotonic()
    received = max(0, received - (state in _FIN_CAME)) if segments else 0
    return TcpCounters(received, sent - again, now - received_ago / 1000, now - sent_ago / 1000)


def process_tree_io(pid: int) -> int:
    """Return how much process `pid` and its descendants have read and written so far, in bytes and calls together."""
    total = 0
    with contextlib.suppress(OSError, ValueError):
        with open(f"/proc/{pid}/io", "rb") as io:
            total = sum(int(line.split()[1]) for line in io.read().splitlines()[:4])  # rchar wchar syscr syscw
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as children:
                total += sum(process_tree_io(int(child)) for child in children.read().split())
    return total


class ProgramConversation(Conversation):
    """A conversation with a program, which has the connection to itself; the program's environment has its `id`.

    `status` is the wait status of the program, when it has ended; `lines` takes its standard error and `output` its
    standard output, where we read those. `is_counted` says that the meter has what came and went.
    """

    is_established = is_counted = False
    status: int | None = None
    lines: StderrLines | None = None
    output: DatagramReply | None = None
    _activity_marks = (0, 0, 0)
    _moved_at = 0.0
    _name = ""

    @property
    def name(self) -> str:
        """The peer, for the log; as it was when it was first asked for, with the connection open."""
        self._name = self._name or super().name
        return self._name

    def remember_connection(self) -> None:
        """Note what can be known only while the connection is open: the name of the peer, and what came and went."""
        self._name = self.name
        self.update_counters()

    def close_pipes(self) -> None:
        """Read no more of what the program writes."""
        for pipe in (self.lines, self.output):
            if pipe:
                pipe.close()
        self.lines = self.output = None

    def tcp_counters(self) -> TcpCounters | None:
        """Return what came and went, where the kernel tells."""
        # As Python's own sockets know it; `family` would make an enumeration's member of it each time.
        if self.connection is None or type(self.peer) is not tuple or type(self.peer[0]) is not str:
            return None
        return read_tcp_info(self.connection)

    def update_counters(self) -> None:
        """Put what came and went on the meter, as far as it is known; a datagram's is there already."""
        if self.connection is None:
            self.is_counted = True
        elif counters := self.tcp_counters():
            self.meter[RECEIVED], self.meter[SENT] = counters.received, counters.sent
            self.is_counted = True

    def final_outcome(self) -> Outcome:
        self.update_counters()
        if self.outcome:
            return self.outcome
        if self.status is None:
            return super().final_outcome() if self.meter[HANDLER_OUTCOME] != DONE else Outcome.FAILED
        code = os.waitstatus_to_exitcode(self.status)
        if code < 0:
            self.signal_name = signal_name(-code)
            return Outcome.KILLED
        return Outcome.FAILED if code else Outcome.DONE

    def log_end(self, outcome: Outcome) -> None:
        """Log the end, of one that was cut too: how its program ended is news."""
        meter, how = self.meter, self.signal_name or outcome.value
        counted = {"received": meter[RECEIVED], "sent": meter[SENT]} if self.is_counted else {}
        id = f"{ID_PREFIX}{self.number:x}"
        log.program_ended(self.name, self.age, counted, how, self._ending(), id, self.connection is None)

    def _ending(self) -> dict[str, object]:
        """Return the exit status or the signal of the program, if it ever ran."""
        if self.status is None:
            return {}
        code = os.waitstatus_to_exitcode(self.status)
        return {"signal": signal_name(-code)} if code < 0 else {"status": code}

    def last_received_at(self) -> float:
        """Return when something came last; where the kernel does not tell, when something moved."""
        if (received_at := super().last_received_at()) > self.began:  # it has not been read yet
            return received_at
        counters = self.tcp_counters()
        return counters.received_at if counters else self.last_activity_at()

    def last_activity_at(self) -> float:
        counters = self.tcp_counters()
        marks = self._read_activity_marks(is_counted=bool(counters))
        if marks != self._activity_marks:
            self._activity_marks, self._moved_at = marks, monotonic()
        moved_at = max(self.began, self._moved_at)
        return max(moved_at, counters.received_at, counters.sent_at) if counters else moved_at

    def _read_activity_marks(self, is_counted: bool) -> tuple[int, int, int]:
        """Return what changes when something moves: what is queued, and what has been read and written."""
        if self.connection is None:
            return 0, 0, process_tree_io(self.pid)
        unsent = queued_bytes(self.connection, termios.TIOCOUTQ)
        if is_counted:
            return 0, unsent, 0
        return queued_bytes(self.connection, termios.FIONREAD), unsent, process_tree_io(self.pid)


class ProgramDatagram(ProgramConversation, DatagramConversation):
    """A datagram that a program is to answer."""
