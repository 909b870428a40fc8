"""What every server on a socket has, stream or datagram: make it, bind it, take from it, close it."""

from __future__ import annotations

import contextlib
import socket
from time import monotonic

from srvctl.net.unix_path import BoundPath, bind_path
from srvctl.runtime.lifecycle import Event, Lifecycle, State
from srvctl.runtime.loop import Loop
from srvctl.socketserver.accept_errors import PAUSE_SECONDS, AcceptFailure, classify
from srvctl.socketserver.base import BaseServer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from srvctl.socketserver.protocols import Handler


class SocketServer(BaseServer):
    """A server whose requests come from a socket; the common parent of stream and datagram servers.

    Class attributes: ``address_family``, ``socket_type``, ``allow_reuse_address``, ``allow_reuse_port`` (off;
    the kernel lets only the same user share), ``request_queue_size``. With ``bind_and_activate`` false the caller
    binds and activates; with `sock` the server takes over a socket that is bound, and listening if it is a
    stream. Either way the server owns ``socket`` and closes it.
    """

    address_family: int = socket.AF_INET
    socket_type: int = socket.SOCK_STREAM
    allow_reuse_address: bool = False
    allow_reuse_port: bool = False
    _serving_timeout: float | None = 0.0

    def __init__(
        self,
        server_address: Any,
        RequestHandlerClass: Handler,
        bind_and_activate: bool = True,
        *,
        sock: socket.socket | None = None,
    ) -> None:
        super().__init__(server_address, RequestHandlerClass)
        self._bound_path: BoundPath | None = None
        self._last_failure: tuple[int | None, int, float] = (None, 0, 0.0)
        if sock is not None:
            self.socket = sock
            self._life.on(Event.BIND)
            return
        self.socket = socket.socket(self.address_family, self.socket_type)
        if bind_and_activate:
            try:
                self.server_bind()
                self.server_activate()
            except BaseException:
                self.server_close()
                raise
            self._life.on(Event.BIND)

    def fileno(self) -> int:
        """Return the listening socket's descriptor."""
        return self.socket.fileno()

    def server_bind(self) -> None:
        """Bind the socket, and make ``server_address`` what it is bound to."""
        self._set_reuse()
        if self.socket.family == socket.AF_UNIX:
            # Listening comes in one with the name: between the two another server would take it for a dead one.
            self._bound_path = bind_path(self.socket, self.server_address, listen=self._listen)
        else:
            self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def _listen(self) -> None:
        """Let peers connect, where that takes more than a name."""

    def _set_reuse(self) -> None:
        if self.allow_reuse_address and self.socket.family != socket.AF_UNIX:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self.allow_reuse_port and hasattr(socket, "SO_REUSEPORT"):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)

    def _revive(self) -> None:
        if self._life.state is State.STOPPED and self.socket.fileno() >= 0:
            self._life = Lifecycle()
            self._life.on(Event.BIND)

    def _close_source(self) -> None:
        """Close the listening socket, and remove its file if that is still the one this server made."""
        super()._close_source()
        if self._bound_path:
            self._bound_path.unlink()
            self._bound_path = None
        self.socket.close()

    def _request_timeout(self) -> float | None:
        # A program from before `timeout` existed has set one on the socket.
        given = [t for t in (self.socket.gettimeout(), self.timeout) if t is not None]
        return min(given, default=None)

    def _serve(self, loop: Loop, poll_interval: float) -> None:
        with self._not_blocking():
            super()._serve(loop, poll_interval)

    def _handle_request_noblock(self) -> None:
        with self._not_blocking():
            super()._handle_request_noblock()

    @contextlib.contextmanager
    def _not_blocking(self) -> Iterator[None]:
        """Readable does not mean that accept(2) will not block, select(2) BUGS: a sibling may have been first."""
        timeout = self.socket.gettimeout()
        if timeout != self._serving_timeout:
            self.socket.settimeout(self._serving_timeout)
        try:
            yield
        finally:
            if timeout != self._serving_timeout:
                with contextlib.suppress(OSError):  # closed meanwhile
                    self.socket.settimeout(timeout)

    def _on_request_error(self, error: Exception) -> bool:
        if not isinstance(error, OSError):
            return super()._on_request_error(error)
        failure = classify(error, repeated=self._is_repeated(error))
        if failure is AcceptFailure.FATAL:
            if self._stops():  # closed by the one who stopped it
                return False
            raise error
        if failure is AcceptFailure.RESOURCES:
            suppressed = self._accept_rate.allow()
            if suppressed is not None:
                self.accept_failed(error, suppressed, PAUSE_SECONDS)
            self._back_off("error")
            return False
        self.connection_lost(error)
        return True

    def _is_repeated(self, error: OSError) -> bool:
        """Return whether the same error came before the last pause, with nothing taken since."""
        now = monotonic()
        number, taken, when = self._last_failure
        if (number, taken) != (error.errno, self._accepted):
            self._last_failure = (error.errno, self._accepted, now)
            return False
        return now - when >= PAUSE_SECONDS / 2  # otherwise another thread saw the same one at the same time

    def connection_lost(self, error: OSError) -> None:
        """Called when a connection was lost before it could be taken; the server goes on."""
