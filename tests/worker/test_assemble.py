"""From settings to a server class: family, socket type and model are independent."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from srvctl.config.options import MODELS
from srvctl.config.settings import Settings
from srvctl.serving.server import Server
from srvctl.socketserver import BaseRequestHandler
from srvctl.worker.assemble import assemble
from tests.launched import PATIENCE, clean_environment

KINDS = {
    (socket.AF_INET, socket.SOCK_STREAM): "TCPServer",
    (socket.AF_INET6, socket.SOCK_STREAM): "TCPServer",
    (socket.AF_INET, socket.SOCK_DGRAM): "UDPServer",
    (socket.AF_INET6, socket.SOCK_DGRAM): "UDPServer",
    (socket.AF_UNIX, socket.SOCK_STREAM): "UnixStreamServer",
    (socket.AF_UNIX, socket.SOCK_DGRAM): "UnixDatagramServer",
    (socket.AF_UNIX, socket.SOCK_SEQPACKET): "UnixSeqpacketServer",
    (socket.AF_VSOCK, socket.SOCK_STREAM): "VsockServer",
}
PREFIXES = {"sync": "", "threads": "Threading", "fork": "Forking"}
every = pytest.mark.parametrize(
    ("kind", "model"),
    list(itertools.product(KINDS, MODELS)),
    ids=[f"{PREFIXES[model]}{KINDS[kind]}-{kind[0].name}" for kind, model in itertools.product(KINDS, MODELS)],
)


@contextlib.contextmanager
def made(kind: tuple[int, int], model: str, **given: object) -> Iterator[Server]:
    """Assemble a server on a socket of its own, and close it."""
    try:
        sock = socket.socket(*kind)
    except OSError as error:
        pytest.skip(f"no such socket here: {error.strerror}")
    settings = Settings.resolve("fd", "3", "echo", model, **given)
    server = assemble(settings, settings.max_connections, sock, BaseRequestHandler, is_own=True)
    yield server
    server.server_close()
    assert sock.fileno() == -1


@every
def test_the_name_says_model_and_family(kind: tuple[int, int], model: str) -> None:
    """As the standard library names its combinations; a handler finds what `socketserver` promises."""
    with made(kind, model) as server:
        assert server.name == PREFIXES[model] + KINDS[kind]
        assert server.server_address == server.socket.getsockname()
        assert server.RequestHandlerClass is BaseRequestHandler
        assert (server.settings.model, server.draining) == (model, False)


@every
def test_the_parts_are_those_of_a_requests_way(kind: tuple[int, int], model: str) -> None:
    """Source and executor are independent of each other; what has nothing to do is not there."""
    source = "DatagramSource" if kind[1] == socket.SOCK_DGRAM else "StreamSource"
    executor = {"sync": "InLoop", "threads": "LeaderFollowers", "fork": "ForkPool"}[model]
    with made(kind, model) as server:
        admission = ["Admission"] if kind == (socket.AF_UNIX, socket.SOCK_DGRAM) else []  # of peers that read
        assert server.parts() == [source, "Acceptor", *admission, executor, "Closing"]
    if model != "sync":
        with made(kind, model, at_limit="refuse") as server:
            assert server.parts() == [source, "Acceptor", "Admission", executor, "Closing"]


@every
def test_what_serves_is_composed(kind: tuple[int, int], model: str) -> None:
    """At most four bases and 40 methods, and 400 lines, for each object: that is the mark."""
    with made(kind, model) as server:
        parts = [server, server.source, server.acceptor, server.executor, server.closing]
        for part in [*parts, server.table, server.deadlines, server.drainage, server.counters, server.handling]:
            own = [cls for cls in type(part).__mro__ if cls.__module__.startswith("srvctl.")]
            methods = {name for cls in own for name, value in vars(cls).items() if callable(value)}
            lines = sum(len(inspect.getsource(cls).splitlines()) for cls in own)
            assert (len(own) <= 4, len(methods) <= 40, lines <= 400) == (True, True, True), type(part).__name__


def test_a_family_that_is_not_known_is_served_by_its_type() -> None:
    """An inherited descriptor may be of any."""
    with made((socket.AF_NETLINK, socket.SOCK_DGRAM), "sync") as server:
        assert (server.name, server.parts()[0]) == ("DatagramServer", "DatagramSource")


@pytest.mark.parametrize(
    ("model", "absent"),
    [("fork", {"threading", "logging", "asyncio", "click", "rich", "typing"}), ("sync", {"threading", "logging"})],
)
def test_a_worker_imports_what_its_model_needs(model: str, absent: set[str]) -> None:
    """What is in the process when it forks is what each fork pays for."""
    script = (
        "import socket, sys; sys.path.append(sys.argv[1])\n"
        "import srvctl.worker.main\n"
        "from srvctl.worker.assemble import assemble\n"
        "from srvctl.config.settings import Settings\n"
        f"assemble(Settings.resolve('tcp', ':0', 'echo', {model!r}), 1, socket.socket(), None, is_own=True)\n"
        "print(*sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-P", "-I", "-S", "-c", script, str(Path(__file__).parents[2])],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert not absent & set(found.stdout.split())
