"""The hierarchy of servers: a re-implementation of the standard library's ``socketserver``.

``from srvctl import socketserver`` takes the place of ``import socketserver`` in any program: the same classes,
attributes, hooks and order of calls, without the faults. Family, socket type and concurrency are three
independent choices::

    BaseServer                      requests, whatever they are
      SocketServer                  requests from a socket
        StreamServer                connections        TCPServer, UnixStreamServer
        DatagramServer              datagrams          UDPServer, UnixDatagramServer
    ForkingMixIn, ThreadingMixIn    in front of any of them

    BaseRequestHandler              StreamRequestHandler, DatagramRequestHandler
"""

from __future__ import annotations

from srvctl.socketserver.base import BaseServer
from srvctl.socketserver.datagram import DatagramServer, ReplySocket, UDPServer, UnixDatagramServer
from srvctl.socketserver.forking import ForkingMixIn
from srvctl.socketserver.handlers import BaseRequestHandler, DatagramRequestHandler, StreamRequestHandler
from srvctl.socketserver.socket_server import SocketServer
from srvctl.socketserver.stream import StreamServer, TCPServer, UnixStreamServer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvctl.socketserver.threads import ThreadingMixIn

    class ForkingTCPServer(ForkingMixIn, TCPServer): ...

    class ForkingUDPServer(ForkingMixIn, UDPServer): ...

    class ForkingUnixStreamServer(ForkingMixIn, UnixStreamServer): ...

    class ForkingUnixDatagramServer(ForkingMixIn, UnixDatagramServer): ...

    class ThreadingTCPServer(ThreadingMixIn, TCPServer): ...

    class ThreadingUDPServer(ThreadingMixIn, UDPServer): ...

    class ThreadingUnixStreamServer(ThreadingMixIn, UnixStreamServer): ...

    class ThreadingUnixDatagramServer(ThreadingMixIn, UnixDatagramServer): ...


__all__ = [  # the combinations are made below, on demand
    "BaseRequestHandler",
    "BaseServer",
    "DatagramRequestHandler",
    "DatagramServer",
    "ForkingMixIn",
    "ForkingTCPServer",
    "ForkingUDPServer",
    "ForkingUnixDatagramServer",
    "ForkingUnixStreamServer",
    "ReplySocket",
    "SocketServer",
    "StreamRequestHandler",
    "StreamServer",
    "TCPServer",
    "ThreadingMixIn",
    "ThreadingTCPServer",
    "ThreadingUDPServer",
    "ThreadingUnixDatagramServer",
    "ThreadingUnixStreamServer",
    "UDPServer",
    "UnixDatagramServer",
    "UnixStreamServer",
]

if not TYPE_CHECKING:
    _FAMILIES = (TCPServer, UDPServer, UnixStreamServer, UnixDatagramServer)
    for _server in _FAMILIES:
        _name = f"Forking{_server.__name__}"
        globals()[_name] = type(_name, (ForkingMixIn, _server), {"__module__": __name__})

    def __getattr__(name: str) -> type:
        """Make the threading classes when they are first asked for: a forking worker has no `threading` in it."""
        if name != "ThreadingMixIn" and not name.startswith("Threading"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from srvctl.socketserver.threads import ThreadingMixIn

        made: dict[str, type] = {"ThreadingMixIn": ThreadingMixIn}
        for server in _FAMILIES:
            combined = f"Threading{server.__name__}"
            made[combined] = type(combined, (ThreadingMixIn, server), {"__module__": __name__})
        if name not in made:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals().update(made)
        return made[name]
