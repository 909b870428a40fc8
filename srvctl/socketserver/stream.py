"""Servers whose requests are connections: `StreamServer`, and the families it is made for."""

from __future__ import annotations

import contextlib
import socket

from srvctl.runtime.lifecycle import State
from srvctl.runtime.loop import Loop
from srvctl.socketserver.base import event_driven
from srvctl.socketserver.lingering_close import Lingering
from srvctl.socketserver.socket_server import SocketServer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from srvctl.socketserver.protocols import Handler


class StreamServer(SocketServer):
    """A server that accepts connections: stream and sequenced-packet sockets of any family.

    ``request_queue_size`` is the length of the kernel's queue of connections that are not accepted yet, which it
    cuts to somaxconn, listen(2); the original's 5 loses clients in any burst.
    """

    socket_type = socket.SOCK_STREAM
    request_queue_size = 4096

    def __init__(
        self,
        server_address: Any,
        RequestHandlerClass: Handler,
        bind_and_activate: bool = True,
        *,
        sock: socket.socket | None = None,
    ) -> None:
        self._lingering = Lingering(self.close_request)
        super().__init__(server_address, RequestHandlerClass, bind_and_activate, sock=sock)

    def server_activate(self) -> None:
        """Listen."""
        self._listen()

    def _listen(self) -> None:
        self.socket.listen(self.request_queue_size)

    @event_driven
    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; return it, blocking and close-on-exec, and its peer's address."""
        return self.socket.accept()

    def shutdown_request(self, request: Any) -> None:
        """Half-close the connection; close it when the peer has, or after `LINGER_SECONDS`. Never blocks."""
        self._lingering.close(request, self._loop)

    def close_request(self, request: Any) -> None:
        """Close the connection in this process."""
        request.close()

    def _serve(self, loop: Loop, poll_interval: float) -> None:
        self._lingering.watch(loop)
        super()._serve(loop, poll_interval)

    def _revive(self) -> None:
        if self._life.state is State.STOPPED:
            self._lingering = Lingering(self.close_request)
        super()._revive()

    def handle_request(self) -> None:
        self._lingering.sweep()
        super().handle_request()

    def _wait_for_requests(self) -> None:
        """See the connections off that are being closed, for `LINGER_SECONDS` at most."""
        super()._wait_for_requests()
        self._lingering.finish()

    def _release_in_child(self, request: Any) -> None:
        """Close what a forked child must not keep: an orphan would hold the port, and nobody would answer."""
        super()._release_in_child(request)
        with contextlib.suppress(OSError):
            self.socket.close()
        self._lingering.close_all()


class TCPServer(StreamServer):
    """A server on TCP."""

    address_family = socket.AF_INET


class UnixStreamServer(StreamServer):
    """A server on a unix stream socket; a stale file at its path is replaced, its own is removed at the end."""

    address_family = socket.AF_UNIX


class UnixSeqpacketServer(StreamServer):
    """A server on a unix sequenced-packet socket: connections that keep the boundaries of records."""

    address_family = socket.AF_UNIX
    socket_type = socket.SOCK_SEQPACKET


class VsockServer(StreamServer):
    """A server on a vsock stream socket, between a virtual machine and its host."""

    address_family = getattr(socket, "AF_VSOCK", -1)
