"""Handlers: what a program derives its own from. One object handles one request, in its constructor."""

from __future__ import annotations

import contextlib
import io
import socket
from time import monotonic

from srvctl.runtime.unfinished import UNFINISHED, refuse_unfinished

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class BaseRequestHandler:
    """Handle one request: `setup`, `handle`, and always `finish`.

    ``request``, ``client_address`` and ``server`` are there in all three. `finish` runs also when `setup` raised, so
    that nothing half-made is left open; what `setup` raised is what is reported.
    """

    def __init__(self, request: Any, client_address: Any, server: Any) -> None:
        self.request = request
        self.client_address = client_address
        self.server = server
        try:
            self.setup()
        except BaseException:
            with contextlib.suppress(Exception):  # written for an object that is complete
                self.finish()
            raise
        try:
            result: Any = self.handle()  # type: ignore[func-returns-value]
            if type(result) in UNFINISHED:
                refuse_unfinished(result)
        finally:
            self.finish()

    def setup(self) -> None:
        """Prepare; does nothing here."""

    def handle(self) -> None:
        """Do the work; does nothing here."""

    def finish(self) -> None:
        """Clean up; does nothing here."""


class StreamRequestHandler(BaseRequestHandler):
    """Handle a connection with ``rfile`` to read from and ``wfile`` to write to; ``connection`` is the socket.

    ``rbufsize`` and ``wbufsize`` are buffer sizes in bytes (-1: the io module's, 0: none). ``timeout``, in seconds, is
    the deadline of each read from ``rfile``, and of each system call that writes; TimeoutError is raised then, and
    ``rfile`` stays usable. ``disable_nagle_algorithm`` sets TCP_NODELAY, for handlers that buffer what they write.
    """

    rbufsize = -1
    wbufsize = 0
    timeout: float | None = None
    disable_nagle_algorithm = False

    def setup(self) -> None:
        """Make ``rfile`` and ``wfile``."""
        self.connection = self.request
        if self.timeout is not None:
            self.connection.settimeout(self.timeout)
        if self.disable_nagle_algorithm:
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        if self.timeout is not None and self.rbufsize != 0:
            self.rfile: Any = _DeadlineReader(self.connection, self.timeout, self.rbufsize)
        else:
            self.rfile = self.connection.makefile("rb", self.rbufsize)
        if self.wbufsize == 0:
            self.wfile: Any = _SocketWriter(self.connection)
        else:
            self.wfile = self.connection.makefile("wb", self.wbufsize)

    def finish(self) -> None:
        """Flush and close both files, as far as they were made."""
        wfile, rfile = getattr(self, "wfile", None), getattr(self, "rfile", None)
        try:
            if wfile is not None:
                try:  # noqa: SIM105 - suppress() costs as much as the close itself
                    wfile.close()  # which flushes
                except OSError:  # the peer has gone; there is nobody left to tell
                    pass
        finally:
            if rfile is not None:
                rfile.close()


class _SocketWriter(io.BufferedIOBase):
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


class _DeadlineReader(io.BufferedReader):
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


class _MadeWhenAsked:
    """An attribute that is made when it is first asked for, and is the object's own from then on.

    The two files of a datagram cost as much as receiving it, and few handlers use both.
    """

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self._make = make

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, handler: Any, owner: type) -> Any:
        if handler is None:
            return self
        made = handler.__dict__[self._name] = self._make(handler)
        return made


class DatagramRequestHandler(BaseRequestHandler):
    """Handle a datagram: ``packet``, ``rfile`` on it, ``wfile`` for the answer, and ``socket`` to send from.

    What was written to ``wfile`` is sent as one datagram when the handler has finished. Nothing is sent when nothing
    was written, or when the sender has no address to send to (a unix socket without a name); that the sender has gone
    meanwhile is not an error.
    """

    rfile: Any = _MadeWhenAsked(lambda handler: io.BytesIO(handler.packet))
    wfile: Any = _MadeWhenAsked(lambda handler: io.BytesIO())

    def setup(self) -> None:
        """Make ``packet`` and ``socket``; the files are made when they are asked for."""
        self.packet, self.socket = self.request

    def finish(self) -> None:
        """Send the answer, if there is one."""
        if "wfile" in self.__dict__ and (answer := self.wfile.getvalue()) and self.client_address:
            try:
                self.socket.sendto(answer, self.client_address)
            except OSError as error:
                from srvctl.socketserver.datagram import PEER_GONE_ERRNOS

                if error.errno not in PEER_GONE_ERRNOS:
                    raise
