"""TLS that a handler makes by itself, with `ssl.SSLContext.wrap_socket` on its connection.

An `ssl.SSLSocket` takes the descriptor over, and neither counts nor limits anything. So it is given a copy, and the
connection stays open beside it, for time limits, the drain and the close. What the handler sends and receives is
counted as plain text. Imported when a handler imports `ssl`, and not before.
"""

from __future__ import annotations

import os
import socket
import ssl
from functools import wraps

from srvctl.serving.connection import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any


def count_wrapped(module: ModuleType) -> None:
    """Have each context of `module`, which is `ssl`, count what goes through a connection of srvctl that it wraps."""
    original = ssl.SSLContext.wrap_socket

    @wraps(original)
    def wrap_socket(context: ssl.SSLContext, sock: socket.socket, *args: Any, **options: Any) -> ssl.SSLSocket:
        if not isinstance(sock, Connection):
            return original(context, sock, *args, **options)
        if not hasattr(context.sslsocket_class, "connection"):
            context.sslsocket_class = _counted_class(context.sslsocket_class)
        copy = socket.socket(sock.family, sock.type, sock.proto, os.dup(sock.fileno()))
        with copy:  # closed by a handshake that fails; one that succeeds has taken the descriptor over
            copy.settimeout(sock.gettimeout())
            wrapped = original(context, copy, *args, **options)
        wrapped.connection = sock  # type: ignore[attr-defined]
        return wrapped

    module.SSLContext.wrap_socket = wrap_socket


_classes: dict[type[ssl.SSLSocket], type[ssl.SSLSocket]] = {}


def _counted_class(base: type[ssl.SSLSocket]) -> type[ssl.SSLSocket]:
    """Return the class derived from `base` that notes on the meter of its ``connection`` what it receives and sends."""
    if base in _classes:
        return _classes[base]

    class CountedSSLSocket(base):  # type: ignore[valid-type, misc]
        connection: Connection | None = None  # until the handshake is over, and of a connection that is not srvctl's

        def read(self, len: int = 1024, buffer: Any = None) -> Any:
            received = super().read(len, buffer)
            if (connection := self.connection) is not None:
                connection.count_received(received if buffer is not None else memoryview(received).nbytes)
            return received

        def write(self, data: Any) -> int:
            return self._count_sent(super().write(data))

        def send(self, data: Any, flags: int = 0) -> int:
            return self._count_sent(super().send(data, flags))

        def _count_sent(self, count: int) -> int:
            if (connection := self.connection) is not None and count:
                connection.count_sent(count)
            return count

        def _real_close(self) -> None:  # what `socket.socket.close` calls when no file is open on it any more
            super()._real_close()
            if self.connection is not None:
                self.connection.close()

    CountedSSLSocket.__name__, CountedSSLSocket.__qualname__ = base.__name__, base.__qualname__
    _classes[base] = CountedSSLSocket
    return CountedSSLSocket
