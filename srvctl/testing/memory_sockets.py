"""Sockets in memory: what a handler gets from `srvctl.testing.exchange` in the place of a socket."""

from __future__ import annotations

import errno
import io
import os
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


class _MemorySocket:
    """What both kinds have: two addresses, options without effect, and no descriptor."""

    proto = 0

    def __init__(self, type: socket.SocketKind, local: Any, peer: Any) -> None:
        self.type = type
        self.family = _family_of(local)
        self._local, self._peer = local, peer
        self._timeout: float | None = None

    def getsockname(self) -> Any:
        return self._local

    def getpeername(self) -> Any:
        return self._peer

    def settimeout(self, value: float | None) -> None:
        self._timeout = value

    def gettimeout(self) -> float | None:
        return self._timeout

    def setblocking(self, flag: bool) -> None:
        self._timeout = None if flag else 0.0

    def getblocking(self) -> bool:
        return self._timeout != 0.0

    def setsockopt(self, *option: Any) -> None:
        """Do nothing: there is no kernel that could."""

    def fileno(self) -> int:
        """Raise io.UnsupportedOperation: a handler that polls its socket is for a server."""
        raise io.UnsupportedOperation("a socket in memory has no descriptor; use the fixture `serve`")


class MemoryConnection(_MemorySocket):
    """A connection whose peer has sent `data` and then shut down its side; `sent` is what was sent to it."""

    def __init__(self, data: bytes, local: Any, peer: Any) -> None:
        super().__init__(socket.SOCK_STREAM, local, peer)
        self._unread = io.BytesIO(data)
        self.sent = bytearray()
        self._can_receive = self._can_send = True
        self._io_refs = 0  # for `makefile`

    # A function of Python's, which asks for no more of a socket than there is here.
    makefile = socket.socket.makefile

    def _decref_socketios(self) -> None:
        self._io_refs -= 1

    def __enter__(self) -> MemoryConnection:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        if not self._can_receive:
            return b""
        before = self._unread.tell()
        data = self._unread.read(bufsize)
        if flags & socket.MSG_PEEK:
            self._unread.seek(before)
        return data

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        with memoryview(buffer).cast("B") as view:
            data = self.recv(nbytes or len(view), flags)
            view[: len(data)] = data
        return len(data)

    def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, None]:
        return self.recv(bufsize, flags), None

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0) -> tuple[bytes, list[Any], int, None]:
        return self.recv(bufsize, flags), [], 0, None

    def send(self, data: Any, flags: int = 0) -> int:
        if not self._can_send:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        with memoryview(data) as view:
            self.sent += view
            return view.nbytes

    def sendall(self, data: Any, flags: int = 0) -> None:
        self.send(data, flags)

    def sendmsg(self, buffers: Iterable[Any], *others: Any) -> int:
        return sum(self.send(buffer) for buffer in buffers)

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        file.seek(offset)
        return self.send(file.read() if count is None else file.read(count))

    def shutdown(self, how: int) -> None:
        self._can_receive &= how == socket.SHUT_WR
        self._can_send &= how == socket.SHUT_RD

    def close(self) -> None:
        self.shutdown(socket.SHUT_RDWR)


class MemoryDatagramSocket(_MemorySocket):
    """A datagram socket; `sent` has each datagram that was sent, with its destination."""

    def __init__(self, local: Any) -> None:
        super().__init__(socket.SOCK_DGRAM, local, None)
        self.sent: list[tuple[bytes, Any]] = []

    def sendto(self, data: Any, *flags_and_address: Any) -> int:
        return self.sendmsg([data], (), 0, flags_and_address[-1])

    def sendmsg(self, buffers: Iterable[Any], ancillary: Any = (), flags: int = 0, address: Any = None) -> int:
        data = b"".join(bytes(buffer) for buffer in buffers)
        self.sent.append((data, address))
        return len(data)


def _family_of(address: Any) -> socket.AddressFamily:
    if isinstance(address, tuple):
        return socket.AF_INET6 if ":" in str(address[0]) else socket.AF_INET
    return socket.AF_UNIX
