"""inetd mode: one connection that was handed over as descriptor 0, served by the process that got it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.launched import (
    COMMAND,
    PATIENCE,
    children_of,
    clean_environment,
    descriptors,
    receive_all,
    receive_exactly,
    wait_until,
)

Serve = Callable[..., "Served"]

MODELS = ("--sync", "--threads", "--fork")
by_model = pytest.mark.parametrize("model", MODELS)


class Served:
    """``srvctl fd 0 WORDS`` with a connection, and the client at its other end; `log` is what it said so far."""

    def __init__(self, process: subprocess.Popen[bytes], client: socket.socket, log: Path) -> None:
        self.process, self.client, self._log = process, client, log

    @property
    def log(self) -> str:
        return self._log.read_text(errors="backslashreplace")

    def wait(self) -> int:
        """Wait for the end and return the exit status."""
        return self.process.wait(PATIENCE)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Return an accepted TCP connection, and its client."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), PATIENCE)
        return listener.accept()[0], client


@pytest.fixture
def serve(place: Path) -> Iterator[Serve]:
    """Start ``srvctl fd 0 WORDS``; `are_all` passes the connection as the first three descriptors, as inetd does."""
    with contextlib.ExitStack() as undo:

        def start(*words: str, pair: Callable[[], tuple[socket.socket, socket.socket]] = tcp_pair, are_all=False):  # type: ignore[no-untyped-def]
            connection, client = pair()
            undo.enter_context(client)
            client.settimeout(PATIENCE)
            log = place / "log"
            with connection, log.open("wb") as stderr:
                process = subprocess.Popen(
                    [*COMMAND, "fd", "0", *words],
                    cwd=place,
                    env=clean_environment(),
                    stdin=connection,
                    stdout=connection if are_all else stderr,
                    stderr=connection if are_all else stderr,
                )
            undo.callback(process.wait)
            undo.callback(process.kill)
            return Served(process, client, log)

        yield start


@by_model
@pytest.mark.parametrize("are_all", [False, True], ids=["0", "0, 1 and 2"])
def test_one_conversation_is_served(model: str, are_all: bool, serve: Serve) -> None:
    """The process ends well when it is over, and the client sees its end."""
    served = serve(model, "myapp:Echo", are_all=are_all)
    served.client.sendall(b"one\n")
    assert receive_exactly(served.client, 4) == b"one\n"
    served.client.sendall(b"two\n")
    served.client.shutdown(socket.SHUT_WR)
    assert receive_all(served.client) == b"two\n"
    assert served.wait() == 0, served.log


@pytest.mark.parametrize("type_", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
def test_a_unix_connection_is_served(type_: socket.SocketKind, serve: Serve) -> None:
    """Of either type; a pair of sockets will do."""
    served = serve("myapp:Anything", pair=lambda: socket.socketpair(socket.AF_UNIX, type_))
    served.client.sendall(b"hello")
    assert served.client.recv(100) == b"hello"
    assert served.client.recv(100) == b""
    assert served.wait() == 0, served.log


def test_the_handler_is_told_who_the_client_is(serve: Serve) -> None:
    """As on a server."""
    served = serve("myapp:Who")
    assert receive_all(served.client) == b"127.0.0.1\n"


@by_model
def test_what_a_handler_prints_does_not_reach_the_client(model: str, serve: Serve) -> None:
    """Though inetd made the connection standard output and standard error too; nor does the log."""
    served = serve(model, "--verbose", "myapp:Print", are_all=True)
    served.client.sendall(b"secret\n")
    assert receive_exactly(served.client, 8) == b"printed\n"
    served.client.shutdown(socket.SHUT_WR)
    assert receive_all(served.client) == b""
    assert served.wait() == 0


def test_what_a_handler_prints_goes_to_the_log(serve: Serve) -> None:
    """With Accept=yes standard error is the journal."""
    served = serve("myapp:Print")
    served.client.sendall(b"told\n")
    served.client.shutdown(socket.SHUT_WR)
    assert receive_all(served.client) == b"printed\n"
    assert served.wait() == 0
    assert " line=told\n" in served.log


@pytest.mark.parametrize("are_all", [False, True], ids=["0", "0, 1 and 2"])
def test_an_error_of_the_handler_does_not_reach_the_client(are_all: bool, serve: Serve) -> None:
    """It is logged, and the client sees the end."""
    served = serve("myapp:Raise", are_all=are_all)
    served.client.sendall(b"ValueError\n")
    assert receive_all(served.client) == b""
    assert served.wait() == 0
    assert are_all or "ValueError" in served.log


def test_the_first_three_descriptors_are_not_the_connection(serve: Serve) -> None:
    """A program that the handler starts cannot read what the client says by accident."""
    served = serve("myapp:Modules", are_all=True)
    held = json.loads(receive_all(served.client))["descriptors"]
    assert [held[fd] for fd in ("0", "1", "2")] == ["/dev/null"] * 3


@pytest.mark.parametrize("are_all", [False, True], ids=["0", "0, 1 and 2"])
@pytest.mark.parametrize("handler", ["nomodule:Name", "myapp:not_a_handler", "nosuchword"])
def test_a_handler_that_does_not_load_says_nothing_to_the_client(handler: str, are_all: bool, serve: Serve) -> None:
    """Status 78, the reason in the log, and no byte on the connection."""
    served = serve(handler, are_all=are_all)
    assert receive_all(served.client) == b""
    assert served.wait() == 78
    assert are_all or "srvctl: error: cannot load handler" in served.log


@by_model
def test_input_that_was_not_read_does_not_destroy_the_reply(model: str, serve: Serve) -> None:
    """close(2) with data unread resets a TCP connection, and the reply with it, unless it is closed with care."""
    served = serve(model, "--set", "times=20000", "myapp:Greet")
    served.client.sendall(b"never read\n" * 1000)
    served.client.shutdown(socket.SHUT_WR)
    assert receive_all(served.client) == b"hello\n" * 20000
    assert served.wait() == 0, served.log


@by_model
def test_a_stop_waits_for_the_conversation(model: str, serve: Serve) -> None:
    """TERM drains, as on a server: what finishes in time ends well."""
    served = serve(model, "--drain-idle-timeout", "60", "myapp:Wait")
    assert receive_exactly(served.client, 6) == b"began\n"
    served.process.send_signal(signal.SIGTERM)
    served.client.sendall(b"\n")
    assert receive_all(served.client) == b"ended\n"
    assert served.wait() == 0, served.log


def test_a_stop_behind_the_conversation_cuts_nothing(serve: Serve) -> None:
    """TERM, again and again, while the connection is only seen off: the conversation ended well."""
    served = serve("--threads", "myapp:Wait")
    served.client.sendall(b"\n")
    assert receive_all(served.client) == b"began\nended\n"
    wait_until(lambda: "how=done" in served.log, "end in the log")
    while served.process.poll() is None:  # for 2 s: the client has not closed
        served.process.send_signal(signal.SIGTERM)
        select.select([], [], [], 0.05)
    assert served.wait() == 0, served.log


def test_a_limit_of_one_refuses_nobody(serve: Serve) -> None:
    """--at-limit refuse is about others, who do not come."""
    served = serve("--threads", "--at-limit", "refuse", "--drain-idle-timeout", "60", "myapp:Wait")
    assert receive_exactly(served.client, 6) == b"began\n"
    served.process.send_signal(signal.SIGTERM)
    served.client.sendall(b"\n")
    assert receive_all(served.client) == b"ended\n"
    assert served.wait() == 0, served.log


def test_a_stop_that_every_process_hears_of_waits_too(serve: Serve) -> None:
    """KillMode=control-group sends TERM to the child that serves as well."""
    served = serve("--fork", "--drain-idle-timeout", "60", "myapp:Wait")
    assert receive_exactly(served.client, 6) == b"began\n"
    for pid in (*children_of(served.process.pid), served.process.pid):
        os.kill(pid, signal.SIGTERM)
    served.client.sendall(b"\n")
    assert receive_all(served.client) == b"ended\n"
    assert served.wait() == 0, served.log


@by_model
def test_a_stop_cuts_what_takes_too_long(model: str, serve: Serve) -> None:
    """Status 75 when --graceful-timeout is over."""
    served = serve(model, "--graceful-timeout", "0.2", "myapp:Stubborn")
    assert receive_exactly(served.client, 6) == b"began\n"
    served.process.send_signal(signal.SIGTERM)
    assert served.wait() == 75, served.log


@by_model
def test_timeout_ends_the_conversation(model: str, serve: Serve) -> None:
    """Which goes on for ever otherwise."""
    served = serve(model, "--max-duration", "0.2", "myapp:Wait")
    assert receive_exactly(served.client, 6) == b"began\n"
    receive_all(served.client)
    assert served.wait() == 0, served.log


@by_model
def test_idle_timeout_ends_the_conversation(model: str, serve: Serve) -> None:
    """When nothing comes or goes."""
    served = serve(model, "--idle-timeout", "0.2", "myapp:Echo")
    served.client.sendall(b"one\n")
    assert receive_all(served.client) == b"one\n"
    assert served.wait() == 0, served.log


def test_a_client_that_resets_is_no_failure_of_the_service(serve: Serve) -> None:
    """Accept=yes would show a failed unit for each."""
    served = serve("myapp:Wait")
    assert receive_exactly(served.client, 6) == b"began\n"
    served.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    served.client.close()
    assert served.wait() == 0, served.log


def test_a_child_that_was_there_before_srvctl_is_not_taken_for_its_program(place: Path) -> None:
    """As one that a shell left in the background before it became srvctl; it is waited for, and no more."""
    connection, client = tcp_pair()
    os.mkfifo(place / "fifo")
    program = ("sh", "-c", "echo began; read line; echo $line; exit 7")
    words = ["sh", "-c", 'cat fifo & exec "$@"', "sh", *COMMAND, "fd", "0", "--", *program]
    log = place / "log"
    with client, log.open("wb") as stderr:
        client.settimeout(PATIENCE)
        process = subprocess.Popen(words, cwd=place, stdin=connection, stderr=stderr, env=clean_environment())
        connection.close()
        try:
            with (place / "fifo").open("wb"):
                assert receive_exactly(client, 6) == b"began\n"
                assert len(children_of(process.pid)) == 2
            wait_until(lambda: len(children_of(process.pid)) == 1, "the end of the other child")
            client.sendall(b"line\n")
            assert receive_all(client) == b"line\n"
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
            process.wait()
    assert " how=failed status=7 " in log.read_text()


def test_nobody_else_can_connect(serve: Serve) -> None:
    """No listening socket is made."""
    served = serve("myapp:Wait")
    assert receive_exactly(served.client, 6) == b"began\n"
    held = {*descriptors(served.process.pid).values()}
    bound = {line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"}
    assert not {f"socket:[{inode}]" for inode in bound} & held


@pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="systemd-socket-activate is not here")
def test_systemd_socket_activate_starts_one_for_each_client(place: Path) -> None:
    """Several clients at the same time each have a process of their own."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    words = ["systemd-socket-activate", "--inetd", "-a", "-l", f"127.0.0.1:{port}", *COMMAND, "fd", "0", "myapp:Pid"]
    environment = [f"-E{name}={value}" for name, value in clean_environment().items() if name.startswith("COVERAGE")]
    words[1:1] = environment
    with (
        subprocess.Popen(words, cwd=place, env=clean_environment(), stderr=subprocess.DEVNULL) as process,
        contextlib.ExitStack() as undo,
    ):
        undo.callback(process.kill)

        def connected() -> socket.socket | None:
            with contextlib.suppress(ConnectionRefusedError):
                return socket.create_connection(("127.0.0.1", port), PATIENCE)
            return None

        clients = [undo.enter_context(wait_until(connected, "socket of systemd-socket-activate"))]
        clients += [undo.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE)) for _ in range(3)]
        pids = {int(receive_all(client)) for client in clients}
        assert len(pids) == 4
        assert process.pid not in pids
