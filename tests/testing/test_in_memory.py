"""A handler on bytes: it sees a connection, or a datagram, and a server, and none of them is a socket."""

from __future__ import annotations

import io
import socket
from typing import Any

import pytest

from srvctl import BaseRequestHandler, DatagramRequestHandler, StreamRequestHandler
from srvctl.testing import exchange, exchange_datagram


class Upper(StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line.upper())


class UpperDatagram(DatagramRequestHandler):
    def handle(self) -> None:
        self.wfile.write(self.packet.upper())


class Tell(StreamRequestHandler):
    """Say what it sees of client and server."""

    def handle(self) -> None:
        seen = self.client_address, self.request.getpeername(), self.server.server_address, self.server.draining
        self.wfile.write(repr((*seen, self.server.state, self.server.RequestHandlerClass is Tell)).encode())


def test_the_result_is_what_the_handler_has_written() -> None:
    """To a client that has sent everything, and then shut down its side."""
    assert exchange(Upper, b"one\ntwo") == b"ONE\nTWO"
    assert exchange(Upper) == b""


@pytest.mark.parametrize("attributes", [{"timeout": 5.0}, {"rbufsize": 0}, {"wbufsize": -1, "timeout": 5.0}])
def test_the_files_of_a_handler_are_made_as_on_a_socket(attributes: dict[str, object]) -> None:
    """With a timeout, and with other buffers."""
    assert exchange(type("Other", (Upper,), {**attributes, "disable_nagle_algorithm": True}), b"line\n") == b"LINE\n"


def test_a_function_is_a_handler_too() -> None:
    """Of three arguments; a coroutine function is refused, as by srvctl."""

    def hello(request: Any, client_address: Any, server: Any) -> None:
        request.sendall(b"hello " + request.recv(100))

    async def waits(request: Any, client_address: Any, server: Any) -> None: ...

    assert exchange(hello, b"you") == b"hello you"
    with pytest.raises(TypeError, match="returned a coroutine"):
        exchange(waits)


def test_a_handler_sees_its_client_and_its_server() -> None:
    """As they are unless the test says otherwise."""
    client = ("192.0.2.1", 50000)
    assert exchange(Tell) == repr((client, client, ("192.0.2.2", 9000), False, None, True)).encode()
    other = ("2001:db8::1", 7, 0, 0)
    told = exchange(Tell, client_address=other, draining=True, state="pool", server_address=("::", 1))
    assert told == repr((other, other, ("::", 1), True, "pool", True)).encode()


@pytest.mark.parametrize(
    ("address", "family"),
    [(("192.0.2.1", 7), socket.AF_INET), (("2001:db8::1", 7, 0, 0), socket.AF_INET6), ("", socket.AF_UNIX)],
)
def test_the_family_is_that_of_the_client(address: Any, family: int) -> None:
    """On a connection, and of what answers a datagram."""
    seen = []
    exchange(lambda request, client, server: seen.append((request.family, request.type)), client_address=address)
    exchange_datagram(
        lambda request, client, server: seen.append((request[1].family, request[1].type)), client_address=address
    )
    assert seen == [(family, socket.SOCK_STREAM), (family, socket.SOCK_DGRAM)]


def test_what_the_handler_raises_is_raised() -> None:
    """So a test says what it expects."""

    class Fails(BaseRequestHandler):
        def handle(self) -> None:
            raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        exchange(Fails)
    with pytest.raises(ValueError, match="wrong"):
        exchange_datagram(Fails)


def test_a_datagram_is_answered_with_datagrams() -> None:
    """Each with its destination; nothing is sent where nothing was written."""
    (answer,) = exchange_datagram(UpperDatagram, b"what", client_address=("192.0.2.1", 7))
    assert (answer, answer.address) == (b"WHAT", ("192.0.2.1", 7))
    assert exchange_datagram(UpperDatagram, b"") == []
    assert exchange_datagram(UpperDatagram, b"nameless", client_address=None) == []


def test_a_datagram_handler_may_send_to_anyone() -> None:
    """By its socket, with ``sendto`` and ``send``."""

    def both(request: Any, client_address: Any, server: Any) -> None:
        request[1].sendto(b"there", ("192.0.2.9", 9))
        request[1].send(b"here")

    sent = exchange_datagram(both, b"x")
    assert [(data, data.address[0]) for data in sent] == [(b"there", "192.0.2.9"), (b"here", "192.0.2.1")]


def with_connection(work: Any, data: bytes = b"") -> tuple[Any, bytes]:
    """Have `work` do something with a connection in memory; return what it returned, and what was sent."""
    results: list[Any] = []
    sent = exchange(lambda connection, client, server: results.append(work(connection)), data)
    return results[0], sent


def test_a_connection_is_read_in_every_way_that_a_socket_is() -> None:
    """And peeked at."""
    buffer = bytearray(2)

    def work(connection: Any) -> list[Any]:
        return [
            connection.recv(2, socket.MSG_PEEK),
            connection.recv(2),
            connection.recv_into(buffer),
            connection.recvfrom(1)[0],
            connection.recvmsg(1)[0],
            connection.makefile("r").read(),
            connection.recv(1),
        ]

    assert with_connection(work, b"abcdefgh")[0] == [b"ab", b"ab", 2, b"e", b"f", "gh", b""]
    assert buffer == b"cd"


def test_a_connection_is_written_in_every_way_that_a_socket_is() -> None:
    """And not after it was shut down."""

    def work(connection: Any) -> None:
        connection.send(b"a")
        connection.sendall(memoryview(b"b"))
        connection.sendmsg([b"c", b"d"])
        connection.sendfile(io.BytesIO(b"xef"), 1)
        with connection.makefile("wb") as file:
            file.write(b"g")
        connection.shutdown(socket.SHUT_WR)
        with pytest.raises(BrokenPipeError):
            connection.send(b"h")

    assert with_connection(work)[1] == b"abcdefg"


def test_a_closed_connection_gives_nothing_more() -> None:
    """As one whose reading side was shut down."""
    assert with_connection(lambda connection: (connection.close(), connection.recv(9))[1], b"left")[0] == b""


def test_a_connection_has_the_timeout_that_was_set() -> None:
    """It never waits."""

    def work(connection: Any) -> list[Any]:
        seen = [connection.gettimeout(), connection.getblocking()]
        connection.settimeout(3.0)
        seen.append(connection.gettimeout())
        connection.setblocking(False)
        return [*seen, connection.getblocking()]

    assert with_connection(work)[0] == [None, True, 3.0, False]


def test_a_handler_that_wants_a_descriptor_is_told_where_to_have_one() -> None:
    """One that polls, for example."""
    with pytest.raises(io.UnsupportedOperation, match="use the fixture `serve`"):
        with_connection(lambda connection: connection.fileno())
