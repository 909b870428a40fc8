"""From settings to a server: the one place that combines family, socket type and concurrency."""

from __future__ import annotations

import socket

from srvctl.serving.connection import StreamSource
from srvctl.serving.datagram import DatagramSource
from srvctl.serving.executor import InLoop
from srvctl.serving.server import Server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from srvctl.config.settings import Settings
    from srvctl.serving.establish import Step
    from srvctl.serving.server import MakeExecutor, MakeSource
    from srvctl.serving.shared_limit import SharedLimit
    from srvctl.worker.mixins import Mixins

# What the hierarchy of `srvctl.socketserver` calls a server on such a socket.
_NAMES = {
    (socket.AF_INET, socket.SOCK_STREAM): "TCPServer",
    (socket.AF_INET6, socket.SOCK_STREAM): "TCPServer",
    (socket.AF_INET, socket.SOCK_DGRAM): "UDPServer",
    (socket.AF_INET6, socket.SOCK_DGRAM): "UDPServer",
    (socket.AF_UNIX, socket.SOCK_STREAM): "UnixStreamServer",
    (socket.AF_UNIX, socket.SOCK_DGRAM): "UnixDatagramServer",
    (socket.AF_UNIX, socket.SOCK_SEQPACKET): "UnixSeqpacketServer",
}
if hasattr(socket, "AF_VSOCK"):
    _NAMES[socket.AF_VSOCK, socket.SOCK_STREAM] = "VsockServer"

_PREFIXES = {"sync": "", "threads": "Threading", "fork": "Forking"}


def assemble(
    settings: Settings,
    limit: int,
    sock: socket.socket,
    handler: Callable[[Any, Any, Any], Any],
    *,
    is_own: bool,
    server_class: Callable[..., Server] = Server,
    make_source: MakeSource | None = None,
    steps: Sequence[Step] = (),
    shared_limit: SharedLimit | None = None,
) -> Server:
    """Return what serves `sock` as `settings` say, at most `limit` conversations at a time. It owns `sock`.

    `is_own` says that srvctl made the socket, and may empty its queue when it stops. `server_class` may have a rule of
    its own, `make_source` another source, and `steps` are what is done on each connection before its handler.
    `shared_limit` is the limit over all workers.
    """
    is_datagram = sock.type == socket.SOCK_DGRAM
    name = _NAMES.get((sock.family, sock.type)) or ("DatagramServer" if is_datagram else "StreamServer")
    prefix = "Program" if settings.program else _PREFIXES[settings.model]
    if settings.program:
        found, make_executor = _programs(settings, limit, sock, is_own)
    else:
        found, make_executor = _handlers(settings, limit, sock, is_own)
    return server_class(
        settings, handler, make_source or found, make_executor, limit, prefix + name, steps, shared_limit
    )


def load_mixins(settings: Settings) -> Mixins | None:
    """Import the classes of ``--mixin``, or return None without any. Raises `LoadError`."""
    if not settings.mixin:
        return None
    from srvctl.worker.mixins import load

    return load(settings.mixin, settings.model)


def _handlers(settings: Settings, limit: int, sock: socket.socket, is_own: bool) -> tuple[MakeSource, MakeExecutor]:
    """Return what makes the source and the executor of a handler. A worker imports the module of no other executor."""
    if sock.type == socket.SOCK_DGRAM:
        return lambda counters: DatagramSource(sock, is_own, counters), _executor(settings, limit)
    return lambda counters: StreamSource(sock, is_own), _executor(settings, limit)


def _executor(settings: Settings, limit: int) -> MakeExecutor:
    if settings.model == "fork":
        from srvctl.serving.fork_pool import ForkPool

        return lambda server: ForkPool(server, limit)
    if settings.model == "threads":
        from srvctl.serving.leader_followers import LeaderFollowers

        refuses = settings.at_limit == "refuse"
        return lambda server: LeaderFollowers(server.handling, server.closing, limit, refuses)
    return lambda server: InLoop(server.handling, server.closing, limit)


def _programs(settings: Settings, limit: int, sock: socket.socket, is_own: bool) -> tuple[MakeSource, MakeExecutor]:
    """Return what makes the source and the executor of a program."""
    from srvctl.programs.conversation import ProgramConversation, ProgramDatagram
    from srvctl.programs.program_pool import ProgramPool

    if sock.type != socket.SOCK_DGRAM:
        from srvctl.programs.stdio import ConnectionStdio

        return (
            lambda counters: StreamSource(sock, is_own, ProgramConversation),
            lambda server: ProgramPool(server, limit, ConnectionStdio(server)),
        )
    from srvctl.programs.datagram import DatagramStdio, SocketStdio, WaitingSource

    source, stdio = (WaitingSource, SocketStdio) if settings.datagram_wait else (DatagramSource, DatagramStdio)
    return (
        lambda counters: source(sock, is_own, counters, ProgramDatagram),
        lambda server: ProgramPool(server, limit, stdio(server)),
    )
