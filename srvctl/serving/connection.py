"""Sockets that count: what a handler receives and sends is noted on the meter of its conversation."""

from __future__ import annotations

import _socket
import io
import socket
from time import monotonic_ns

from srvctl.net.address import mapped
from srvctl.serving.conversation import CAME_AT, LOST, RECEIVED, SENT, WENT_AT, Conversation
from srvctl.socketserver.datagram import ICMP_ERRNOS, Reply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from srvctl.serving.conversation import Meter

# A plain number, as each flag here: an IntFlag makes two objects for each `&`.
_PEEK = int(socket.MSG_PEEK)
_SOCK_STREAM, _AF_INET6, _AF_UNIX = int(socket.SOCK_STREAM), int(socket.AF_INET6), int(socket.AF_UNIX)
_init = _socket.socket.__init__
_recv, _recv_into = _socket.socket.recv, _socket.socket.recv_into
_send, _sendall = _socket.socket.send, _socket.socket.sendall
_shutdown, _close = _socket.socket.shutdown, _socket.socket.close


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

    def count_received(self, count: int) -> None:
        """Count `count` bytes that a handler took off the descriptor by itself, as splice(2) does."""
        self._came(count)

    def count_sent(self, count: int) -> None:
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


class CountingReply(Conversation, Reply):
    """What a handler of srvctl's answers a datagram with; it notes what went, and bears ICMP errors.

    It is the conversation, too: one object less for each datagram. `on` makes the class for a socket; whoever makes one
    sets its `peer`, `meter` and `began`.
    """

    request = None
    _family = 0
    _ancillary: Any = ()

    @classmethod
    def on(cls, sock: socket.socket) -> Callable[[], CountingReply]:
        """Return a class of replies on `sock`, whose constructor takes and sets nothing.

        What else a socket has is on the class: `__getattr__` costs every other attribute, too.
        """
        send, is_ipv6, is_unix = sock.sendto, sock.family == _AF_INET6, sock.family == _AF_UNIX

        def sendto(self: CountingReply, data: Any, flags: Any, address: Any = None) -> int:
            if address is None:
                flags, address = 0, flags
            if is_ipv6:
                address = mapped(address)
            try:
                sent = send(data, flags, address) if not self._ancillary else Reply.sendto(self, data, flags, address)
            except OSError as error:
                if error.errno not in ICMP_ERRNOS or is_unix:
                    raise
                # An error that came back for an earlier datagram, to whomever; asking took it off the socket.
                self.meter[LOST] += 1
                sent = Reply.sendto(self, data, flags, address)
            meter = self.meter
            meter[SENT] += sent
            meter[WENT_AT] = monotonic_ns()
            return sent

        others = {name: _delegate(name) for name in dir(sock) if name[0] != "_" and not hasattr(cls, name)}
        own = {"_sock": sock, "sendto": sendto, "__init__": object.__init__}
        return type(cls.__name__, (cls,), others | own)

    @property
    def client_address(self) -> Any:
        """Where the datagram came from."""
        return self.peer


def _delegate(name: str) -> property:
    return property(lambda reply: getattr(reply._sock, name))
