"""Every family with every model, on a socket of srvctl's own and on one that was inherited: real processes."""

from __future__ import annotations

import errno
import functools
import os
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.launched import VMADDR_CID_LOCAL, Launched, ask, clean_environment

Launch = Callable[..., Launched]

MODELS = ("--sync", "--threads", "--fork")

# What a test of one's own socket asks for; port 0, and paths in the test's own directory.
ADDRESSES = {
    "tcp": ":0",
    "tcp4": "127.0.0.1:0",
    "tcp6": "[::1]:0",
    "udp": ":0",
    "udp4": "127.0.0.1:0",
    "udp6": "[::1]:0",
    "unix": "socket",
    "unix-dgram": "socket",
    "unix-seqpacket": "socket",
    "vsock": ":0",
}
UNIX_TYPES = {
    "unix": socket.SOCK_STREAM,
    "unix-dgram": socket.SOCK_DGRAM,
    "unix-seqpacket": socket.SOCK_SEQPACKET,
}

# Makes descriptor argv[1] the first that a service manager passes, to the process that this one becomes.
AS_SYSTEMD_DOES = (
    "import os, sys\n"
    "if sys.argv[1] != '3': os.dup2(int(sys.argv[1]), 3)\n"
    "os.set_inheritable(3, True)\n"
    "os.environ['LISTEN_PID'] = str(os.getpid())\n"
    "os.execv(sys.argv[2], sys.argv[2:])\n"
)


@functools.cache
def vsock_missing() -> str:
    """Return why a vsock client cannot reach this machine itself, or an empty string."""
    if not hasattr(socket, "AF_VSOCK"):
        return "this Python has no AF_VSOCK"
    try:
        with (
            socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as server,
            socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as client,
        ):
            server.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))
            server.listen()
            client.settimeout(1)
            client.connect((VMADDR_CID_LOCAL, server.getsockname()[1]))
    except OSError as error:
        return f"no vsock loopback in this kernel (vsock_loopback): {error}"
    return ""


def needs(word: str) -> None:
    """Skip where the system lacks the family, with the reason."""
    if word == "vsock":
        try:
            socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close()
        except (OSError, AttributeError) as error:
            pytest.skip(f"no AF_VSOCK here: {error}")
    if word.endswith("6"):
        try:
            with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
                sock.bind(("::1", 0))
        except OSError as error:
            pytest.skip(f"no IPv6 here: {error}")


def bound(word: str, place: Path) -> socket.socket:
    """Return a socket as a service manager would make it: bound, and listening where that is a thing."""
    if word in UNIX_TYPES:
        sock, address = socket.socket(socket.AF_UNIX, UNIX_TYPES[word]), str(place / "socket")
    elif word == "vsock":
        sock = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        address = (socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY)
    else:
        family = socket.AF_INET if word.endswith("4") else socket.AF_INET6
        sock = socket.socket(family, socket.SOCK_STREAM if word.startswith("tcp") else socket.SOCK_DGRAM)
        address = ("127.0.0.1" if word.endswith("4") else "::1" if word.endswith("6") else "::", 0)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(word.endswith("6")))
    sock.bind(address)
    if sock.type != socket.SOCK_DGRAM:
        sock.listen(16)
    return sock


def exchange(server: Launched) -> None:
    """Be two clients of an echo server, the second with two messages in one conversation."""
    with server.connect() as client:
        assert ask(client, b"first") == b"first"
    with server.connect() as client:
        assert ask(client, b"one") == b"one"
        assert ask(client, b"two") == b"two"
        if client.type != socket.SOCK_DGRAM:
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b""


def refusal(server: Launched) -> int:
    """Return the errno with which a server that has ended refuses a client, 0 if it does not."""
    try:
        with server.connect() as client:
            client.sendall(b"anybody?")  # a refused datagram shows when something is asked of the socket next
            client.recv(1)
    except OSError as error:
        return error.errno or -1
    return 0


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("word", ADDRESSES)
def test_a_socket_of_its_own_is_served_and_given_up(word: str, model: str, launch: Launch, place: Path) -> None:
    """Clients get their echo; after TERM the status is 0, the address is free and the file is gone."""
    needs(word)
    server = launch(word, ADDRESSES[word], model)
    path = place / "socket"
    assert path.is_socket() == (word in UNIX_TYPES)
    if word != "vsock" or not vsock_missing():
        exchange(server)
    assert server.stop() == 0, server.log
    assert not path.exists()
    if word != "vsock":
        assert refusal(server) == (errno.ENOENT if word in UNIX_TYPES else errno.ECONNREFUSED)
    assert "Traceback" not in server.log


def test_a_vsock_client_gets_its_echo(launch: Launch) -> None:
    """A vsock server answers where the kernel can reach itself; where it cannot, this says why it was not tried."""
    needs("vsock")
    if why := vsock_missing():
        pytest.skip(why)
    exchange(launch("vsock", ":0", "--threads"))


@pytest.mark.parametrize("word", ADDRESSES)
def test_an_inherited_socket_is_served_and_left_as_it_was(word: str, launch: Launch, place: Path) -> None:
    """``fd NUMBER`` and ``fd NAME`` serve it in each model; who comes after a stop is in the queue for the next one."""
    needs(word)
    is_reachable = word != "vsock" or not vsock_missing()
    waiting: socket.socket | None = None
    with ExitStack() as opened:
        sock = opened.enter_context(bound(word, place))
        for model, start in zip(MODELS, (by_number, by_name, by_number), strict=True):
            server = start(launch, sock, model)
            if waiting:
                assert waiting.recv(16) == b"early"
            if is_reachable:
                exchange(server)
            assert server.stop() == 0, server.log
            assert (place / "socket").exists() == (word in UNIX_TYPES)
            if is_reachable:
                waiting = opened.enter_context(server.connect())
                waiting.sendall(b"early")


def by_number(launch: Launch, sock: socket.socket, model: str) -> Launched:
    """Start a server on an inherited socket as a shell does."""
    return launch("fd", str(sock.fileno()), model, pass_fds=(sock.fileno(),))


def by_name(launch: Launch, sock: socket.socket, model: str) -> Launched:
    """Start a server on an inherited socket as a service manager does."""
    return launch(
        "fd",
        "mine",
        model,
        prefix=(sys.executable, "-I", "-S", "-c", AS_SYSTEMD_DOES, str(sock.fileno())),
        pass_fds=(sock.fileno(),),
        env=clean_environment(LISTEN_FDS="1", LISTEN_FDNAMES="mine"),
    )


@pytest.mark.parametrize("model", MODELS)
def test_a_name_of_a_service_manager_serves_in_each_model(model: str, launch: Launch, place: Path) -> None:
    """The descriptor that LISTEN_FDNAMES names is served, and announced as what it is."""
    with bound("tcp4", place) as sock:
        server = by_name(launch, sock, model)
        assert server.sockaddr == sock.getsockname()
        exchange(server)
        assert server.stop() == 0, server.log


@pytest.mark.parametrize("word", UNIX_TYPES)
def test_an_abstract_name_is_served_and_leaves_no_file(word: str, launch: Launch, place: Path) -> None:
    """``@name`` is a name in the abstract namespace, announced as it was written, and makes no file."""
    name = "@srvctl-test-" + os.urandom(6).hex()
    before = sorted(place.iterdir())
    server = launch(word, name)
    assert server.address == f"{word}://{name}"
    exchange(server)
    assert server.stop() == 0
    assert [path for path in sorted(place.iterdir()) if path not in before and path.suffix != ".log"] == []
    assert refusal(server) == errno.ECONNREFUSED


@pytest.mark.parametrize(
    ("word", "address", "families"),
    [
        ("tcp", ":0", {"127.0.0.1", "::1"}),
        ("tcp4", ":0", {"127.0.0.1"}),
        ("tcp6", ":0", {"::1"}),
        ("udp", ":0", {"127.0.0.1", "::1"}),
        ("udp4", ":0", {"127.0.0.1"}),
        ("udp6", ":0", {"::1"}),
    ],
)
def test_a_family_is_served_through_one_socket(word: str, address: str, families: set[str], launch: Launch) -> None:
    """``tcp`` and ``udp`` answer on both IP families with one socket; with a 4 or a 6 behind it, on that alone."""
    needs("tcp6")
    server = launch(word, address)
    _, port = server.sockaddr
    type_ = socket.SOCK_STREAM if word.startswith("tcp") else socket.SOCK_DGRAM
    answered = set()
    for host, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)):
        with socket.socket(family, type_) as client:
            client.settimeout(20)
            try:
                client.connect((host, port))
                assert ask(client, b"who") == b"who"
                answered.add(host)
            except ConnectionRefusedError:
                pass
    assert answered == families


def test_a_peer_on_ipv4_is_told_as_such_by_a_dual_stack_socket(launch: Launch) -> None:
    """On ``tcp`` an IPv4 client's address is 127.0.0.1 to the handler and in the log, not ::ffff:127.0.0.1."""
    needs("tcp6")
    server = launch("tcp", ":0", "myapp:Who")
    _, port = server.sockaddr
    with socket.create_connection(("127.0.0.1", port), 20) as client:
        assert client.recv(100) == b"127.0.0.1\n"
        name = "{}:{}".format(*client.getsockname())
    assert f"peer={name} " in server.wait_for_log("ended ")


def test_a_host_name_is_resolved_once_to_ipv4_first_and_the_log_says_which(launch: Launch) -> None:
    """``tcp localhost:0`` binds the IPv4 address and logs the name with it."""
    server = launch("tcp", "localhost:0")
    assert server.address.startswith("tcp://127.0.0.1:")
    assert "resolved name=localhost" in server.log
    exchange(server)


def test_sockets_that_were_handed_over_and_are_not_served_are_a_warning(launch: Launch, place: Path) -> None:
    """Their clients would hang, and nobody would know why."""
    program = (
        "import os, sys\n"
        "os.dup2(int(sys.argv[1]), 3)\n"
        "os.dup2(3, 4)\n"
        "os.environ['LISTEN_PID'] = str(os.getpid())\n"
        "os.execv(sys.argv[2], sys.argv[2:])\n"
    )
    with bound("tcp4", place) as sock:
        server = launch(
            "fd",
            "mine",
            prefix=(sys.executable, "-I", "-S", "-c", program, str(sock.fileno())),
            pass_fds=(sock.fileno(),),
            env=clean_environment(LISTEN_FDS="2", LISTEN_FDNAMES="mine:other"),
        )
        server.wait_for_log('warning descriptors not served fds="4 (other)" why="one command line serves one socket"')
        exchange(server)
        assert server.stop() == 0, server.log


def test_root_is_told_what_handlers_may_do(launch: Launch) -> None:
    """And nobody else is told."""
    server = launch("tcp", ":0")
    exchange(server)
    assert ("warning running as root" in server.log) == (os.geteuid() == 0)
