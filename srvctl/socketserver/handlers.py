"""Handlers: what a program derives its own from. One object handles one request, in its constructor."""

from __future__ import annotations

import contextlib
import io
import socket

from srvctl.runtime.current import current, new_id
from srvctl.runtime.unfinished import UNFINISHED, refuse_unfinished
from srvctl.socketserver.files import DeadlineReader, SocketWriter

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging
    from collections.abc import Callable
    from functools import cached_property as _made_when_asked
    from typing import Any

    from srvctl.runtime.current import Marked
    from srvctl.socketserver.protocols import DatagramSocket, HandlerServer
else:

    class _made_when_asked:
        """An attribute that is made when it is first asked for, and is the object's own from then on.

        As `functools.cached_property`, without the lock that this has in Python 3.11.
        """

        def __init__(self, make: Callable[[Any], Any]) -> None:
            self._make = make
            self.__doc__ = make.__doc__

        def __set_name__(self, owner: type, name: str) -> None:
            self._name = name

        def __get__(self, handler: Any, owner: type) -> Any:
            if handler is None:
                return self
            made = handler.__dict__[self._name] = self._make(handler)
            return made


class BaseRequestHandler:
    """Handle one request: `setup`, `handle`, and always `finish`.

    ``request``, ``client_address`` and ``server`` are there in all three. `finish` runs also when `setup` raised, so
    that nothing half-made is left open; what `setup` raised is what is reported.
    """

    request: Any
    client_address: Any
    server: HandlerServer
    _conversation: Marked | None = None

    def __init__(self, request: Any, client_address: Any, server: HandlerServer) -> None:
        self.request = request
        self.client_address = client_address
        self.server = server
        self._conversation = current.get()
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

    @_made_when_asked
    def log(self) -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
        """A logger of `logging`; its records are lines of srvctl's log with the peer and ``connection_id``."""
        from srvctl.socketserver.handler_log import log_of

        return log_of(self._conversation)

    @_made_when_asked
    def connection_id(self) -> str:
        """A short text that no other connection or datagram has; it is in the lines of srvctl's log about this one."""
        return new_id() if self._conversation is None else self._conversation.id

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

    request: socket.socket
    connection: socket.socket
    rfile: io.BufferedIOBase
    wfile: io.BufferedIOBase
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
            self.rfile = DeadlineReader(self.connection, self.timeout, self.rbufsize)
        else:
            self.rfile = self.connection.makefile("rb", self.rbufsize)  # type: ignore[assignment]  # raw for 0
        if self.wbufsize == 0:
            self.wfile = SocketWriter(self.connection)
        else:
            self.wfile = self.connection.makefile("wb", self.wbufsize)  # type: ignore[assignment]

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


class DatagramRequestHandler(BaseRequestHandler):
    """Handle a datagram: ``packet``, ``rfile`` on it, ``wfile`` for the answer, and ``socket`` to send from.

    What was written to ``wfile`` is sent as one datagram when the handler has finished. Nothing is sent when nothing
    was written, or when the sender has no address to send to (a unix socket without a name); that the sender has gone
    meanwhile is not an error.
    """

    request: tuple[bytes, DatagramSocket]

    @_made_when_asked
    def rfile(self) -> io.BytesIO:
        """A file on the datagram."""
        # Files cost as much as receiving, and few handlers use both.
        return io.BytesIO(self.packet)

    @_made_when_asked
    def wfile(self) -> io.BytesIO:
        """A file for the answer."""
        return io.BytesIO()

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
