"""Tests of handlers: on bytes without a socket, and in a server of its own process with a client for it.

`exchange` and `exchange_datagram` call a handler here. `Server` starts ``srvctl``, and `Client` is connected to it; the
fixture ``serve`` of `srvctl.testing.plugin`, which pytest finds by itself, makes both.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvctl.testing.in_memory import SentDatagram, exchange, exchange_datagram
    from srvctl.testing.server import Client, Serve, Server, ServerFailed

__all__ = ["Client", "SentDatagram", "Serve", "Server", "ServerFailed", "exchange", "exchange_datagram"]

if not TYPE_CHECKING:
    _IN_MEMORY = ("SentDatagram", "exchange", "exchange_datagram")

    def __getattr__(name: str) -> object:
        """Import what is asked for: each run of pytest imports this package, whether its tests use it or not."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name in _IN_MEMORY:
            from srvctl.testing import in_memory as module
        else:
            from srvctl.testing import server as module
        found = globals()[name] = getattr(module, name)
        return found
