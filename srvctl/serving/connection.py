"""Connections: what accepts them, and the sockets that note on a meter what a handler receives and sends."""

from __future__ import annotations

import _socket
import io
import os
import socket
from time import monotonic_ns

from srvctl.net.address import UnixPeer, unmapped
from srvctl.serving.conversation import METER_ITEMS, RECEIVED, RECEIVED_AT, SENT, SENT_AT, Conversation
from srvctl.serving.recorder import RECORD_BYTES
from srvctl.serving.source import SocketSource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from srvctl.serving.conversation import Meter
    from srvctl.serving.recorder import Recorder

# A plain number, as each flag here: an IntFlag makes two objects for each `&`.
_PEEK = int(socket.MSG_PEEK)
_SOCK_STREAM = int(socket.SOCK_STREAM)
_init = _socket.socket.__init__
_recv, _recv_into = _socket.socket.recv, _socket.socket.recv_into
_send, _sendall = _socket.socket.send, _socket.socket.sendall
_shutdown, _close = _socket.socket.shutdown, _socket.socket.close


class Connection(socket.socket):
    """An accepted connection that notes on its meter what comes and goes, and is a socket in everything else.

    `at_eof` says that the peer has shut down and everything before that was read: nothing can come any more.
    """

    __slots__ = ("_has_eof", "at_eof", "meter")

    meter: Meter

    def __init__(self, family: int, type: int, proto: int, fileno: int, meter: Meter) -> None:
        """Take over an accepted descriptor; the caller knows what it is."""
        # What `socket.socket` does, less the enumerations that it asks; one comes with each connection.
        _init(self, family, type, proto, fileno)
        self._io_refs = 0
        self._closed = False
        self.meter = meter
        self.at_eof = False
        self._has_eof = type == _SOCK_STREAM  # a packet may be empty

    def _count_received(self, count: int) -> None:
        if count:
            meter = self.meter
            meter[RECEIVED] += count
            meter[RECEIVED_AT] = monotonic_ns()

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
            self._has_eof = False
        _shutdown(self, how)

    def _count_sent(self, count: int) -> None:
        meter = self.meter
        meter[SENT] += count
        meter[SENT_AT] = monotonic_ns()

    def count_received(self, count: int) -> None:
        """Count `count` bytes that a handler took off the descriptor by itself, as splice(2) does."""
        self._count_received(count)

    def count_sent(self, count: int) -> None:
        """Count `count` bytes that a handler put on the descriptor by itself."""
        self._count_sent(count)

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        data = _recv(self, bufsize, flags)
        if data:
            if not flags & _PEEK:
                meter = self.meter
                meter[RECEIVED] += len(data)
                meter[RECEIVED_AT] = monotonic_ns()
        elif bufsize:
            self.at_eof = self._has_eof
        return data

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        count = _recv_into(self, buffer, nbytes, flags)
        if not flags & _PEEK:
            self._count_received(count)
        return count

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        data, address = super().recvfrom(bufsize, flags)
        if not flags & _PEEK:
            self._count_received(len(data))
        return data, address

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        count, address = super().recvfrom_into(buffer, nbytes, flags)
        if not flags & _PEEK:
            self._count_received(count)
        return count, address

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /) -> tuple[bytes, list[Any], int, Any]:
        message = super().recvmsg(bufsize, ancbufsize, flags)
        if not flags & _PEEK:
            self._count_received(len(message[0]))
        return message

    def recvmsg_into(
        self, buffers: Iterable[Any], ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[int, list[Any], int, Any]:
        message = super().recvmsg_into(buffers, ancbufsize, flags)
        if not flags & _PEEK:
            self._count_received(message[0])
        return message

    def send(self, data: Any, flags: int = 0, /) -> int:
        count = _send(self, data, flags)
        self._count_sent(count)
        return count

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        _sendall(self, data, flags)
        meter = self.meter
        meter[SENT] += len(data) if type(data) is bytes else memoryview(data).nbytes
        meter[SENT_AT] = monotonic_ns()

    def sendmsg(self, buffers: Iterable[Any], ancdata: Any = (), flags: int = 0, address: Any = None, /) -> int:
        count = super().sendmsg(buffers, ancdata, flags, address)
        self._count_sent(count)
        return count

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        before = self.meter[SENT]
        sent = super().sendfile(file, offset, count)
        self._count_sent(max(0, sent - (self.meter[SENT] - before)))  # without os.sendfile it went through `send`
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
            meter[RECEIVED_AT] = monotonic_ns()
        else:
            connection.at_eof = connection._has_eof
        return count


class StreamSource(SocketSource):
    """A listening socket, and the connections that it accepts. The server owns both."""

    is_stream = True
    recorder: Recorder | None = None
    _serving_timeout = 0.0  # readable does not mean that accept(2) will not block, select(2) BUGS

    def __init__(self, sock: socket.socket, is_own: bool, new_conversation: type[Conversation] = Conversation) -> None:
        super().__init__(sock, is_own)
        self._new_conversation = new_conversation
        # As plain numbers: the attributes of a socket make an enumeration's member of them each time.
        self._kind = (int(sock.family), int(sock.type), sock.proto)
        # Whose peers are not shown as the kernel has them.
        self._is_special = sock.family in (socket.AF_INET6, socket.AF_UNIX)
        self._accept = sock._accept  # type: ignore[attr-defined]  # what socket.accept itself calls

    def accept(self) -> Conversation:
        """Return the next connection as a conversation. Raises BlockingIOError when there is none, and OSError."""
        fd, peer = self._accept()
        family, type_, proto = self._kind
        meter = [0] * METER_ITEMS
        connection = Connection(family, type_, proto, fd, meter)
        if self._is_special:
            peer = unmapped(peer) if type(peer) is tuple else UnixPeer(peer or "") if type(peer) is not bytes else peer
        conversation = self._new_conversation(connection, peer, meter)
        if (recorder := self.recorder) and fd < recorder.limit:
            conversation.place = place = fd * RECORD_BYTES
            if type(peer) is tuple and type(peer[0]) is str:
                recorder.begin(place, conversation.began, conversation.number, peer[1], peer[0].encode())
            else:
                recorder.begin(place, conversation.began, conversation.number, 0, os.fsencode(str(peer)))
        return conversation

    def pack(self, conversation: Conversation) -> tuple[int, Any]:
        """Return a conversation as a descriptor and plain values, for another process."""
        return conversation.connection.fileno(), conversation.number

    def unpack(self, values: Any, fd: int, peer: Any, meter: Meter) -> Conversation:
        """Return the conversation that `pack` took apart."""
        peer = UnixPeer(peer) if type(peer) is str else peer
        conversation = self._new_conversation(Connection(*self._kind, fd, meter), peer, meter)
        conversation.number = values
        return conversation

    def close(self) -> None:
        """Close the listening socket: who is in its queue is reset."""
        self.socket.close()
