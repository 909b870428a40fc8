"""P16, the parent's half: kill -9 of the supervisor."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.launched import wait_until
from tests.promises.faults import (
    MODELS,
    asked,
    clients,
    descendants,
    is_gone,
    processes_in,
    read_line,
    short_and_long,
)


def kill(server) -> float:
    """Kill the supervisor; wait until nobody of its family is there, and return how long that took."""
    family = descendants(server.pid)
    began = time.monotonic()
    server.send_signal(signal.SIGKILL)
    assert server.wait() == -signal.SIGKILL
    wait_until(lambda: all(map(is_gone, family)), "end of the worker and its children", server)
    return time.monotonic() - began


@short_and_long("rounds", 1, 100)
@pytest.mark.parametrize(
    ("model", "handler"), [*((model, "myapp:Wait") for model in MODELS), ("--sync", "myapp:Stubborn")]
)
def test_worker_and_children_go_with_their_supervisor(launch, place, model, handler, rounds):
    """P16: with conversations open, all are gone within 1 s, the port is free and the socket's path can be had."""
    for _ in range(rounds):
        server = launch("unix", str(place / "s"), model, handler)
        with clients(server, 1 if model == "--sync" else 4) as connected:
            for client in connected:
                assert read_line(client) == b"began\n"
            wanted = 6 if model == "--fork" else 1  # one child waits
            wait_until(lambda n=wanted, pid=server.pid: len(descendants(pid)) == n, "family", server)
            # 1 s is the promise; twice that on a machine that does other things.
            assert kill(server) < 2
            for client in connected:
                assert client.recv(1) == b""
        assert (place / "s").is_socket()  # nobody was left to remove it
        # The next start takes the path, and TCP ports have nobody on them.
        again = launch("unix", str(place / "s"), model, "myapp:Echo")
        assert asked(again) == b"ping\n"
        assert "stale socket removed" in again.log
        assert again.stop() == 0
        assert not (place / "s").exists()
    assert processes_in(place) == []


@pytest.mark.parametrize("model", MODELS)
def test_the_port_is_free_for_the_next_start(launch, model):
    """P16: the same TCP port is had again at once, also while its last connections are in TIME_WAIT."""
    server = launch("tcp4", "127.0.0.1:0", model, "myapp:Wait")
    port = server.sockaddr[1]
    with server.connect() as client:
        assert read_line(client) == b"began\n"
        kill(server)
        with pytest.raises(ConnectionRefusedError):
            server.connect().close()
        again = launch("tcp4", f"127.0.0.1:{port}", model, "myapp:Echo")
        assert asked(again) == b"ping\n"


@pytest.mark.parametrize("family", ["udp4", "unix-dgram", "unix-seqpacket"])
def test_the_other_families_are_free_as_well(launch, place, family):
    """P16: an idle server's worker goes too, whatever the socket."""
    address = str(place / "s") if family.startswith("unix") else "127.0.0.1:0"
    server = launch(family, address, "--threads", "echo")
    if family == "udp4":
        address = f"127.0.0.1:{server.sockaddr[1]}"
    kill(server)
    again = launch(family, address, "--threads", "echo")
    with again.connect() as client:
        client.send(b"ping")
        assert client.recv(100) == b"ping"


def test_a_worker_that_was_still_loading_goes_too(launch, place):
    """P16: the supervisor dies while the new worker of a reload imports the handler."""
    server = launch("unix", str(place / "s"), "myapp:Echo")
    old = server.worker
    # The new worker's import waits here until somebody writes, which is when its supervisor is gone.
    os.mkfifo(place / "gate")
    (place / "myapp.py").write_text("with open('gate') as gate:\n    gate.read()\nEcho = print\n")
    server.send_signal(signal.SIGHUP)
    with open(place / "gate", "w"):  # opens when the worker reads
        family = descendants(server.pid)
        assert len(family) == 2
        server.send_signal(signal.SIGKILL)
        server.wait()
        wait_until(lambda: is_gone(old), "end of the old worker", server)
    wait_until(lambda: all(map(is_gone, family)), "end of both workers", server)


@short_and_long("rounds", 1, 100)
@pytest.mark.parametrize("victim", ["supervisor", "worker"])
def test_programs_go_with_who_is_killed(launch, place, victim, rounds):
    """P16: with all that they started, though they lead process groups of their own and do not hear of TERM."""
    (place / "stubborn").write_text("#!/bin/sh\ntrap '' TERM HUP\nsleep 600 & echo began\nwait\n")
    (place / "stubborn").chmod(0o755)
    for _ in range(rounds):
        server = launch("unix", str(place / "s"), "--", "./stubborn")
        with clients(server, 4) as connected:
            for client in connected:
                assert read_line(client) == b"began\n"
            family = descendants(server.pid)
            assert len(family) == 9
            if victim == "supervisor":
                assert kill(server) < 2
            else:
                os.kill(server.worker, signal.SIGKILL)
                wait_until(lambda family=family: all(map(is_gone, family)), "end of the programs", server)
            for client in connected:
                assert client.recv(1) == b""
        server.__exit__(None, None, None)
    assert processes_in(place) == []


def test_what_a_handler_started_goes_with_the_worker(launch, place):
    """P16: a program that the handler runs is in the worker's process group, and dies with it."""
    (place / "slow.py").write_text(
        "import subprocess\n"
        "def handler(request, client_address, server):\n"
        "    with subprocess.Popen(['sleep', '600']) as program:\n"
        "        request.sendall(b'%d\\n' % program.pid)\n"
    )
    server = launch("tcp4", "127.0.0.1:0", "--threads", "slow:handler")
    with server.connect() as client:
        program = int(read_line(client))
        assert not is_gone(program)
        kill(server)
        wait_until(lambda: is_gone(program), "end of the program", server)
