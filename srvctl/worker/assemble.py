"""From settings to a server class: the one place that combines family, socket type and concurrency."""

from __future__ import annotations

import socket

from srvctl.serving.fork import ForkServing
from srvctl.serving.kinds import DatagramServing, StreamServing
from srvctl.serving.models import SyncServing, ThreadServing
from srvctl.socketserver import ForkingMixIn, TCPServer, UDPServer, UnixDatagramServer, UnixStreamServer
from srvctl.socketserver.datagram import DatagramServer
from srvctl.socketserver.stream import StreamServer, UnixSeqpacketServer, VsockServer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from srvctl.config.settings import Settings
    from srvctl.serving.drain import Draining

# Threads that stay behind for the next request. More than that were a burst, and their stacks are worth more.
_SPARE_THREADS = 16

_SERVERS: dict[tuple[int, int], type[StreamServer | DatagramServer]] = {
    (socket.AF_INET, socket.SOCK_STREAM): TCPServer,
    (socket.AF_INET6, socket.SOCK_STREAM): TCPServer,
    (socket.AF_INET, socket.SOCK_DGRAM): UDPServer,
    (socket.AF_INET6, socket.SOCK_DGRAM): UDPServer,
    (socket.AF_UNIX, socket.SOCK_STREAM): UnixStreamServer,
    (socket.AF_UNIX, socket.SOCK_DGRAM): UnixDatagramServer,
    (socket.AF_UNIX, socket.SOCK_SEQPACKET): UnixSeqpacketServer,
}
if hasattr(socket, "AF_VSOCK"):
    _SERVERS[socket.AF_VSOCK, socket.SOCK_STREAM] = VsockServer


def assemble(settings: Settings, most: int, family: int, type_: int, is_own: bool) -> type[Draining]:
    """Return the class that serves a socket of `family` and `type_` as `settings` say, `most` requests at a time.

    `is_own` says that srvctl made the socket, and may empty its queue when it stops.
    """
    server = _SERVERS.get((family, type_)) or (StreamServer if type_ != socket.SOCK_DGRAM else DatagramServer)
    bases: list[type] = [DatagramServing if type_ == socket.SOCK_DGRAM else StreamServing]
    attributes: dict[str, Any] = {
        "settings": settings,
        "most": most,
        "is_own": is_own,
        "address_family": family,
        "socket_type": type_,
        "__module__": __name__,
    }
    if settings.program:
        from srvctl.programs.stream import program_bases

        prefix = "Program"
        bases = [*program_bases(type_ == socket.SOCK_DGRAM, settings.datagram_wait, bases[0]), ForkingMixIn]
        attributes["max_children"] = most
    elif settings.model == "fork":
        prefix = "Forking"
        bases += [ForkServing, ForkingMixIn]
        attributes["max_children"] = most
    elif settings.model == "threads":
        from srvctl.socketserver.leader_followers import TakingMixIn

        prefix = "Threading"
        bases += [ThreadServing, TakingMixIn]
        attributes |= {"max_threads": most, "spare_threads": min(most, _SPARE_THREADS)}
    else:
        prefix = ""
        bases.append(SyncServing)
    return type(prefix + server.__name__, (*bases, server), attributes)


def mix_ins(server: type) -> list[str]:
    """Return the names of the classes that `server` was put together from, in the order in which they are asked."""
    return [cls.__name__ for cls in server.__mro__ if cls is not object]
