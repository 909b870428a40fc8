"""P11: a stop ends everything, and leaves nothing."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.launched import descriptors, insist, wait_until
from tests.promises.faults import (
    MODELS,
    ask,
    asked,
    clients,
    descendants,
    is_gone,
    processes_in,
    read_line,
    short_and_long,
)


@short_and_long("count", 6, 1000, seconds=7200)
def test_starts_and_stops_leave_nothing(launch, place, count):
    """P11: of 1,000 starts and stops, in every model, none leaves a process, a descriptor or a socket file."""
    ours = len(descriptors(os.getpid()))
    for n in range(count):
        path = place / "s"
        server = launch("unix", str(path), MODELS[n % 3], "myapp:Echo")
        assert asked(server) == b"ping\n"
        family = descendants(server.pid)
        assert family
        assert server.stop() == 0
        # The supervisor has waited for its worker, and that for its children: there is nothing to wait for.
        assert [pid for pid in family if not is_gone(pid)] == []
        assert not path.exists()
        server.__exit__(None, None, None)
        for log in place.glob("stderr-*"):
            log.unlink()
    assert processes_in(place) == []
    assert len(descriptors(os.getpid())) == ours


@pytest.mark.parametrize("model", MODELS)
def test_stops_with_conversations_open_leave_nothing(launch, place, model):
    """P11: what runs when the stop comes is finished, and its process is waited for."""
    server = launch("unix", str(place / "s"), model, "myapp:Wait")
    with clients(server, 1 if model == "--sync" else 5) as connected:
        for client in connected:
            assert read_line(client) == b"began\n"
        wanted = 7 if model == "--fork" else 1  # one child waits
        family = wait_until(lambda: len(found := descendants(server.pid)) == wanted and found, "family", server)
        server.send_signal(signal.SIGTERM)
        server.wait_for_log("stopping")
        for client in connected:
            assert ask(client) == b"ended\n"
            assert client.recv(1) == b""
    assert server.wait() == 0
    assert [pid for pid in family if not is_gone(pid)] == []
    assert not (place / "s").exists()


@pytest.mark.parametrize("model", MODELS)
def test_the_deadline_cuts_what_does_not_end(launch, place, model):
    """P11: a handler that looks at nothing is cut at ``--graceful-timeout`` +- 0.5 s; 75, and nobody stays."""
    server = launch("unix", str(place / "s"), model, "--graceful-timeout", "1", "myapp:Stubborn")
    with server.connect() as client:
        assert read_line(client) == b"began\n"
        family = descendants(server.pid)
        began = time.monotonic()
        assert server.stop() == 75
        # Not before; how long after is the machine's affair, 0.5 s where it does nothing else.
        assert 1 <= time.monotonic() - began < 5
    assert "cut=1" in server.log
    wait_until(lambda: all(map(is_gone, family)), "end of the worker and its children", server)
    assert not (place / "s").exists()


@pytest.mark.parametrize(
    ("model", "second"),
    [*((model, signal.SIGTERM) for model in MODELS), ("--sync", signal.SIGINT), ("--fork", signal.SIGQUIT)],
)
def test_a_second_signal_is_now(launch, model, second):
    """P11: the second TERM or INT, or a QUIT, does not wait for ``--graceful-timeout``."""
    server = launch("tcp4", "127.0.0.1:0", model, "--graceful-timeout", "1h", "myapp:Stubborn")
    with server.connect() as client:
        assert read_line(client) == b"began\n"
        family = descendants(server.pid)
        server.send_signal(signal.SIGTERM)
        server.wait_for_log("stopping signal=SIGTERM")
        insist(server, second, "stopping now")
        assert server.wait() == 75
    assert all(map(is_gone, family))


@short_and_long("count", 5, 200)
def test_an_idle_server_stops_at_once(launch, count):
    """P11: an idle server exits within 100 ms, at the median."""
    took = []
    for _ in range(count):
        server = launch("tcp4", "127.0.0.1:0", "--threads", "myapp:Echo")
        began = time.monotonic()
        assert server.stop() == 0
        took.append(time.monotonic() - began)
    print(f"stop: median {sorted(took)[count // 2] * 1000:.0f} ms, longest {max(took) * 1000:.0f} ms")
    if count > 5:  # the short form runs beside others; twice the promise
        assert sorted(took)[count // 2] < 0.2
