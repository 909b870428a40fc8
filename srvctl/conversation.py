"""One conversation: who with, since when, what came and went; and the socket that counts it.

A conversation is a connection, or a datagram with its answer. Nothing here decides anything; `srvctl.serving` does.
"""

from __future__ import annotations

import _socket
import fcntl
import io
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
SLOT = METER_ITEMS  # of a shared one: which it is
_METER_BYTES = 64  # a cache line each: neighbours are written by other processes

DONE, FAILED, RESET, EXITED = range(4)
OUTCOMES = ("done", "failed", "reset", "exit")

# A plain number, as each flag here: an IntFlag makes two objects for each `&`, 2 µs of a request's 15.
_PEEK = int(socket.MSG_PEEK)
_SOCK_STREAM, _AF_INET6, _AF_UNIX = int(socket.SOCK_STREAM), int(socket.AF_INET6), int(socket.AF_UNIX)
_init = _socket.socket.__init__
_recv, _recv_into = _socket.socket.recv, _socket.socket.recv_into
_send, _sendall = _socket.socket.send, _socket.socket.sendall
_shutdown, _close = _socket.socket.shutdown, _socket.socket.close


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


class Connection(socket.socket):
    """An accepted connection that notes on its meter what comes and goes, and is a socket in everything else.

    `is_at_end` says that the peer has shut down and everything before that was read: nothing can come any more.
    """

    __slots__ = ("_tells_end", "is_at_end", "meter")

    meter: Meter

    def __init__(self, family: int, type: int, proto: int, fileno: int) -> None:
        """Take over an accepted descriptor; the caller knows what it is."""
        # What `socket.socket` does, less the enumerations that it asks; one comes with each connection.
        _init(self, family, type, proto, fileno)
        self._io_refs = 0
        self._closed = False
        self.is_at_end = False
        self._tells_end = type == _SOCK_STREAM  # a packet may be empty

    def _came(self, count: int) -> None:
        if count:
            meter = self.meter
            meter[RECEIVED] += count
            meter[CAME_AT] = monotonic_ns()

    def makefile(self, mode: str = "r", buffering: int | None = None, **options: Any) -> Any:
        """Return a file on the connection, as `socket.socket.makefile`; the one that handlers have is a shorter way."""
        if mode != "rb" or buffering == 0 or options:
            return super().makefile(mode, buffering, **options)  # type: ignore[call-overload]
        self._io_refs += 1
        size = io.DEFAULT_BUFFER_SIZE if buffering is None or buffering < 0 else buffering
        return io.BufferedReader(_CountingReader(self), size)

    def close(self) -> None:
        self._closed = True
        if self._io_refs <= 0:
            _close(self)

    def shutdown(self, how: int, /) -> None:
        if how != socket.SHUT_WR:  # the end that is read now is our own
            self._tells_end = False
        _shutdown(self, how)

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
        if data:
            if not flags & _PEEK:
                self._came(len(data))
        elif bufsize:
            self.is_at_end = self._tells_end
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


class _CountingReader(socket.SocketIO):
    """The raw file below ``rfile``: one call from the buffer to the kernel, where `socket.SocketIO` takes four."""

    _sock: Connection
    # What `socket.SocketIO` sets on each object.
    _mode = "rb"
    _reading, _writing = True, False
    _timeout_occurred = False

    def __init__(self, connection: Connection) -> None:
        self._sock = connection

    def readinto(self, buffer: Any, /) -> int | None:
        if self._timeout_occurred:
            raise OSError("cannot read from timed out object")
        connection = self._sock
        try:
            count = _recv_into(connection, buffer)
        except TimeoutError:
            self._timeout_occurred = True
            raise
        except BlockingIOError:
            return None
        if count:
            meter = connection.meter
            meter[RECEIVED] += count
            meter[CAME_AT] = monotonic_ns()
        else:
            connection.is_at_end = connection._tells_end
        return count


class CountingReply(Conversation, ReplySocket):
    """What a handler of srvctl's answers a datagram with; it notes what went, and bears ICMP errors.

    It is the conversation, too: one object less for each datagram.
    """

    request = None
    _family = 0
    _ancillary: Any = ()

    def __init__(self) -> None:
        """Make a blank one; `on` made the class for a socket, and `meet` fills it in."""

    @classmethod
    def on(cls, sock: socket.socket) -> type[CountingReply]:
        """Return a class of replies on `sock`: what they have in common is not set on each."""
        return type(cls.__name__, (cls,), {"_sock": sock, "_family": int(sock.family), "__init__": object.__init__})

    @property
    def client_address(self) -> Any:
        """Where the datagram came from."""
        return self.peer

    def sendto(self, data: Any, flags_or_address: Any, address: Any = None) -> int:
        flags = 0
        if address is None:
            address = flags_or_address
        else:
            flags = flags_or_address
        if self._family == _AF_INET6:
            address = mapped(address)
        try:
            send = super().sendto if self._ancillary else self._sock.sendto  # the one step that will nearly always do
            sent = send(data, flags, address)
        except OSError as error:
            if error.errno not in ICMP_ERRNOS or self._family == _AF_UNIX:
                raise
            # An error that came back for an earlier datagram, to whomever; asking took it off the socket.
            self.meter[LOST] += 1
            sent = super().sendto(data, flags, address)
        meter = self.meter
        meter[SENT] += sent
        meter[WENT_AT] = monotonic_ns()
        return sent
