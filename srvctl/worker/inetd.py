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
from srvctl.runtime import signals
from srvctl.serving.connection import Connection, StreamSource
from srvctl.serving.conversation import METER_ITEMS, Conversation
from srvctl.serving.server import Server
from srvctl.worker import handler_output, tls_hook
from srvctl.worker.assemble import assemble, load_mixins
from srvctl.worker.service_life import ServiceLife, owners

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

    from srvctl.runtime.loop import Loop
    from srvctl.serving.conversation import Meter

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


class OneConnection(StreamSource):
    """A connection that was handed over, in the place of a listening socket; `sock` is one that nobody can reach."""

    def __init__(self, sock: socket.socket, connection: socket.socket, conversation_class: type[Conversation]) -> None:
        super().__init__(sock, is_own=True, new_conversation=conversation_class)
        self.family, self.address = int(connection.family), connection.getsockname()
        self._connection: socket.socket | None = connection

    def fileno(self) -> int:
        """Return -1: nothing is to be waited for."""
        return -1

    def accept(self) -> Conversation:
        """Return the connection as a conversation, once. Raises BlockingIOError behind that."""
        given, self._connection = self._connection, None
        if given is None:
            raise BlockingIOError
        meter = [0] * METER_ITEMS
        connection = Connection(given.family, given.type, given.proto, given.detach(), meter)
        connection.setblocking(True)  # whatever it was before: the descriptor's flags were somebody else's
        return self._new_conversation(connection, unmapped(connection.getpeername()), meter)

    def unpack(self, values: Any, fd: int, peer: Any, meter: Meter) -> Conversation:
        raise NotImplementedError("the one request is there before any child could wait for it")


def serve_one(settings: Settings, sock: socket.socket, target: str, is_ready_made: bool) -> ExitStatus:
    """Serve the connection `sock`, which is closed at the end; blocks. Raises `LaunchError`."""
    if settings.program:
        return _serve(settings, sock, target, is_ready_made)
    handler_output.redirect()
    tls_hook.install()
    try:
        return _serve(settings, sock, target, is_ready_made)
    finally:  # for the one line of an error
        handler_output.restore()


def _serve(settings: Settings, sock: socket.socket, target: str, is_ready_made: bool) -> ExitStatus:
    conversation_class, mixins = Conversation, None
    if settings.program:
        from srvctl.programs.conversation import ProgramConversation

        conversation_class = ProgramConversation
        loaded = _load_program(settings)
    else:
        mixins = load_mixins(settings)
        loaded = load(target, is_ready_made, True, settings.set, mixins.facade_class if mixins else None)
    server = assemble(
        settings.replace(at_limit="wait"),  # there is nobody else whom it could refuse
        1,
        sock,
        loaded.handler,
        is_own=True,
        server_class=mixins.server_class if mixins else Server,
        make_source=lambda counters: OneConnection(socket.socket(socket.AF_UNIX), sock, conversation_class),
    )
    life = ServiceLife(owners(settings, loaded, mixins))
    life.start(server.facade)
    server.on_give_up = lambda: os._exit(ExitStatus.TEMPFAIL)
    server.on_loop = lambda loop: _begin(server, loop)
    server.serve_forever()
    server.server_close()
    life.stop(server.facade)
    for number in _STOPPING:  # there is nothing left to stop, and the status is to say how it went
        signal.signal(number, signal.SIG_IGN)
    return ExitStatus.TEMPFAIL if server.figures()["cut"] else ExitStatus.OK


def _begin(server: Server, loop: Loop) -> None:
    """Have `loop` serve the one connection, and end when that is done."""
    _take_signals(server, loop)
    loop.call_soon(server.acceptor.accept_first)
    server.on_change = lambda: loop.call_soon(lambda: _drain(server))


def _drain(server: Server) -> None:
    """Drain, or make the deadline now, unless the conversation is over and its connection is only being closed."""
    if server.table or not server.draining:
        server.drain(server.settings.graceful_timeout)


def _load_program(settings: Settings) -> Loaded:
    """Return the program, with nothing that whoever started this process left open in it for it to inherit."""
    from srvctl.programs import program

    program.check_type(settings, True)
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the descriptor of the listing itself
            if int(name) > 2:
                os.set_inheritable(int(name), False)
    return program.load(settings)


def _take_signals(server: Server, loop: Loop) -> None:
    """Have TERM and INT drain `server`; a child that serves leaves that to its parent, as a worker's does."""

    def stop(number: int, frame: FrameType | None) -> None:
        loop.call_soon(lambda: _drain(server))
        loop.wake()
        server.interrupt()

    signals.handle((number, stop) for number in _STOPPING)
    signals.handle([(signal.SIGALRM, lambda number, frame: server.interrupt() and None)])
