"""What happens while a program is on its way, between fork and exec, as it is for long where a disk is slow."""

from __future__ import annotations

import contextlib
import select
import signal
import socket
from collections.abc import Iterator

from tests.launched import receive_all, wait_until
from tests.promises.faults import (
    Strace,
    ask,
    clients,
    descendants,
    inject,
    is_gone,
    lines_with,
    needs_strace,
    read_line,
)

pytestmark = needs_strace

# Answers at once, and then waits for the client's end.
WORDS = ("--", "sh", "-c", "echo began; exec cat")


@contextlib.contextmanager
def slow_starts(server, place) -> Iterator[None]:
    """Let no program of the worker get beyond its exec until this ends."""
    strace = Strace(server.worker, place, *inject("execve", "delay_enter=600s"))
    try:
        yield
    finally:
        strace.kill()


def wait_for_programs(server, count: int) -> None:
    """Wait until the worker has so many, those included that are on their way."""
    wait_until(lambda: len(descendants(server.worker)) == count, f"{count} programs", server)


def test_nobody_waits_for_a_program_that_is_on_its_way(launch, place) -> None:
    """Others start, converse and end meanwhile; it is served when it is there."""
    server = launch("tcp4", "127.0.0.1:0", *WORDS)
    with clients(server, 2) as (first, second):
        assert read_line(first) == read_line(second) == b"began\n"
        with slow_starts(server, place), clients(server, 2) as late:
            wait_for_programs(server, 4)
            assert ask(second) == b"ping\n"
            first.close()
            server.wait_for_log(" ended ")
            assert select.select(late, [], [], 0)[0] == []
            for client in late:
                client.shutdown(socket.SHUT_WR)
        wait_for_programs(server, 1)
    server.wait_for_log("how=done", 4)
    assert server.stop() == 0


def test_a_limit_that_is_reached_on_the_way_ends_the_program_when_it_is_there(launch, place) -> None:
    """With TERM, as any other."""
    server = launch("tcp4", "127.0.0.1:0", "--max-duration", "0.3", *WORDS)
    with contextlib.ExitStack() as connected:
        with slow_starts(server, place):
            connected.enter_context(clients(server, 1))
            server.wait_for_log(" cut peer=")
            wait_for_programs(server, 1)
        server.wait_for_log(" ended ")
    (line,) = lines_with(server.log, " ended ")
    assert " how=max-duration signal=SIGTERM " in line
    wait_for_programs(server, 0)
    assert server.stop() == 0


def test_a_stop_waits_for_a_program_that_is_on_its_way(launch, place) -> None:
    """And for the conversation that it has then."""
    server = launch("tcp4", "127.0.0.1:0", *WORDS)
    with clients(server, 1) as (client,):
        client.sendall(b"question\n")
        with slow_starts(server, place):
            wait_for_programs(server, 1)
            server.send_signal(signal.SIGTERM)
            server.wait_for_log("stopping")
            client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == b"began\nquestion\n"
    assert server.wait() == 0, server.log


def test_the_deadline_of_a_stop_ends_a_program_when_it_is_there(launch, place) -> None:
    """75, with TERM, and nobody is left."""
    server = launch("tcp4", "127.0.0.1:0", "--graceful-timeout", "0.3", *WORDS)
    with contextlib.ExitStack() as connected:
        with slow_starts(server, place):
            connected.enter_context(clients(server, 1))
            wait_for_programs(server, 1)
            server.send_signal(signal.SIGTERM)
            server.wait_for_log(" cut peer=")
            family = descendants(server.pid)
        assert server.wait() == 75, server.log
    (line,) = lines_with(server.log, " ended ")
    assert " how=cut signal=SIGTERM " in line
    wait_until(lambda: all(map(is_gone, family)), "end of all", server)


def test_a_program_that_ends_before_anybody_knows_of_it_has_its_status(launch, place) -> None:
    """The thread that started it may be the last to run again; meanwhile it has ended, and was waited for."""
    server = launch("tcp4", "127.0.0.1:0", "--", "sh", "-c", "echo began; exit 7")
    with clients(server, 1) as (client,):
        assert receive_all(client) == b"began\n"
    server.wait_for_log(" ended ")
    strace = Strace(server.worker, place, *inject("clone,clone3,vfork", "delay_exit=600s"))
    try:
        with clients(server, 1) as (late,):
            assert read_line(late) == b"began\n"
            wait_until(lambda: not descendants(server.worker), "the end of the program", server)
            assert len(lines_with(server.log, " ended ")) == 1
            strace.kill()
            assert receive_all(late) == b""
    finally:
        strace.kill()
    server.wait_for_log(" status=7 ", 2)
    assert server.stop() == 0
