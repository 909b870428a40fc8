"""P17: the exit statuses of programs that a handler runs are its own, and nobody's zombie stays."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from tests.launched import wait_until
from tests.promises.faults import ask, clients, descendants, short_and_long, stat_of


def zombies(pid: int) -> list[int]:
    """Return the descendants of process `pid` that have ended and that nobody has waited for."""
    return [child for child in descendants(pid) if stat_of(child)[:1] == ["Z"]]


@short_and_long("count", 40, 10_000)
@pytest.mark.parametrize("model", ["--fork", "--threads", "--sync"])
def test_the_exit_status_of_a_program_is_always_true(launch, model, count):
    """P17: 10,000 programs, as many at a time as there may be children: each handler is told its own status."""
    at_once = 1 if model == "--sync" else 8
    server = launch("tcp4", "127.0.0.1:0", model, *(() if at_once == 1 else ("--max", "8")), "promised:Program")
    wrong = []

    def run(first: int) -> None:
        for n in range(first, count, at_once):
            with server.connect() as client:
                if ask(client, b"%d\n" % (n % 256)) != b"%d\n" % (n % 256):
                    wrong.append(n)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(3600)
    assert wrong == []
    wait_until(lambda: not zombies(server.pid), "end of the zombies", server)
    assert server.stop() == 0
    assert server.log.count("how=done") == count


def test_children_are_reaped_without_another_request(launch):
    """P17: a zombie lives for less than 1 s, also when no request comes that would remind anyone of it."""
    server = launch("tcp4", "127.0.0.1:0", "--fork", "myapp:Wait")
    with clients(server, 10) as connected:
        for client in connected:
            assert ask(client, b"") == b"began\n"
        assert len(descendants(server.worker)) == 10
        for client in connected:
            assert ask(client) == b"ended\n"
        began = time.monotonic()
        wait_until(lambda: not descendants(server.worker), "reaped children", server)
        assert time.monotonic() - began < 2


def test_a_child_that_the_handlers_module_started_is_its_own(launch, place):
    """P17: a program that was started in the worker, before any request, is waited for by who started it alone."""
    (place / "patient.py").write_text(
        "import subprocess\n"
        "program = subprocess.Popen(['sh', '-c', 'exit 7'])\n"
        "def handler(request, client_address, server):\n"
        "    request.sendall(b'%d\\n' % program.wait())\n"
    )
    server = launch("tcp4", "127.0.0.1:0", "--threads", "patient:handler")
    with clients(server, 3) as connected:
        for client in connected:
            assert ask(client, b"") == b"7\n"


def test_a_worker_of_our_own_is_not_a_zombie_either(launch):
    """P17: each reload's old worker is waited for."""
    server = launch("tcp4", "127.0.0.1:0", "--fork", "myapp:Echo")
    for _ in range(3):
        (old,) = server.children()
        server.send_signal(signal.SIGHUP)
        wait_until(lambda old=old: len(server.children()) == 1 and server.children() != [old], "new worker", server)
    assert zombies(server.pid) == []
