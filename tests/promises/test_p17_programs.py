"""P17: the exit statuses of programs that a handler runs are its own, and nobody's zombie stays."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import threading
import time
from collections import defaultdict

import pytest

from tests.launched import descriptors, wait_until
from tests.promises.faults import (
    ask,
    clients,
    descendants,
    limit_descriptors,
    lines_with,
    read_line,
    short_and_long,
    stat_of,
)


def zombies(pid: int) -> list[int]:
    """Return the descendants of process `pid` that have ended and that nobody has waited for."""
    return [child for child in descendants(pid) if stat_of(child)[:1] == ["Z"]]


@short_and_long("count", 40, 10_000)
@pytest.mark.parametrize("model", ["--fork", "--threads", "--sync"])
def test_the_exit_status_of_a_program_is_always_true(launch, model, count):
    """P17: 10,000 programs, as many at a time as there may be children: each handler is told its own status."""
    at_once = 1 if model == "--sync" else 8
    server = launch(
        "tcp4", "127.0.0.1:0", model, *(() if at_once == 1 else ("--max-connections", "8")), "promised:Program"
    )
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
        wait_until(lambda: len(descendants(server.worker)) == 11, "all children and the one that waits", server)
        for client in connected:
            assert ask(client) == b"ended\n"
        began = time.monotonic()
        wait_until(lambda: len(descendants(server.worker)) == 1, "reaped children", server)
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


AT_ONCE = 40
# Ends as it is told to; with 200 when nobody tells it.
ENDING = """#!/bin/sh
echo $$
read -r status || exit 200
exit "$status"
"""


class Fates:
    """Clients of ENDING, each with a fate of its own, and how the program of each has to end, by the client's port."""

    def __init__(self, server) -> None:
        self._server = server
        self.wanted: dict[int, list[set[str]]] = defaultdict(list)
        self.faults: list[str] = []

    def run(self, first: int, count: int) -> None:
        """Be every client from `first` to `count`, in steps of `AT_ONCE`."""
        chance = random.Random(first)
        for n in range(first, count, AT_ONCE):
            with self._server.connect() as client:
                fates = {"told": {f"status={n % 256}"}, "killed": {"signal=SIGKILL"}}
                # One that writes to a client who has reset the connection ends by SIGPIPE.
                fates["left"] = {"status=200", "signal=SIGPIPE"}
                fate = chance.choice(list(fates))
                self.wanted[client.getsockname()[1]].append(fates[fate])
                try:
                    self._meet(client, fate, n)
                except OSError as error:
                    self.faults.append(f"{fate} {n}: {error}")

    def _meet(self, client: socket.socket, fate: str, n: int) -> None:
        if fate == "left":
            return
        pid = int(read_line(client))
        if fate == "killed":
            os.kill(pid, signal.SIGKILL)
        else:
            client.sendall(b"%d\n" % (n % 256))
        client.recv(1)


@short_and_long("count", 200, 10_000)
@pytest.mark.parametrize("limit", [0, 50], ids=["", "few descriptors"])
def test_every_status_that_is_logged_is_the_true_one(launch, place, limit, count):
    """P17, P18: 40 programs at a time, killed and left by chance, also without descriptors: nothing is left of them."""
    (place / "ending").write_text(ENDING)
    (place / "ending").chmod(0o755)
    server = launch("tcp4", "127.0.0.1:0", "--max-connections", str(AT_ONCE), "--", "./ending")
    worker = server.worker
    fates = Fates(server)
    fates.run(0, 1)  # before that, the worker may not have opened all that it keeps
    server.wait_for_log(" ended ")
    wait_until(lambda: descendants(worker) == [], "end of the program", server)
    held = descriptors(worker)
    if limit:
        limit_descriptors(worker, limit)
    threads = [threading.Thread(target=fates.run, args=(first, count)) for first in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(3600)
    assert fates.faults == []
    server.wait_for_log(" ended ", count + 1)
    for line in lines_with(server.log, " ended "):
        found = re.search(r" peer=127\.0\.0\.1:(\d+) .* how=\S+ (\S+) id=", line)
        assert found
        assert found[2] in fates.wanted[int(found[1])].pop(0), line
    assert ("request waits" in server.log or "accept failed" in server.log) == bool(limit)
    wait_until(lambda: descendants(worker) == [], "end of the programs", server)
    wait_until(lambda: len(descriptors(worker)) <= len(held), "closed descriptors", server)
    assert server.stop() == 0


@short_and_long("count", 100, 10_000)
def test_programs_one_after_another_leave_nothing(launch, count):
    """P17: no process, no zombie, no descriptor, and the status of each is logged."""
    server = launch("tcp4", "127.0.0.1:0", "--sync", "--", "sh", "-c", "read n; exit $n")
    held = {}
    for n in range(count):
        with server.connect() as client:
            client.sendall(b"%d\n" % (n % 256))
            assert client.recv(1) == b""
        if n == 0:
            server.wait_for_log(" ended ")
            wait_until(lambda: descendants(server.worker) == [], "end of the program", server)
            held = descriptors(server.worker)
    server.wait_for_log(" ended ", count)
    statuses = re.findall(r" ended .* status=(\d+) ", server.log)
    assert statuses == [str(n % 256) for n in range(count)]
    wait_until(lambda: descendants(server.worker) == [], "end of the programs", server)
    wait_until(lambda: len(descriptors(server.worker)) <= len(held), "closed descriptors", server)
