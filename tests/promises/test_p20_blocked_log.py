"""P20: a log that nobody reads, that is full, or that is not there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator

import pytest

from tests.launched import descriptors
from tests.promises.faults import MODELS, Strace, asked, inject, lines_with, needs_strace, short_and_long


def with_stderr(words: str) -> tuple[str, ...]:
    """Return what starts a program with its standard error redirected as the shell says."""
    return ("sh", "-c", f'exec "$@" {words}', "sh")


@contextlib.contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """Make a pipe of one page; its ends are closed at the end, where they are not yet."""
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    try:
        yield read, write
    finally:
        for fd in (read, write):
            with contextlib.suppress(OSError):
                os.close(fd)


def read_all(fd: int) -> str:
    """Read a pipe to its end."""
    received = b""
    while data := os.read(fd, 65536):
        received += data
    return received.decode()


@pytest.mark.parametrize(
    ("words", "model"), [*(("2>/dev/full", model) for model in MODELS), ("2>&-", "--fork"), ("0<&- 2>&-", "--sync")]
)
def test_clients_are_served_without_a_log(launch, words, model):
    """P20: on a full disk, and with standard error closed, clients are served and a stop is a stop."""
    server = launch("tcp4", "127.0.0.1:0", model, "-v", "myapp:Echo", prefix=with_stderr(words))
    for _ in range(20):
        assert asked(server) == b"ping\n"
    # Nothing else has become the standard error of the worker: a client would get the log.
    assert descriptors(server.worker)[2] in ("/dev/full", "/dev/null")
    assert server.stop() == 0


@short_and_long("count", 6_000, 100_000)
@pytest.mark.parametrize("model", ["--sync", "--threads"])
def test_a_reader_that_does_not_read_gets_what_was_kept_and_a_count(launch, model, count):
    """P20: 10,000 records wait, further ones are dropped; no client is held up; who reads later is told how many."""
    with pipe() as (read, write):
        server = launch("udp4", "127.0.0.1:0", model, "--datagram-guard", "off", "-v", "echo", stderr=write)
        os.close(write)
        with server.connect() as client:
            for n in range(count):
                question = b"%d" % n
                client.send(question)
                assert client.recv(100) == question
            said = os.read(read, 65536).decode()
            # The loop writes what waits while it is read, and the count behind it; then the log is as before.
            while "log lines dropped" not in said or said[-1] != "\n":
                said += os.read(read, 65536).decode()
            client.send(b"last")
            assert client.recv(100) == b"last"
        server.process.terminate()
        said += read_all(read)
        assert server.wait() == 0
    lines = said.splitlines()
    (dropped,) = map(int, re.findall(r"log lines dropped count=(\d+)", said))
    conversations = lines_with(said, "began peer=") + lines_with(said, "ended peer=")
    # Whole lines, each once: two for each datagram, the last one's included, but for those that were dropped.
    assert len(conversations) + dropped == 2 * (count + 1)
    assert len(conversations) >= 10_000
    assert all(re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z [a-z]+ \S", line) for line in lines)
    assert "began peer=" in lines[lines.index(lines_with(said, "log lines dropped")[0]) + 1]
    assert "stopped cut=0" in lines[-1]


@pytest.mark.parametrize("model", MODELS)
def test_a_stop_does_not_wait_for_a_reader(launch, model):
    """P20: with a log that is full of unread lines, TERM ends the server in order all the same."""
    with pipe() as (_, write):
        server = launch("tcp4", "127.0.0.1:0", model, "-v", "myapp:Echo", stderr=write)
        for _ in range(100):
            assert asked(server) == b"ping\n"
        assert server.stop() == 0


@pytest.mark.parametrize("model", MODELS)
def test_a_reader_that_is_gone_is_nobodys_loss(launch, model):
    """P20: EPIPE, and SIGPIPE, do not reach a client."""
    with pipe() as (read, write):
        server = launch("tcp4", "127.0.0.1:0", model, "-v", "myapp:Echo", stderr=write)
        os.close(read)
        for _ in range(20):
            assert asked(server) == b"ping\n"
        assert server.stop() == 0


@needs_strace
def test_a_disk_that_was_full_is_told_of(launch, place):
    """P20: ENOSPC loses lines and nothing else; when there is room again, a line says how many."""
    server = launch("tcp4", "127.0.0.1:0", "--sync", "myapp:Echo")
    (log,) = place.glob("stderr-*")
    with Strace(server.worker, place, "-P", str(log), *inject("write", "error=ENOSPC:when=1..3")):
        for _ in range(5):
            assert asked(server) == b"ping\n"
        server.wait_for_log("log lines dropped count=3")
    assert server.stop() == 0
    assert len(lines_with(server.log, "ended peer=")) == 2
