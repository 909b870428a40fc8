"""What the tests of the hierarchy share: both implementations as parameters, a server in a thread, small clients."""

from __future__ import annotations

import contextlib
import os
import socket
import socketserver as original
import threading
from typing import Any

import pytest

from srvctl import socketserver as ours

# Every wait in these tests is for an event; this is when it counts as one that never comes.
PATIENCE = 10.0
# How long to wait for what must not happen. On the standard library it does, well before.
GRACE = 0.3
# How long the standard library gets for what it is expected never to do.
HANG = 0.5


def mended(row: str, *, fixed: bool = False) -> pytest.MarkDecorator:
    """Run a test on ours, and on the standard library's module as a strict expected failure.

    `row` is the row of defects.md; `fixed` says that this interpreter's own module is right already.
    """
    marks = () if fixed else (pytest.mark.xfail(strict=True, reason=f"{row}: broken in the standard library"),)
    return pytest.mark.parametrize(
        "impl", [pytest.param(ours, id="srvctl"), pytest.param(original, id="stdlib", marks=marks)]
    )


def patience(server: Any) -> float:
    """Return how long to wait for `server` to do what its row promises: ours has all the time of a loaded machine."""
    return PATIENCE if isinstance(server, ours.BaseServer) else HANG


# Forking from a process with threads is what the tests do, not what the launcher does.
forks = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


class Run:
    """A `serve_forever` in a thread of its own."""

    def __init__(self, server: Any, poll_interval: float) -> None:
        self.server = server
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, args=(poll_interval,), daemon=True)
        self._thread.start()

    def _serve(self, poll_interval: float) -> None:
        try:
            self.server.serve_forever(poll_interval)
        except BaseException as error:
            self.error = error

    def has_ended(self, within: float = PATIENCE) -> bool:
        """Return whether `serve_forever` returned within so many seconds."""
        self._thread.join(within)
        return not self._thread.is_alive()

    def is_serving(self) -> bool:
        return self._thread.is_alive()


@contextlib.contextmanager
def serving(server: Any, poll_interval: float = 0.02) -> Any:
    """Serve in a thread; shut down and close at the end."""
    run = Run(server, poll_interval)
    try:
        yield run
    finally:
        server.shutdown()
        assert run.has_ended()
        server.server_close()


def in_time(action: Any, within: float) -> bool:
    """Call `action` in a thread; return whether it returned in time. What it raises is an error of the test."""
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    thread.join(within)
    return not thread.is_alive()


def eventually(is_so: Any, within: float = PATIENCE) -> bool:
    """Look for something that tells nobody when it happens, such as the end of a process."""
    pause = threading.Event()
    for _ in range(int(within / 0.01)):
        if is_so():
            return True
        pause.wait(0.01)
    return bool(is_so())


def make(impl: Any, name: str, handler: Any, tmp_path: Any = None, **attributes: Any) -> Any:
    """Return a server of class `name` with `attributes` of its own, on a free address."""
    base = getattr(impl, name)
    own = {"handle_error": quiet}
    if impl is original and hasattr(base, "socket_type") and base.socket_type == socket.SOCK_STREAM:
        own["get_request"] = _accept_leakily
    cls = type(name, (base,), {**own, **attributes})
    address = os.path.join(str(tmp_path), "s") if "Unix" in name else ("127.0.0.1", 0)
    return cls(address, handler)


class _Leaked(socket.socket):
    """A connection that the standard library's module forgets to close, which is known: see defects.md.

    Its warning would come whenever the collector finds it, in whatever test runs then.
    """

    def __del__(self) -> None:
        self.close()


def _accept_leakily(server: Any) -> tuple[socket.socket, Any]:
    connection, client_address = server.socket.accept()
    return _Leaked(fileno=connection.detach()), client_address


def quiet(server: Any, request: Any, client_address: Any) -> None:
    """Report nothing: in place of `handle_error`, where a test makes handlers fail on purpose."""


def open_fds() -> set[str]:
    """Return the descriptors of this process, each with what it is."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # listdir's own
            found.add(f"{fd}:{os.readlink(f'/proc/self/fd/{fd}')}")
    return found


def has_only(fds: set[str]) -> bool:
    """Return whether this process comes to have no descriptors but those of an `open_fds` before."""
    return eventually(lambda: open_fds() <= fds)


def is_there(pid: int) -> bool:
    """Return whether a process is there, as a zombie too."""
    return os.path.exists(f"/proc/{pid}")


# --- clients


class Client(socket.socket):
    """A client that hangs up when it is closed: a forked child of the test has a copy, which would keep the line."""

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.shutdown(socket.SHUT_RDWR)
        super().close()


def connect(server: Any, timeout: float = PATIENCE) -> Client:
    """Connect to a stream server."""
    client = Client(server.socket.family, socket.SOCK_STREAM)
    client.settimeout(timeout)
    try:
        client.connect(server.server_address)
    except BaseException:
        client.close()
        raise
    return client


def read_all(client: socket.socket) -> bytes:
    """Read until the other end has closed."""
    chunks = []
    while data := client.recv(65536):
        chunks.append(data)
    return b"".join(chunks)


def ask(server: Any, data: bytes, timeout: float = PATIENCE) -> bytes:
    """Send `data` to a stream server as a whole conversation; return the answer."""
    with connect(server, timeout) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        return read_all(client)


def is_answered(server: Any) -> bool:
    """Return whether a stream server that echoes answers a new client in time."""
    try:
        return ask(server, b"alive?", patience(server)) == b"alive?"
    except OSError:
        return False


@contextlib.contextmanager
def datagram_client(server: Any, path: Any = None) -> Any:
    """A datagram socket that is connected to the server; a unix one is bound to `path`, or without a name."""
    with socket.socket(server.socket.family, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        if path is not None:
            client.bind(str(path))
        client.connect(server.server_address)
        yield client


# --- handlers


def echo(request: Any, client_address: Any, server: Any) -> None:
    """Send back a stream, up to its end."""
    while data := request.recv(65536):
        request.sendall(data)


def echo_datagram(request: Any, client_address: Any, server: Any) -> None:
    """Send back a datagram."""
    data, sock = request
    sock.sendto(data, client_address)
