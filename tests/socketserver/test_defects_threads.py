"""Rows of defects.md that a server with threads meets."""

from __future__ import annotations

import threading
import weakref

import pytest

from tests.socketserver.running import (
    HANG,
    PATIENCE,
    ask,
    connect,
    echo,
    eventually,
    is_answered,
    make,
    mended,
    ours,
    read_all,
    serving,
)


@mended("C15")
def test_a_thread_that_does_not_start_leaves_nothing_that_close_could_fall_over(impl, monkeypatch):
    """C15: after "can't start new thread" server_close() still closes, and raises nothing."""
    refused = threading.Event()

    class Limited(threading.Thread):
        def start(self):
            refused.set()
            raise RuntimeError("can't start new thread")

    server = make(impl, "ThreadingTCPServer", echo)
    with serving(server):
        with monkeypatch.context() as patch:
            if impl is ours:
                patch.setattr("srvctl.socketserver.threads._PoolThread.start", Limited.start)
            else:
                patch.setattr(threading, "Thread", Limited)
            client = connect(server)
            assert refused.wait(PATIENCE)
        client.close()
        server.shutdown()
        server.server_close()


@mended("C15")
def test_a_client_for_whom_there_is_no_thread_waits_for_one(impl, monkeypatch):
    """C15: "can't start new thread" costs the client a pause and not its connection."""
    refused = threading.Event()
    real = threading.Thread.start

    def start(thread):
        if not refused.is_set():
            refused.set()
            raise RuntimeError("can't start new thread")
        real(thread)

    server = make(impl, "ThreadingTCPServer", echo, block_on_close=False)
    with serving(server):
        monkeypatch.setattr(threading.Thread, "start", start)
        assert ask(server, b"here") == b"here"


@mended("C16")
def test_max_threads_bounds_what_is_served_at_the_same_time(impl):
    """C16: with `max_threads` two, two of six clients are served at a time, and in the end all."""
    running, most, lock, all_are_in = [0], [0], threading.Lock(), threading.Event()

    def count(request, client_address, server):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
            if running[0] == 6:
                all_are_in.set()
        all_are_in.wait(0.1)  # the time in which the others would come in
        with lock:
            running[0] -= 1
        request.sendall(b"done")

    server = make(impl, "ThreadingTCPServer", count, max_threads=2)
    with serving(server):
        clients = [connect(server) for _ in range(6)]
        for client in clients:
            with client:
                assert read_all(client) == b"done"
    assert most[0] <= 2


def test_close_waits_for_the_threads():
    """C11: server_close() returns when the handlers have, with `block_on_close`."""
    go, entered, done = threading.Event(), threading.Event(), []

    def slow(request, client_address, server):
        entered.set()
        go.wait(PATIENCE)
        done.append(1)

    server = make(ours, "ThreadingTCPServer", slow)
    with serving(server):
        connect(server).close()
        assert entered.wait(PATIENCE)
        server.shutdown()
        closing = threading.Thread(target=server.server_close)
        closing.start()
        assert not done
        go.set()
        closing.join(PATIENCE)
        assert done == [1]


def test_close_does_not_wait_for_threads_that_it_need_not():
    """C11: without `block_on_close` server_close() returns, and the handler that still runs ends its own connection."""
    go, entered = threading.Event(), threading.Event()

    def slow(request, client_address, server):
        entered.set()
        go.wait(PATIENCE)
        request.sendall(b"late")

    server = make(ours, "ThreadingTCPServer", slow, block_on_close=False)
    with serving(server):
        client = connect(server)
        assert entered.wait(PATIENCE)
        server.shutdown()
        server.server_close()
        go.set()
        with client:
            assert read_all(client) == b"late"
    assert eventually(lambda: threading.active_count() == 1)


def test_nothing_is_kept_of_a_thread_that_ended():
    """C12, C14: a connection that is over leaves neither a thread nor a request behind."""
    requests = []

    def note(request, client_address, server):
        requests.append(weakref.ref(request))
        echo(request, client_address, server)

    server = make(ours, "ThreadingTCPServer", note)
    with serving(server):
        for _ in range(20):
            assert is_answered(server)
        assert eventually(lambda: len(server._threads) == 0)
        assert eventually(lambda: not any(reference() for reference in requests))


def test_a_spare_thread_serves_the_next_request_and_keeps_nothing_of_the_last():
    """C16: the pool grows only while all are busy; with a spare thread one client after another has the same one."""
    threads, requests = set(), []

    def note(request, client_address, server):
        threads.add(threading.get_ident())
        requests.append(weakref.ref(request))
        echo(request, client_address, server)

    server = make(ours, "ThreadingTCPServer", note, spare_threads=1)
    with serving(server):
        for _ in range(5):
            assert is_answered(server)
            assert eventually(lambda: len(server._threads._parked) == 1)
        assert len(threads) == 1
        assert eventually(lambda: not any(reference() for reference in requests))
    assert eventually(lambda: threading.active_count() == 1)


@pytest.mark.parametrize("spare", [0, 3])
def test_a_client_that_waits_at_the_bound_is_served_without_another_event(spare):
    """C16: the end of a request is what lets the next one in; no timer and no other client is needed."""
    gates = [threading.Event(), threading.Event()]
    entered = threading.Semaphore(0)

    def gated(request, client_address, server):
        entered.release()
        gates[request.recv(1)[0]].wait(PATIENCE)
        request.sendall(b"out")

    server = make(ours, "ThreadingTCPServer", gated, max_threads=1, spare_threads=spare)
    with serving(server, poll_interval=600):
        first, second = connect(server), connect(server)
        with first, second:
            first.sendall(b"\0")
            second.sendall(b"\1")
            assert entered.acquire(timeout=PATIENCE)
            assert not entered.acquire(timeout=HANG / 5), "two at once"
            gates[0].set()
            assert read_all(first) == b"out"
            assert entered.acquire(timeout=PATIENCE)
            gates[1].set()
            assert read_all(second) == b"out"
