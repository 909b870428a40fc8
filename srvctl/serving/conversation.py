"""One conversation: with whom, since when, and its meter of what was received and sent.

A conversation is a connection, or a datagram with its answer. Nothing here decides anything: the parts around it do.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from enum import Enum
from time import monotonic

from srvctl.net.address import format_sockaddr
from srvctl.runtime import log
from srvctl.runtime.current import ID_PREFIX, numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableSequence
    from typing import Any

    Meter = MutableSequence[int]

# What a meter holds: bytes, monotonic nanoseconds, and how the handler ended. A forked child's meter is in memory that
# it shares with its parent, so these are whole numbers.
RECEIVED, SENT, RECEIVED_AT, SENT_AT, HANDLER_OUTCOME, LOST, METER_ITEMS = range(7)


class Outcome(Enum):
    """How a conversation ended; the value is the word that the log has for it."""

    DONE = "done"
    FAILED = "failed"  # the handler raised, or its process ended with a status other than 0
    RESET = "reset"  # by the peer
    EXITED = "exit"  # the handler raised SystemExit or KeyboardInterrupt
    REFUSED = "refused"  # by a step before the handler
    MAX_DURATION = "max-duration"
    IDLE = "idle"
    CUT = "cut"  # at the deadline of a stop
    KILLED = "killed"  # its process died of a signal; the log names that

    __hash__ = object.__hash__  # Enum has one in Python, which would be a call for each conversation


# What a handler, which may run in another process, can bring about: a meter holds the place in this row.
HANDLER_OUTCOMES = (Outcome.DONE, Outcome.FAILED, Outcome.RESET, Outcome.EXITED, Outcome.REFUSED)
DONE, FAILED, RESET, EXITED, REFUSED = range(len(HANDLER_OUTCOMES))


class CutState(Enum):
    """How far a conversation is with being ended from outside."""

    NOT_CUT = 0
    CUT = 1  # its handler has been told, and has a moment to clean up before it is killed
    TERMINATING = 2  # its process group has got TERM, and gets KILL by itself
    KILLED = 3  # nothing more can be done to it


class Conversation:
    """A row of the table.

    `request` is what the handler gets; of a connection it is `connection` too, of a datagram there is none. `outcome`
    is set by whoever ends the conversation against its will; otherwise the meter says how the handler ended. `pid` is
    the process that serves it, or 0. `number` is the part of `id` that differs in a worker.
    """

    # On the class until they are set: most conversations end without any of them, and each costs its constructor.
    pid = 0
    outcome: Outcome | None = None
    signal_name = ""
    cut = CutState.NOT_CUT
    is_counted_by_all = False  # by `SharedLimit`
    place = -1  # of its record, by `Recorder`
    cut_at = 0.0
    half_closed = False
    unsent_bytes = 0
    connection: Any = None

    def __init__(self, connection: Any, peer: Any, meter: Meter) -> None:
        self.request = self.connection = connection
        self.peer = peer
        self.meter = meter
        self.number = next(numbers)
        self.began = monotonic()

    def replace(self, connection: Any) -> None:
        """Go on with another object in place of the connection, as a TLS handshake makes one."""
        self.request = self.connection = connection

    def serves(self, request: Any) -> bool:
        """Tell whether `request` is what the handler gets of this conversation."""
        return request is self.request

    def final_outcome(self) -> Outcome:
        """Return how it ended."""
        return self.outcome or HANDLER_OUTCOMES[self.meter[HANDLER_OUTCOME]]

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

    @property
    def id(self) -> str:
        """The identifier in the log, unique also across workers and restarts."""
        return f"{ID_PREFIX}{self.number:x}"

    def log_end(self, outcome: Outcome) -> None:
        """Log the end, unless it was logged when the conversation was cut."""
        if outcome is not Outcome.CUT:
            meter, how = self.meter, self.signal_name or outcome.value
            is_datagram, id = self.connection is None, f"{ID_PREFIX}{self.number:x}"
            log.conversation_ended(self.name, self.age, meter[RECEIVED], meter[SENT], how, id, is_datagram)

    def last_received_at(self) -> float:
        """Return when something came last, or when it began; with unread bytes in the kernel, that is now."""
        if queued_bytes(self.connection, termios.FIONREAD):
            return monotonic()
        return max(self.began, self.meter[RECEIVED_AT] / 1e9)

    def last_activity_at(self) -> float:
        """Return when something came or went last; what the peer's kernel has taken since we looked counts."""
        unsent = queued_bytes(self.connection, termios.TIOCOUTQ)
        if unsent != self.unsent_bytes:
            self.unsent_bytes = unsent
            return monotonic()
        return max(self.last_received_at(), self.meter[SENT_AT] / 1e9)


def queued_bytes(connection: socket.socket | None, direction: int) -> int:
    """Return the bytes that the kernel holds for `connection`, one way or the other: tcp(7), unix(7)."""
    if connection is None:
        return 0
    try:
        return int.from_bytes(fcntl.ioctl(connection.fileno(), direction, b"\0\0\0\0"), "little")
    except (OSError, ValueError):
        return 0
