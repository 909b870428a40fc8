"""P1: a server that has no descriptor left for a new connection."""

from __future__ import annotations

import time

import pytest

from tests.launched import descriptors
from tests.promises.faults import (
    Strace,
    all_answer,
    asked,
    clients,
    inject,
    limit_descriptors,
    lines_with,
    needs_strace,
    processor_seconds,
    rate,
    short_and_long,
)


@needs_strace
@pytest.mark.parametrize(("model", "errno"), [("--threads", "EMFILE"), ("--fork", "EMFILE"), ("--threads", "ENFILE")])
def test_accept_without_descriptors_is_tried_ten_times_a_second(launch, place, model, errno):
    """P1: at most 11 accept calls a second, one log line in 5 s, and the client that waited is served."""
    server = launch("tcp4", "127.0.0.1:0", model, "myapp:Echo")
    with clients(server, 2) as established:
        all_answer(established)
        with Strace(server.worker, place, *inject("accept4", f"error={errno}:when=1..12")) as strace:
            assert asked(server) == b"ping\n"
            all_answer(established)
        times = strace.times("accept4")
    assert len(times) >= 12  # strace counts for each thread, and any of them may try
    assert rate(times) <= 11
    (line,) = lines_with(server.log, "accept failed")
    assert "suppressed=0 retry_in=0.100" in line


@short_and_long("seconds", 2, 60)
def test_a_full_server_rests_until_a_descriptor_is_free(launch, seconds):
    """P1: for 60 s of exhaustion, CPU < 2 %, 1 log line in 5 s, no conversation lost, and then served at once."""
    server = launch("tcp4", "127.0.0.1:0", "--threads", "myapp:Echo")
    with clients(server, 8) as established:
        all_answer(established)
        worker = server.worker
        limit_descriptors(worker, max(descriptors(worker)) + 1)
        with server.connect() as waiting:
            waiting.sendall(b"ping\n")
            server.wait_for_log("accept failed")
            used, end = processor_seconds(worker), time.monotonic() + seconds
            while (left := end - time.monotonic()) > 0:
                all_answer(established)
                waiting.settimeout(left)
                with pytest.raises(TimeoutError):  # it waits, and nothing else happens to it
                    waiting.recv(1)
            used = processor_seconds(worker) - used
            # One clock tick, 10 ms, is all the kernel's books are good for.
            assert used <= 0.02 * seconds + 0.02
            assert 1 <= len(lines_with(server.log, "accept failed")) <= 1 + seconds // 5
            established.pop().close()
            waiting.settimeout(20)
            freed = time.monotonic()
            assert waiting.recv(5) == b"ping\n"
            # 200 ms is the promise, and 1 s for a machine that does other things; the short form runs beside others.
            assert seconds < 60 or time.monotonic() - freed < 1
        all_answer(established)


def test_each_descriptor_that_frees_serves_one_who_waits(launch):
    """P1: 40 clients of a worker with room for 8 are all served, in turns, and none is lost."""
    server = launch("tcp4", "127.0.0.1:0", "--threads", "myapp:Echo")
    assert asked(server) == b"ping\n"
    limit_descriptors(server.worker, max(descriptors(server.worker)) + 9)
    with clients(server, 40) as connected:
        for client in connected:
            client.sendall(b"ping\n")
        server.wait_for_log("accept failed")
        for client in connected:
            assert client.recv(5) == b"ping\n"
            client.close()
    assert server.stop() == 0


@needs_strace
def test_a_forking_server_without_a_descriptor_for_its_child_goes_on(launch, place):
    """P1: where pidfd_open(2) fails too, children are reaped and the room they leave is used."""
    server = launch("tcp4", "127.0.0.1:0", "--fork", "--max-connections", "2", "myapp:Echo")
    with Strace(server.worker, place, *inject("pidfd_open", "error=EMFILE")):
        for _ in range(6):
            assert asked(server) == b"ping\n"
    assert server.stop() == 0
