"""Files on a connection: what a handler has as ``rfile`` and ``wfile`` where the io module's own would not do."""

from __future__ import annotations

import io
import socket
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class SocketWriter(io.BufferedIOBase):
    """An unbuffered file on a socket whose `write` writes everything."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sendall = sock.sendall

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._sendall(data)
        if type(data) is bytes:
            return len(data)
        with memoryview(data) as view:
            return view.nbytes

    def fileno(self) -> int:
        return self._sock.fileno()


class _RawReader(io.RawIOBase):
    """A raw file on a socket that waits until a deadline, and can be read again after it has passed.

    The file of ``socket.makefile`` refuses every read after one that timed out, and a timeout of the socket starts
    anew with every byte that comes.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._kept = b""
        self.deadline = 0.0
        self.is_late = False

    def readable(self) -> bool:
        return True

    def keep(self, data: bytes) -> None:
        """Give back what was read before the deadline passed; it comes first next time."""
        self._kept = data + self._kept

    def readinto(self, buffer: Any, /) -> int | None:
        if self._kept:
            size = min(len(buffer), len(self._kept))
            buffer[:size], self._kept = self._kept[:size], self._kept[size:]
            return size
        left = self.deadline - monotonic()
        timeout = self._sock.gettimeout()
        try:
            if left > 0:
                self._sock.settimeout(left)
                return self._sock.recv_into(buffer)
        except TimeoutError:
            pass
        finally:
            self._sock.settimeout(timeout)
        self.is_late = True
        return None  # "would block": the buffered reader above hands out what it has got so far

    def fileno(self) -> int:
        return self._sock.fileno()


class DeadlineReader(io.BufferedReader):
    """A buffered file on a socket, each read of which has `timeout` seconds, however the bytes trickle in."""

    def __init__(self, sock: socket.socket, timeout: float, size: int) -> None:
        self._raw_reader = _RawReader(sock)
        super().__init__(self._raw_reader, size if size > 1 else io.DEFAULT_BUFFER_SIZE)
        self._seconds = timeout

    def _start(self) -> None:
        self._raw_reader.deadline = monotonic() + self._seconds
        self._raw_reader.is_late = False

    def _in_time(self, data: bytes | None) -> bytes:
        if self._raw_reader.is_late:
            self._raw_reader.keep(data or b"")
            raise TimeoutError("timed out")
        return data or b""

    def read(self, size: int | None = -1, /) -> bytes:
        self._start()
        return self._in_time(super().read(size))

    def read1(self, size: int = -1, /) -> bytes:
        self._start()
        return self._in_time(super().read1(size))

    def readinto(self, buffer: Any, /) -> int:
        with memoryview(buffer).cast("B") as view:
            data = self.read(len(view))
            view[: len(data)] = data
        return len(data)

    def readinto1(self, buffer: Any, /) -> int:
        with memoryview(buffer).cast("B") as view:
            data = self.read1(len(view))
            view[: len(data)] = data
        return len(data)

    def readline(self, size: int | None = -1, /) -> bytes:
        self._start()
        return self._in_time(super().readline(size))

    def peek(self, size: int = 0, /) -> bytes:
        self._start()
        data = super().peek(size)
        # What was peeked at is in the buffer still; there is nothing to keep.
        return data if data else self._in_time(data)
