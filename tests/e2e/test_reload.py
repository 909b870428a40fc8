"""Reload (HUP): new workers load the code as it is now before the old ones retire, and no client notices."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.load import Load, Tail, reload, resident_kilobytes, resources, resources_at_rest, wait_for_workers
from tests.launched import COMMAND, Launched, ask, clean_environment, receive_all, receive_exactly, wait_until

Launch = Callable[..., Launched]

KINDS = {
    "threads": ("tcp4", "127.0.0.1:0", "--threads", "myapp:Echo"),
    "fork": ("tcp4", "127.0.0.1:0", "--fork", "myapp:Echo"),
    "unix": ("unix", "socket", "--threads", "myapp:Echo"),
    "udp": ("udp4", "127.0.0.1:0", "--threads", "myapp:Anything"),
}
GATED = "import os\nif os.path.exists('gate'):\n    open('gate').read()\nfrom myapp import Echo\n"
BROKEN = {
    "syntax": ("class\n", "invalid syntax"),
    "raises": ("raise RuntimeError('on purpose')\n", "on purpose"),
    "hangs": ("import time\ntime.sleep(3600)\n", "it has not loaded within 3 s"),
    # What a worker calls between the word that it may serve and its first accept.
    "dies": ("import os\nos.register_at_fork = lambda **hooks: os._exit(3)\nfrom myapp import Echo\n", "exit status 3"),
}


def with_words(words: tuple[str, ...], *more: str) -> tuple[str, ...]:
    """Return the words of a command line with `more` before the handler."""
    return (*words[:-1], *more, words[-1])


def reload_under_load(server: Launched, times: int, **load: float) -> Load:
    """Reload so many times, one after the other, while clients come; return what became of them."""
    with Load(server, **load) as clients, Tail(server) as tail:
        for done in range(1, times + 1):
            server.send_signal(signal.SIGHUP)
            tail.wait_for("notice reloaded", done)
            clients.wait_for_more()
    return clients


@pytest.mark.parametrize("kind", KINDS)
def test_no_client_notices_a_reload(kind: str, launch: Launch) -> None:
    """Of all that came during two reloads each was answered once; workers are new, and nothing has piled up."""
    server = launch(*with_words(KINDS[kind], "--workers", "2"))
    old, before = wait_for_workers(server, 2), resources_at_rest(server)
    load = reload_under_load(server, 2)
    assert load.faults == {}, server.log
    new = wait_for_workers(server, 2)
    assert not {*old} & {*new}
    wait_until(lambda: resources(server.pid) == before, f"{before} descriptors and threads", server)
    assert server.stop() == 0


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
def test_no_client_notices_a_hundred_reloads(kind: str, launch: Launch) -> None:
    """P13: nothing is lost or answered twice, descriptors and threads are as before, memory within 5 MB."""
    server = launch(*with_words(KINDS[kind], "--workers", "2"))
    reload(server)  # what is imported once is not a leak
    wait_for_workers(server, 2)
    before, memory = resources_at_rest(server), resident_kilobytes(server.pid)
    load = reload_under_load(server, 100, clients=8, pause=0.005)
    wait_for_workers(server, 2)
    wait_until(lambda: resources(server.pid) == before, f"{before} descriptors and threads", server)
    grown = resident_kilobytes(server.pid) - memory
    print(f"{kind}: {dict(load.outcomes)}, {grown} kB more")
    assert load.faults == {}
    assert grown <= 5 * 1024


def test_one_worker_reloads_the_same_way(launch: Launch) -> None:
    """The only worker serves until its successor does."""
    server = launch(*KINDS["threads"])
    old = server.worker
    load = reload_under_load(server, 2)
    assert load.faults == {}, server.log
    wait_until(lambda: server.children() and old not in server.children(), "another worker", server)


def test_an_inherited_socket_is_reloaded_the_same_way(launch: Launch) -> None:
    """With a socket that somebody else has bound nothing is lost either."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as sock:
        words = ("fd", str(sock.fileno()), "--threads", "--workers", "2", "myapp:Echo")
        server = launch(*words, pass_fds=(sock.fileno(),))
    load = reload_under_load(server, 2)
    assert load.faults == {}, server.log


@pytest.mark.parametrize("model", ["--sync", "--threads", "--fork"])
def test_the_code_is_loaded_anew(model: str, launch: Launch, place: Path) -> None:
    """What a handler answers is what its file says since the last reload, in every worker."""

    def write(greeting: str) -> None:
        (place / "greets.py").write_text(f"from myapp import Greet\nclass Name(Greet):\n    greeting = {greeting!r}\n")

    write("one")
    server = launch("unix", "socket", model, "--workers", "2", "greets:Name")
    # Each greeting is longer: a .pyc file tells sources apart by their size and the second they were written in.
    for greeting in ("three", "fourteen"):
        write(greeting)
        reload(server)
        wait_for_workers(server, 2)
        for _ in range(10):
            with server.connect() as client:
                assert receive_all(client).decode() == greeting + "\n"


@pytest.mark.parametrize("model", ["--threads", "--fork"])
def test_a_conversation_is_finished_by_the_worker_that_began_it(model: str, launch: Launch) -> None:
    """A reload leaves an open conversation with the old worker, which ends when that has ended, and not before."""
    server = launch("tcp4", "127.0.0.1:0", model, "--drain-idle-timeout", "20", "myapp:Wait")
    old = server.worker
    with server.connect() as client:
        assert receive_exactly(client, 6) == b"began\n"
        reload(server)
        assert old in wait_for_workers(server, 2)
        client.sendall(b"go on\n")
        assert receive_all(client) == b"ended\n"
    assert old not in wait_for_workers(server, 1)


@pytest.mark.parametrize("model", ["--threads", "--fork"])
def test_a_quiet_connection_is_the_old_workers_until_the_server_stops(model: str, launch: Launch) -> None:
    """A sender that says something only now and then loses nothing in a reload; a stop does not wait for it."""
    words = ("--drain-idle-timeout", "0.01", "--graceful-timeout", "1h", "myapp:Echo")
    server = launch("tcp4", "127.0.0.1:0", model, *words)
    with server.connect() as client:
        assert ask(client, b"one\n") == b"one\n"
        for _ in range(2):
            reload(server)
            assert len(wait_for_workers(server, 2)) == 2  # the one in between had nothing to keep
        assert ask(client, b"two\n") == b"two\n"
        server.send_signal(signal.SIGTERM)
        assert client.recv(1) == b""
    assert server.wait() == 0, server.log
    assert "received=8 sent=8 how=done" in server.log


@pytest.mark.parametrize("how", BROKEN)
def test_a_reload_that_fails_leaves_the_old_workers_at_it(how: str, launch: Launch, place: Path) -> None:
    """No client notices new code that cannot be served; one line says why, and the next reload can be a good one."""
    code, why = BROKEN[how]
    served = place / "served.py"
    served.write_text("from myapp import Echo\n")
    words = ("tcp4", "127.0.0.1:0", "--threads", "--workers", "2", "--start-timeout", "3", "served:Echo")
    server = launch(*words)
    workers = server.children()
    with Load(server) as load:
        served.write_text(code)
        server.send_signal(signal.SIGHUP)
        line = next(line for line in server.wait_for_log("reload failed").splitlines() if "reload failed" in line)
        assert why in line
        load.wait_for_more()
        assert set(wait_for_workers(server, 2)) == set(workers)
        served.write_text("from myapp import Echo  # mended\n")
        reload(server)
        load.wait_for_more()
    assert load.faults == {}, server.log
    assert server.log.count("reload failed") == 1
    assert not set(wait_for_workers(server, 2)) & set(workers)
    assert server.stop() == 0


def test_reloads_that_are_asked_for_during_one_become_one(launch: Launch, place: Path) -> None:
    """Two HUPs while a worker loads make one reload after it, since it may have read the code before they came."""
    (place / "gated.py").write_text(GATED)
    server = launch("unix", "socket", "-v", "gated:Echo")
    os.mkfifo(place / "gate")
    server.send_signal(signal.SIGHUP)
    with (place / "gate").open("w"):  # opens when the new worker reads it, which then waits
        (place / "gate").unlink()
        for count in (1, 2):
            server.send_signal(signal.SIGHUP)
            server.send_signal(signal.SIGUSR1)
            server.wait_for_log("notice state ", count)  # so the signal before it has been followed
    server.wait_for_log("notice reloaded", 2)
    server.send_signal(signal.SIGUSR1)
    assert server.wait_for_log("notice state ", 3).count("worker started") == 3
    with server.connect() as client:
        assert ask(client, b"hello\n") == b"hello\n"


def test_a_stop_during_a_reload_stops(launch: Launch, place: Path) -> None:
    """TERM while new workers load ends them too, and the status is 0."""
    (place / "gated.py").write_text(GATED)
    server = launch("unix", "socket", "--workers", "2", "gated:Echo")
    os.mkfifo(place / "gate")
    server.send_signal(signal.SIGHUP)
    with (place / "gate").open("w"):
        assert server.stop() == 0, server.log
    assert server.children() == []
    assert not (place / "socket").exists()


def answer(server: Launched) -> bytes:
    """Return all that one client gets."""
    with server.connect() as client:
        return receive_all(client)


SAYS = "def handler(request, client_address, server):\n    request.sendall(b'{}')\n"


def test_a_reload_follows_the_link_that_the_server_was_started_in(launch: Launch, place: Path) -> None:
    """``/srv/app/current``, which a deployment changes."""
    for release in ("r1", "r2"):
        (place / release).mkdir()
        (place / release / "app.py").write_text(SAYS.format(release))
    link = place / "current"
    link.symlink_to("r1")
    shell = ("sh", "-c", f'cd "{link}" && exec "$@"', "sh")
    server = launch("tcp4", "127.0.0.1:0", "app:handler", command=(*shell, *COMMAND))
    assert answer(server) == b"r1"
    (place / "new").symlink_to("r2")
    (place / "new").rename(link)
    reload(server)
    assert answer(server) == b"r2"


def test_a_reload_serves_the_source_as_it_is_whatever_its_time_says(launch: Launch, place: Path) -> None:
    """Archives and images leave times as they were, and bytecode is found by them."""
    source = place / "app.py"
    source.write_text(SAYS.format("one"))
    os.utime(source, (1_700_000_000, 1_700_000_000))
    environment = {k: v for k, v in clean_environment().items() if k != "PYTHONDONTWRITEBYTECODE"}
    server = launch("tcp4", "127.0.0.1:0", "app:handler", env=environment)
    assert answer(server) == b"one"
    source.write_text(SAYS.format("two"))
    os.utime(source, (1_700_000_000, 1_700_000_000))
    reload(server)
    assert answer(server) == b"two"
