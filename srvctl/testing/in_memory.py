"""A handler that is called with bytes, in the thread of the test: no socket, no server, no process."""

from __future__ import annotations

from types import SimpleNamespace

from srvctl.runtime.unfinished import UNFINISHED, refuse_unfinished
from srvctl.socketserver.datagram import ReplySocket
from srvctl.testing.memory_sockets import MemoryConnection, MemoryDatagramSocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Handler = Callable[[Any, Any, Any], object]

# Where a client comes from unless a test says so: an address that RFC 5737 keeps for documentation.
CLIENT = ("192.0.2.1", 50000)
_LOCAL = ("192.0.2.2", 9000)


class SentDatagram(bytes):
    """A datagram that a handler has sent; `address` is where to."""

    address: Any


def exchange(handler: Handler, data: bytes = b"", *, client_address: Any = CLIENT, **server: Any) -> bytes:
    """Return what `handler` writes to a client that sends `data` and then shuts down its side.

    `handler` is a class or function of ``(request, client_address, server)``. Further arguments are attributes of its
    server, such as ``draining=True`` or ``state=...``, beside those that every server has. Without a ``state`` the
    handler's ``service_start`` is called before, and its ``service_stop`` afterwards. Raises what the handler raises. A
    client whose address is a text, or empty, is one on a unix socket.
    """
    connection = MemoryConnection(data, _local_of(client_address), client_address)
    _call(handler, connection, client_address, server, connection.getsockname())
    return bytes(connection.sent)


def exchange_datagram(
    handler: Handler, data: bytes = b"", *, client_address: Any = CLIENT, **server: Any
) -> list[SentDatagram]:
    """Return the datagrams that `handler` sends when `data` has come in one; as `exchange` in everything else.

    They are `bytes`, with their destination as ``address``. A client without an address is a unix one without a name.
    """
    sock = MemoryDatagramSocket(_local_of(client_address))
    reply: Any = ReplySocket(sock, client_address, ())  # type: ignore[arg-type]
    _call(handler, (data, reply), client_address, server, sock.getsockname())
    found = []
    for sent, address in sock.sent:
        datagram = SentDatagram(sent)
        datagram.address = address
        found.append(datagram)
    return found


def _call(handler: Handler, request: Any, client_address: Any, attributes: dict[str, Any], local: Any) -> None:
    common = {"server_address": local, "RequestHandlerClass": handler, "draining": False, "state": None}
    server = SimpleNamespace(**common | attributes)
    start, stop = (getattr(handler, name, None) for name in ("service_start", "service_stop"))
    if start and "state" not in attributes:
        server.state = start(server)
    try:
        result = handler(request, client_address, server)
        if type(result) in UNFINISHED:
            refuse_unfinished(result)
    finally:
        if stop and "state" not in attributes:
            stop(server)


def _local_of(client_address: Any) -> Any:
    if not isinstance(client_address, tuple):
        return "/run/server.sock"
    return ("2001:db8::2", 9000, 0, 0) if ":" in str(client_address[0]) else _LOCAL
