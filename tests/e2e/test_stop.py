"""Stopping: what was asked for is served, what runs is finished, the deadline cuts and says so, nothing is left."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.launched import Launched, ask, children_of, descriptors, insist, receive_all, receive_exactly, wait_until

Launch = Callable[..., Launched]

MODELS = ("--sync", "--threads", "--fork")
ADDRESSES = {"tcp": "127.0.0.1:0", "udp": "127.0.0.1:0", "unix": "socket", "unix-dgram": "socket"}
ONE_AT_A_TIME = [("--sync",), ("--threads", "--max-connections", "1"), ("--fork", "--max-connections", "1")]

by_model = pytest.mark.parametrize("model", MODELS)
by_words = pytest.mark.parametrize("words", ONE_AT_A_TIME, ids=["sync", "threads", "fork"])


def pids_of(server: Launched) -> list[int]:
    """Return every process of a server: supervisor, worker, and what the worker forked."""
    return [server.pid, server.worker, *children_of(server.worker)]


def is_gone(pid: int) -> bool:
    """Tell whether process `pid` has ended; one that nobody has reaped yet has."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX"


@by_model
@pytest.mark.parametrize("word", ["unix", "udp"])
def test_an_idle_server_stops_and_leaves_no_process(word: str, model: str, launch: Launch, place: Path) -> None:
    """After a conversation and TERM the status is 0, and neither a process nor a socket's file is left."""
    server = launch(word, ADDRESSES[word], model)
    with server.connect() as client:
        assert ask(client, b"hello") == b"hello"
        pids = pids_of(server)
    assert server.stop() == 0, server.log
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    assert not (place / "socket").exists()
    assert "stopped cut=0" in server.log


@pytest.mark.parametrize(
    ("model", "number"),
    [*((model, signal.SIGTERM) for model in MODELS), ("--sync", signal.SIGINT)],
)
def test_a_conversation_that_runs_is_finished_first(number: signal.Signals, model: str, launch: Launch) -> None:
    """TERM, and INT like it, wait for the handler that is at work: its client gets all, the status is 0."""
    server = launch("tcp", ":0", model, "--drain-idle-timeout", "20", "myapp:Wait")
    with server.connect() as client:
        assert receive_exactly(client, 6) == b"began\n"
        server.send_signal(number)
        server.wait_for_log(f"stopping signal={number.name}")
        assert server.process.poll() is None
        client.sendall(b"go on\n")
        assert receive_all(client) == b"ended\n"
    assert server.wait() == 0, server.log


@by_words
@pytest.mark.parametrize("word", ["tcp", "unix"])
def test_clients_that_were_never_accepted_are_served(word: str, words: tuple[str, ...], launch: Launch) -> None:
    """A server that is busy takes the kernel's queue with it when it is stopped: all of twenty get their answer."""
    server = launch(word, ADDRESSES[word], *words, "--drain-idle-timeout", "20", "myapp:Wait")
    with ExitStack() as opened:
        first = opened.enter_context(server.connect())
        assert receive_exactly(first, 6) == b"began\n"
        queued = [opened.enter_context(server.connect()) for _ in range(20)]
        for client in queued:
            client.sendall(b"go on\n")
        server.send_signal(signal.SIGTERM)
        server.wait_for_log("stopping ")
        first.sendall(b"go on\n")
        assert receive_all(first) == b"ended\n"
        for client in queued:
            assert receive_all(client) == b"began\nended\n", server.log
            client.close()
    assert server.wait() == 0, server.log
    assert server.log.count("how=done") == 21


def test_nobody_new_is_queued_while_a_server_drains(launch: Launch) -> None:
    """A unix client that comes after TERM is refused at once, and not left in a queue that nobody will empty."""
    server = launch("unix", "socket", "--threads", "--drain-idle-timeout", "20", "myapp:Wait")
    with server.connect() as client:
        assert receive_exactly(client, 6) == b"began\n"
        server.send_signal(signal.SIGTERM)
        server.wait_for_log("stopping ")
        with pytest.raises(ConnectionRefusedError):
            wait_until(lambda: server.connect().close(), "refusal")
        client.sendall(b"go on\n")
        assert receive_all(client) == b"ended\n"
    assert server.wait() == 0


@by_words
def test_the_queue_of_an_inherited_socket_is_left_for_the_next_instance(words: tuple[str, ...], launch: Launch) -> None:
    """Twenty clients wait on a socket that is not ours: the instance that stops takes none, the next one serves all."""
    with ExitStack() as opened:
        sock = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
        options = {"pass_fds": (sock.fileno(),)}
        old = launch("fd", str(sock.fileno()), *words, "--drain-idle-timeout", "20", "myapp:Wait", **options)
        first = opened.enter_context(old.connect())
        assert receive_exactly(first, 6) == b"began\n"
        queued = [opened.enter_context(old.connect()) for _ in range(20)]
        for client in queued:
            client.sendall(b"go on\n")
        old.send_signal(signal.SIGTERM)
        listener = descriptors(os.getpid())[sock.fileno()]
        wait_until(lambda: listener not in descriptors(old.worker).values(), "closed socket", old)
        first.sendall(b"go on\n")
        assert receive_all(first) == b"ended\n"
        first.close()
        assert old.wait() == 0, old.log
        assert old.log.count("how=done") == 1
        new = launch("fd", str(sock.fileno()), *words, "myapp:Wait", **options)
        for client in queued:
            assert receive_all(client) == b"began\nended\n"
            client.close()
        assert new.stop() == 0, new.log


@by_model
@pytest.mark.parametrize("word", ["tcp", "udp"])
def test_the_deadline_cuts_what_does_not_end_and_names_it(word: str, model: str, launch: Launch) -> None:
    """After --graceful-timeout a handler that looks at nothing is cut and logged with peer and age; status 75."""
    server = launch(word, ADDRESSES[word], model, "--graceful-timeout", "0.3", "myapp:Hang")
    with server.connect() as client:
        client.sendall(b"anything")
        assert client.recv(16) == b"began\n"
        pids = pids_of(server)
        peer = "{}:{}".format(*client.getsockname())
        assert server.stop() == 75, server.log
    cut = [line for line in server.log.splitlines() if " cut peer=" in line]
    assert len(cut) == 1, server.log
    assert f"cut peer={peer} age=0." in cut[0] or f"cut peer={peer} age=1." in cut[0]
    assert "stopped cut=1" in server.log
    assert [pid for pid in pids if not is_gone(pid)] == []


@pytest.mark.parametrize(
    ("model", "numbers"),
    [
        *((model, ("SIGTERM", "SIGTERM")) for model in MODELS),
        ("--sync", ("SIGTERM", "SIGINT")),
        ("--threads", ("SIGINT", "SIGTERM")),
        ("--fork", ("SIGQUIT",)),
    ],
)
def test_a_second_signal_or_quit_means_now(numbers: tuple[str, ...], model: str, launch: Launch) -> None:
    """A second TERM or INT, or the first QUIT, does not wait for the deadline: what runs is cut, the status is 75."""
    server = launch("tcp", ":0", model, "--graceful-timeout", "1h", "myapp:Hang")
    with server.connect() as client:
        assert receive_exactly(client, 6) == b"began\n"
        first, *second = numbers
        server.send_signal(signal.Signals[first])
        server.wait_for_log(f" signal={first}")
        for number in second:
            insist(server, signal.Signals[number], f"stopping now signal={number}")
        assert server.wait() == 75, server.log
    assert server.log.count(" cut peer=") == 1


@by_model
def test_quit_of_an_idle_server_cuts_nothing(model: str, launch: Launch) -> None:
    """QUIT, where nothing runs, ends the server with status 0."""
    server = launch("tcp", ":0", model)
    assert server.stop(signal.SIGQUIT) == 0, server.log


@by_model
def test_a_handler_can_ask_whether_the_server_drains(model: str, launch: Launch) -> None:
    """``self.server.draining`` turns true under a running handler; until --drain-idle-timeout its client is heard."""
    server = launch("tcp", ":0", model, "--drain-idle-timeout", "20", "myapp:State")
    with server.connect() as client:
        client.sendall(b"?\n")
        lines = client.makefile("rb")
        with lines:
            assert lines.readline() == b"serving\n"
            server.send_signal(signal.SIGTERM)

            def drains() -> bool:
                client.sendall(b"?\n")
                return lines.readline() == b"draining\n"

            wait_until(drains, "draining in the handler", server)
        client.shutdown(socket.SHUT_WR)
        assert server.wait() == 0, server.log


@pytest.mark.parametrize(("word", "model"), [*(("tcp", model) for model in MODELS), ("unix", "--fork")])
def test_a_handler_that_waits_on_a_quiet_connection_does_not_hold_the_stop(
    word: str, model: str, launch: Launch
) -> None:
    """After --drain-idle-timeout ``for line in self.rfile`` ends as if the client had said all, and nothing is cut."""
    server = launch(
        word, ADDRESSES[word], model, "--drain-idle-timeout", "0.1", "--graceful-timeout", "1h", "myapp:Echo"
    )
    with server.connect() as client:
        assert ask(client, b"hello\n") == b"hello\n"
        server.send_signal(signal.SIGTERM)
        assert client.recv(1) == b""
    assert server.wait() == 0, server.log
    assert "cut=0" in server.log
    assert "received=6 sent=6 how=done" in server.log


@pytest.mark.parametrize("word", ["unix", "unix-dgram"])
def test_a_file_that_somebody_else_put_at_the_path_is_left(word: str, launch: Launch, place: Path) -> None:
    """A path that was replaced while we served belongs to who replaced it."""
    server = launch(word, "socket")
    (place / "socket").unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as others:
        others.bind(str(place / "socket"))
        assert server.stop() == 0, server.log
        assert (place / "socket").is_socket()


@pytest.mark.parametrize(("word", "model"), [*(("tcp", model) for model in MODELS), ("unix", "--fork")])
def test_nothing_outlives_a_supervisor_that_was_killed(word: str, model: str, launch: Launch) -> None:
    """When the supervisor dies of SIGKILL, worker and children are gone and the address can be had again."""
    server = launch(word, ADDRESSES[word], model, "myapp:Hang")
    with server.connect() as client:
        assert receive_exactly(client, 6) == b"began\n"
        wanted = 4 if model == "--fork" else 2  # a child serves, and one waits
        pids = wait_until(lambda: len(found := pids_of(server)) == wanted and found, "family", server)
        os.kill(server.pid, signal.SIGKILL)
        assert server.wait() == -signal.SIGKILL
        wait_until(lambda: all(map(is_gone, pids)), "end of the worker and its children", server)
    again = launch(word, ADDRESSES[word] if word == "unix" else server.address.removeprefix("tcp://"), model)
    with again.connect() as client:
        assert ask(client, b"again") == b"again"


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_an_idle_server_makes_no_system_call(launch: Launch, place: Path) -> None:
    """After a conversation, supervisor and worker of each model wait in one system call each, while we look."""
    servers = [launch("tcp", ":0", model) for model in MODELS]
    for server in servers:
        with server.connect() as client:
            assert ask(client, b"hello") == b"hello"
        server.wait_for_log("ended ")
    pids = [pid for server in servers for pid in pids_of(server)]
    trace = place / "trace"
    trace.touch()
    words = [word for pid in pids for word in ("-p", str(pid))]
    with subprocess.Popen(["strace", "-f", "-o", str(trace), *words], stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        try:
            attached = strace.stderr.readline()
            if "not permitted" in attached:
                pytest.skip(f"strace cannot attach here: {attached.strip()}")
            # The attaching itself interrupts each wait, which then begins anew; so one quiet second is awaited.
            wait_until(lambda: is_quiet(trace), "second without a system call")
        finally:
            strace.send_signal(signal.SIGINT)
            strace.wait()
    assert len({line.split()[0] for line in trace.read_text().splitlines()}) >= len(pids)
    assert trace.read_text().count("epoll_wait(") <= 2 * len(pids), trace.read_text()


def is_quiet(trace: Path) -> bool:
    """Look at a file for a second; return whether it stayed as it was."""
    before = trace.stat().st_size
    select.select([], [], [], 1.0)
    return before > 0 and trace.stat().st_size == before


@pytest.mark.parametrize("word", ["tcp", "unix"])
def test_the_next_instance_can_start_while_the_old_one_drains(word: str, launch: Launch, place: Path) -> None:
    """The address is free as soon as the old one has its queue, and what the new one made there is left to it."""
    old = launch(word, ADDRESSES[word], "--threads", "--drain-idle-timeout", "20", "myapp:Wait")
    with old.connect() as client:
        assert receive_exactly(client, 6) == b"began\n"
        old.send_signal(signal.SIGTERM)
        old.wait_for_log("stopping ")
        if word == "tcp":
            wait_until(lambda: can_be_bound(old.sockaddr), "free port", old)
        new = launch(word, old.address.partition("://")[2], "--fork")
        with new.connect() as another:
            assert ask(another, b"hello") == b"hello"
        client.sendall(b"go on\n")
        assert receive_all(client) == b"ended\n"
    assert old.wait() == 0, old.log
    with new.connect() as another:
        assert ask(another, b"hello") == b"hello"
    assert new.stop() == 0, new.log
    assert not (place / "socket").exists()


def can_be_bound(address: tuple[str, int]) -> bool:
    try:
        socket.create_server(address).close()
    except OSError:
        return False
    return True
