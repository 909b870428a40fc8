"""inetd's ``nowait``, and systemd's ``Accept=yes``: one connection that was handed over, served in this process.

There is no listening socket, no supervisor and no worker. Everything else is as on a server: the same handler, limits,
closing and log, by the same classes; a server that has one request and is drained behind it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket

from srvctl.config.settings import Settings
from srvctl.errors import ExitStatus
from srvctl.loader.importer import Loaded, load
from srvctl.net.address import unmapped
from srvctl.serving.connection import Connection
from srvctl.serving.conversation import new_meter
from srvctl.serving.models import SyncServing
from srvctl.worker.assemble import assemble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

    from srvctl.runtime.loop import Loop
    from srvctl.serving.drain import Draining

    Base = Draining
else:
    Base = object

_STOPPING = (signal.SIGTERM, signal.SIGINT)


def connected_socket(number: int) -> socket.socket | None:
    """Return the connection that descriptor `number` is, or None when it is anything else; the caller owns it."""
    try:
        sock = socket.socket(fileno=number)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        if sock.type != socket.SOCK_DGRAM and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.getpeername()
            return sock
    sock.detach()
    return None


def free_standard_descriptors(sock: socket.socket) -> socket.socket:
    """Return `sock` on a descriptor of its own, with nothing of it left on the first three.

    inetd passes the connection as all of them: what a handler prints, and our own log, must not go to the client.
    """
    moved = socket.socket(sock.family, sock.type, sock.proto, fileno=os.dup(sock.detach()))
    inode = os.fstat(moved.fileno()).st_ino
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for fd in (2, 1, 0):
        if fd == 0 or os.fstat(fd).st_ino == inode:
            os.dup2(2 if fd == 1 else null, fd)
    os.close(null)
    return moved


class OneRequest(Base):
    """Mixed in before an assembled server: its only request is `connection`, and behind that it drains."""

    connection: Connection | None = None

    def _fileno(self) -> int:
        return -1

    def get_request(self) -> tuple[Any, Any]:
        connection, self.connection = self.connection, None
        if connection is None:
            if self._deadline is None and not self.conversations:
                self.drain(self.settings.graceful_timeout)
            raise BlockingIOError
        return connection, unmapped(connection.getpeername())

    def hurry(self) -> None:
        """Make the deadline now, unless the conversation is over and its connection is only being closed."""
        if self.conversations:
            super().hurry()


def serve_one(settings: Settings, sock: socket.socket, target: str, is_ready_made: bool) -> ExitStatus:
    """Serve the connection `sock`, which is closed at the end; blocks. Raises `LaunchError`."""
    loaded = _load_program(settings) if settings.program else load(target, is_ready_made, True, settings.set)
    # There is nobody else whom it could refuse.
    assembled = assemble(settings.replace(at_limit="wait"), 1, sock.family, sock.type, True)
    server_class: Any = type(f"Single{assembled.__name__}", (OneRequest, assembled), {})
    # In the place of a listening socket, one that nobody can reach.
    server = server_class(sock.getsockname(), loaded.handler, sock=socket.socket(socket.AF_UNIX))
    server.connection = Connection(sock.family, sock.type, sock.proto, fileno=sock.detach())
    server.connection.setblocking(True)  # whatever it was before: the descriptor's flags were somebody else's
    server.connection.meter = new_meter()
    server.on_give_up = lambda: os._exit(ExitStatus.TEMPFAIL)

    server.on_loop = lambda loop: _take_signals(server, loop)
    server.serve_forever()
    server.server_close()
    for number in _STOPPING:  # there is nothing left to stop, and the status is to say how it went
        signal.signal(number, signal.SIG_IGN)
    return ExitStatus.TEMPFAIL if server.figures()["cut"] else ExitStatus.OK


def _load_program(settings: Settings) -> Loaded:
    """Return the program, with nothing that whoever started this process left open in it for it to inherit."""
    from srvctl.programs import program

    program.check_type(settings, True)
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the descriptor of the listing itself
            if int(name) > 2:
                os.set_inheritable(int(name), False)
    return program.load(settings)


def _take_signals(server: Any, loop: Loop) -> None:
    """Have TERM and INT drain `server`; a child that serves leaves that to its parent, as a worker's does."""
    own = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() == own:
            loop.call_soon(lambda: server.drain(server.settings.graceful_timeout))
            loop.wake()
            interrupt()

    interrupt = server.interrupt if isinstance(server, SyncServing) else lambda: None
    for number in _STOPPING:
        signal.signal(number, stop)
    signal.signal(signal.SIGALRM, lambda number, frame: interrupt())
