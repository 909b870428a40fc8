"""From settings to a server class: family, socket type and model are independent."""

from __future__ import annotations

import itertools
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from srvctl.config.options import MODELS
from srvctl.config.settings import Settings
from srvctl.serving.drain import Draining
from srvctl.socketserver import BaseRequestHandler, ForkingMixIn, ThreadingMixIn
from srvctl.worker.assemble import assemble, mix_ins
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


def made(kind: tuple[int, int], model: str, **given: object) -> type[Draining]:
    """Assemble a class."""
    settings = Settings.resolve("fd", "3", "echo", model, **given)
    return assemble(settings, settings.max_connections, *kind, True)


@every
def test_the_name_says_model_and_family(kind: tuple[int, int], model: str) -> None:
    """As the standard library names its combinations."""
    server = made(kind, model)
    assert server.__name__ == PREFIXES[model] + KINDS[kind]
    assert (server.address_family, server.socket_type) == kind  # type: ignore[attr-defined]


@every
def test_only_the_model_that_was_asked_for_is_mixed_in(kind: tuple[int, int], model: str) -> None:
    """A worker pays for no other."""
    server = made(kind, model)
    assert issubclass(server, ThreadingMixIn) == (model == "threads")
    assert issubclass(server, ForkingMixIn) == (model == "fork")


@every
def test_what_srvctl_adds_comes_before_the_hierarchy(kind: tuple[int, int], model: str) -> None:
    """In the order that `srvctl check` prints."""
    names = mix_ins(made(kind, model))
    order = ["Draining", "Deadlines", "Conversations"]
    assert [name for name in names if name in order] == order
    assert names.index("Conversations") < names.index("SocketServer") < names.index("BaseServer")


def test_the_bound_is_that_of_the_settings() -> None:
    """Of the children, and of the threads."""
    stream = (socket.AF_INET, socket.SOCK_STREAM)
    assert made(stream, "fork", max_connections=7).max_children == 7  # type: ignore[attr-defined]
    threading = made(stream, "threads", max_connections=7)
    assert (threading.max_threads, threading.spare_threads) == (7, 7)  # type: ignore[attr-defined]
    assert made(stream, "threads", max_connections=500).spare_threads < 500  # type: ignore[attr-defined]


@pytest.mark.parametrize("type_", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_family_that_is_not_known_is_served_by_its_type(type_: int) -> None:
    """An inherited descriptor may be of any."""
    names = mix_ins(made((12345, type_), "sync"))
    assert ("DatagramServer" in names) == (type_ == socket.SOCK_DGRAM)
    assert ("StreamServer" in names) == (type_ == socket.SOCK_STREAM)


@every
def test_a_server_can_be_made_of_the_class(kind: tuple[int, int], model: str) -> None:
    """On a socket that it takes over, and closes."""
    try:
        sock = socket.socket(*kind)
    except OSError as error:
        pytest.skip(f"no such socket here: {error.strerror}")
    server = made(kind, model)("nowhere", BaseRequestHandler, sock=sock)  # type: ignore[call-arg]
    server.server_close()
    assert sock.fileno() == -1


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
        f"assemble(Settings.resolve('tcp', ':0', 'echo', {model!r}), 1, socket.AF_INET, socket.SOCK_STREAM, True)\n"
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
