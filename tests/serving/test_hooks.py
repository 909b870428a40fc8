"""Hooks of mix-ins: each is called where the original calls it, by the parts of a composed server."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from srvctl import StreamRequestHandler
from srvctl.config.settings import Settings
from srvctl.runtime import log
from srvctl.serving.hooks import HookedServer
from srvctl.socketserver import DatagramRequestHandler
from srvctl.socketserver.accept_errors import RequestDeferred
from srvctl.worker.assemble import assemble
from srvctl.worker.mixins import Mixins
from tests.serving.running import PATIENCE, running

# A key and a certificate for localhost that signs itself.
CERTIFICATE = Path(__file__).parents[1] / "data" / "localhost.pem"


class Upper(StreamRequestHandler):
    """Send a line back in capitals; ``bad`` is an error."""

    def handle(self) -> None:
        line = self.rfile.readline()
        if line == b"bad\n":
            raise ValueError("bad")
        self.wfile.write(line.upper())


class UpperDatagram(DatagramRequestHandler):
    def handle(self) -> None:
        self.wfile.write(self.packet.upper())


@contextlib.contextmanager
def served(
    *classes: type, model: str = "threads", kind: int = socket.SOCK_STREAM, handler: Any = None
) -> Iterator[HookedServer]:
    """Serve on a free port with `classes` in front; the server is drained behind the block."""
    sock = socket.socket(socket.AF_INET, kind)
    sock.bind(("127.0.0.1", 0))
    if kind == socket.SOCK_STREAM:
        sock.listen()
    settings = Settings.resolve("fd", "3", "upper", model)
    chosen = handler or (Upper if kind == socket.SOCK_STREAM else UpperDatagram)
    server = assemble(settings, 4, sock, chosen, is_own=True, server_class=Mixins(classes).server_class)
    assert isinstance(server, HookedServer)
    with running(server):
        yield server


def ask(server: HookedServer, text: bytes) -> bytes:
    """Return the whole answer that one client gets."""
    with socket.create_connection(server.server_address, PATIENCE) as client:
        client.sendall(text)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while data := client.recv(65536):
                answer += data
        return answer


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The hooks that were logged as failed, with their errors."""
    logged: list[tuple[str, str]] = []
    monkeypatch.setattr(log, "hook_failed", lambda what, error, suppressed=0: logged.append((what, str(error))))
    return logged


def recorder(calls: list[str]) -> type:
    """Return a mix-in that notes each hook of a request, and passes it on."""

    class Recorder:
        def get_request(self) -> Any:
            request, address = super().get_request()  # type: ignore[misc]
            calls.append("get_request")
            return request, address

        def shutdown_request(self, request: Any) -> None:
            calls.append("shutdown_request")
            super().shutdown_request(request)  # type: ignore[misc]

    def passing(name: str) -> Any:
        def hook(self: Any, *given: Any) -> Any:
            calls.append(name)
            return getattr(super(Recorder, self), name)(*given)

        hook.__name__ = name
        return hook

    for name in ("verify_request", "process_request", "finish_request", "close_request", "handle_error"):
        setattr(Recorder, name, passing(name))
    return Recorder


ORDER = ["get_request", "verify_request", "process_request", "finish_request", "shutdown_request", "close_request"]


@pytest.mark.parametrize("model", ["sync", "threads"])
def test_the_hooks_of_a_request_are_called_in_their_order(model: str) -> None:
    """That of the original; the conversation is counted as any other."""
    calls: list[str] = []
    with served(recorder(calls), model=model) as server:
        assert ask(server, b"one\n") == b"ONE\n"
    assert calls == ORDER
    assert (server.figures()["served"], server.figures()["conversations"]) == (1, 0)


def test_the_exception_of_a_handler_goes_to_handle_error() -> None:
    """Between the handler and the end of its request; it counts as failed."""
    calls: list[str] = []
    with served(recorder(calls)) as server:
        assert ask(server, b"bad\n") == b""
    assert calls == [*ORDER[:4], "handle_error", *ORDER[4:]]
    assert server.figures()["failed"] == 1


def test_the_hooks_of_a_datagram_are_called_too() -> None:
    """`get_request` may return other data, and the answer goes to the sender."""

    class Twice:
        def get_request(self) -> Any:
            (data, sock), address = super().get_request()  # type: ignore[misc]
            return (data * 2, sock), address

    with (
        served(Twice, model="sync", kind=socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        client.settimeout(PATIENCE)
        client.connect(server.server_address)
        client.send(b"ab")
        assert client.recv(100) == b"ABAB"


def test_a_handler_has_the_object_of_the_mixins_as_its_server() -> None:
    """Their attributes, and what is promised to a handler."""
    seen: list[Any] = []

    class Mixin:
        colour = "blue"

    def handler(request: Any, address: Any, server: Any) -> None:
        seen.append((server.colour, server.server_address, server.settings.model, server.draining, server.fileno()))
        seen.append(server.RequestHandlerClass)
        request.sendall(b"done")

    with served(Mixin, handler=handler) as server:
        assert ask(server, b"") == b"done"
        assert seen == [("blue", server.server_address, "threads", False, server.socket.fileno()), handler]


def test_only_what_is_overridden_is_called() -> None:
    """Everything else takes the short way."""

    class Nothing:
        pass

    with served(Nothing) as server:
        assert not any(server.overrides(name) for name in (*ORDER, "handle_error", "service_actions", "server_close"))
        assert server.admission is None
        assert server.can_pass_connections


def test_a_request_that_verify_request_refuses_is_counted() -> None:
    """The handler does not see it."""

    class Closed:
        def verify_request(self, request: Any, address: Any) -> bool:
            return False

    with served(Closed) as server:
        assert ask(server, b"") == b""
    assert server.figures()["rejected"] == 1


def test_get_request_may_put_another_object_in_place_of_the_connection(failures: list[tuple[str, str]]) -> None:
    """TLS in the way in which everybody writes it for the original; a peer that does not speak it is turned away."""
    context, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=CERTIFICATE)
    context.load_cert_chain(CERTIFICATE)

    class Secure:
        def get_request(self) -> Any:
            connection, address = super().get_request()  # type: ignore[misc]
            return context.wrap_socket(connection, server_side=True), address

    with served(Secure) as server:
        ask(server, b"not a handshake\n")
        with (
            socket.create_connection(server.server_address, PATIENCE) as plain,
            trusting.wrap_socket(plain, server_hostname="localhost") as client,
        ):
            client.sendall(b"secret\n")
            assert client.recv(100) == b"SECRET\n"
    assert (server.figures()["served"], server.figures()["lost"]) == (1, 1)
    assert not server.can_pass_connections
    assert [what for what, _ in failures] == ["get_request"]


def test_a_get_request_that_fails_costs_that_request_only(failures: list[tuple[str, str]]) -> None:
    """It is closed, logged and counted as lost; the next one is served."""
    errors = [ValueError("no"), OSError(1, "looks fatal"), SystemExit(3)]

    class Failing:
        def get_request(self) -> Any:
            found = super().get_request()  # type: ignore[misc]
            if errors:
                raise errors.pop(0)
            return found

    with served(Failing) as server:
        assert [ask(server, b"x\n") for _ in range(4)] == [b"", b"", b"", b"X\n"]
    assert failures[0] == ("get_request", "no")
    assert server.figures()["lost"] == 3


def test_a_process_request_of_ones_own_may_serve_later_and_elsewhere() -> None:
    """In a thread of the program's: `finish_request` and `shutdown_request` are its to call."""

    class Own:
        def process_request(self, request: Any, address: Any) -> None:
            threading.Thread(target=self.work, args=(request, address)).start()

        def work(self, request: Any, address: Any) -> None:
            self.finish_request(request, address)  # type: ignore[attr-defined]
            self.shutdown_request(request)  # type: ignore[attr-defined]

    with served(Own, model="sync") as server:
        assert ask(server, b"later\n") == b"LATER\n"
    assert server.figures()["served"] == 1


def test_a_process_request_that_raises_ends_its_request() -> None:
    """As a handler that fails."""

    class Failing:
        def process_request(self, request: Any, address: Any) -> None:
            raise RuntimeError("no")

    with served(Failing) as server:
        assert ask(server, b"x\n") == b""
    assert server.figures()["failed"] == 1


def test_a_request_that_cannot_be_started_yet_waits() -> None:
    """What the executor raises for that goes through the hook to the acceptor, which tries again."""

    class Late:
        tries = 0

        def process_request(self, request: Any, address: Any) -> None:
            self.tries += 1
            if self.tries == 1:
                raise RequestDeferred
            super().process_request(request, address)  # type: ignore[misc]

    with served(Late) as server:
        assert ask(server, b"x\n") == b"X\n"
        assert server.facade.tries == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("hook", ["shutdown_request", "close_request", "handle_error"])
def test_a_hook_at_the_end_that_raises_does_not_keep_the_connection(hook: str, failures: list[tuple[str, str]]) -> None:
    """It is closed all the same, and the hook is named in the log."""

    def raising(self: Any, *given: Any) -> None:
        raise RuntimeError("no")

    with served(type("Failing", (), {hook: raising})) as server:
        assert ask(server, b"bad\n") == b""
        assert not server.table
    named = "handle_error" if hook == "handle_error" else "shutdown_request"
    assert (named, "no") in failures


def test_service_actions_are_called_by_the_clock_and_server_close_at_the_end() -> None:
    """Also with no request at all; and what they raise is logged."""
    calls: list[str] = []
    acted = threading.Event()

    class Acting:
        def service_actions(self) -> None:
            calls.append("acted")
            if len(calls) > 1:
                acted.set()

        def server_close(self) -> None:
            calls.append("closed")

    with served(Acting):
        assert acted.wait(PATIENCE)
    assert calls[-1] == "closed"


def test_handle_timeout_is_called_while_nobody_comes() -> None:
    """When the class has a timeout; again and again."""
    late = threading.Semaphore(0)

    class Waiting:
        timeout = 0.01

        def handle_timeout(self) -> None:
            late.release()

    with served(Waiting):
        assert late.acquire(timeout=PATIENCE) and late.acquire(timeout=PATIENCE)


def test_a_server_class_of_the_standard_library_keeps_what_it_adds() -> None:
    """Its constructors run, called by `super` or by name; the socket stays ours, bound once."""

    class Old(socketserver.TCPServer):
        allow_reuse_address = True

        def __init__(self, address: Any, handler: Any) -> None:
            socketserver.TCPServer.__init__(self, address, handler)
            self.made = True

        def server_bind(self) -> None:
            socketserver.TCPServer.server_bind(self)
            self.port = self.server_address[1]

        def get_request(self) -> Any:
            return socketserver.TCPServer.get_request(self)

    with served(Old) as server:
        facade: Any = server.facade
        assert (facade.made, facade.port) == (True, server.socket.getsockname()[1])
        assert isinstance(facade, socketserver.TCPServer)
        assert ask(server, b"old\n") == b"OLD\n"
        assert server.name == "Old -> ThreadingTCPServer"


def test_a_service_is_not_stopped_by_one_of_its_workers() -> None:
    """The supervisor would start another one."""

    class Mixin:
        pass

    with served(Mixin) as server, pytest.raises(RuntimeError, match="by a signal"):
        server.facade.shutdown()


def test_a_request_may_be_something_without_a_connection() -> None:
    """Rows of a table: a `get_request` that does not accept."""
    served_rows: list[Any] = []
    rows = ["second", "first"]
    done = threading.Event()

    class Rows:
        def get_request(self) -> Any:
            if not rows:
                raise BlockingIOError
            return rows.pop(), "table"

    def handler(request: Any, address: Any, server: Any) -> None:
        served_rows.append((request, address))
        if len(served_rows) == 2:
            done.set()

    with (
        served(Rows, model="sync", handler=handler) as server,
        socket.create_connection(server.server_address, PATIENCE),  # so that there is something to look for
    ):
        assert done.wait(PATIENCE)
        # `get_request` leaves that connection in the backlog: it would be looked for again and again.
        server.facade._engine._loop.call_soon(server.acceptor.stop)  # type: ignore[union-attr]
    assert served_rows == [("first", "table"), ("second", "table")]
