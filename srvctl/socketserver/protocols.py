"""Types of what a handler has: for annotations, of srvctl's own code and of handlers. Nothing imports it to run.

A request, where it comes from, and ``state`` are `Any`: a server of a program's own may have rows of a table for
requests, and the address of a peer is a pair, four parts, a text or None, by family. A handler that is for one of them
says so by an annotation, such as ``client_address: tuple[str, int]``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, overload

if TYPE_CHECKING:
    import socket

    from _typeshed import ReadableBuffer

# What is called with a request, the address of its peer, and the server: a handler class, or a function.
Handler: TypeAlias = Callable[[Any, Any, Any], object]
# What bind(2) takes, by family.
Address: TypeAlias = "tuple[Any, ...] | str | ReadableBuffer"


class HandlerServer(Protocol):
    """The server as a handler sees it: the one that srvctl runs, and each class of `srvctl.socketserver`."""

    @property
    def server_address(self) -> Any: ...

    @property
    def RequestHandlerClass(self) -> Handler: ...  # noqa: N802

    @property
    def draining(self) -> bool: ...

    @property
    def state(self) -> Any: ...


class DatagramSocket(Protocol):
    """What a handler answers a datagram with; everything that it does not have is the server's socket."""

    @property
    def client_address(self) -> Any: ...

    @overload
    def sendto(self, data: ReadableBuffer, address: Address, /) -> int: ...

    @overload
    def sendto(self, data: ReadableBuffer, flags: int, address: Address, /) -> int: ...

    def send(self, data: ReadableBuffer, flags: int = 0) -> int: ...

    @property
    def family(self) -> socket.AddressFamily: ...

    @property
    def type(self) -> socket.SocketKind: ...

    def fileno(self) -> int: ...

    def getsockname(self) -> Any: ...

    def getsockopt(self, level: int, optname: int, /) -> int: ...

    def settimeout(self, value: float | None, /) -> None: ...

    def setblocking(self, flag: bool, /) -> None: ...

    def shutdown(self, how: int, /) -> None: ...

    def close(self) -> None: ...
