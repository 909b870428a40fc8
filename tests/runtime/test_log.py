"""The log: one event, one line, whatever a peer sends and whatever becomes of the reader."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from srvctl.runtime import line_writer as sink_module
from srvctl.runtime import log
from srvctl.runtime import rate_limit as throttle_module
from srvctl.runtime.line_writer import LineWriter
from srvctl.runtime.loop import Loop
from srvctl.runtime.rate_limit import RateLimiter

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


@pytest.fixture(autouse=True)
def unconfigured(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `configure` sets is put back, and each test has a throttle of its own."""
    for name in ("_sink", "_threshold", "_style"):
        monkeypatch.setattr(log, name, getattr(log, name))
    monkeypatch.setattr(log, "_traceback_rate", RateLimiter())


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Callable[..., Callable[[], str]]]:
    """Configure the log onto a file; what it returns reads the file."""
    with (tmp_path / "log").open("wb") as file:

        def configure(style: str = "text", threshold: int = log.INFO) -> Callable[[], str]:
            log.configure(style, threshold, file.fileno())
            return lambda: (tmp_path / "log").read_text("ascii")

        yield configure


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe of one page, whose ends are closed afterwards."""
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    yield read, write
    for fd in (read, write):
        try:
            os.close(fd)
        except OSError as error:
            assert error.errno == errno.EBADF


def close(sink: LineWriter) -> None:
    """Give up the descriptor that a sink of a pipe opened for itself; the process's own one is never closed."""
    os.close(sink._fd)


# --- one event, one line


def test_an_event_is_time_level_name_and_fields(written) -> None:  # type: ignore[no-untyped-def]
    """In UTC, to the millisecond."""
    read = written()
    log.conversation_ended("192.0.2.1:9", 0.25, 6, 7, "done", "a-1", False)
    assert re.fullmatch(
        TIME + " info ended peer=192.0.2.1:9 seconds=0.250 received=6 sent=7 how=done id=a-1\n",
        read(),
    )


def test_the_journal_has_a_priority_in_front_and_no_time(written) -> None:  # type: ignore[no-untyped-def]
    """It adds the time itself, and takes the number for the priority: sd-daemon(3)."""
    read = written("journal")
    log.conversation_cut("-", 1.0, "the deadline", "a-1")
    assert read() == '<4>cut peer=- age=1.000 why="the deadline" id=a-1\n'


def test_json_has_numbers_as_numbers(written) -> None:  # type: ignore[no-untyped-def]
    """For machines."""
    read = written("json")
    log.conversation_ended("@name", 0.25, 6, 7, "done", "a-1", False)
    record = json.loads(read())
    assert re.fullmatch(TIME, record.pop("time"))
    assert record == {
        "level": "info", "event": "ended", "peer": "@name", "seconds": 0.25, "received": 6, "sent": 7, "how": "done",
        "id": "a-1",
    }  # fmt: skip


def test_a_terminal_has_colour_and_the_traceback_below(written) -> None:  # type: ignore[no-untyped-def]
    """And still nothing that a peer could send raw."""
    read = written("terminal")
    log.handler_failed("\x1b[2J", failure("two\nlines\x1b"), "")
    first, *below = read().splitlines()
    assert r'peer="\x1b[2J"' in first and first.endswith("\x1b[0m")
    assert "in failure" in below[1] and below[-1].endswith(r"lines\x1b")
    assert all("\x1b" not in line for line in below)


def test_below_the_threshold_nothing_is_written(written) -> None:  # type: ignore[no-untyped-def]
    """Nor asked for."""
    read = written(threshold=log.WARNING)
    log.stopped(0, 1.0)
    assert read() == ""
    assert (log.wants(log.WARNING), log.wants(log.INFO)) == (True, False)


def test_before_it_is_configured_the_log_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that uses the hierarchy alone has no log of srvctl's."""
    monkeypatch.setattr(log, "_sink", None)
    log.supervisor_gone()
    assert not log.wants(log.ERROR)


def test_a_datagram_that_was_answered_is_news_only_when_asked_for(written) -> None:  # type: ignore[no-untyped-def]
    """One whose handler failed is."""
    read = written()
    log.conversation_ended("-", 0.0, 1, 1, "done", "a-1", True)
    assert read() == ""
    log.conversation_ended("-", 0.0, 1, 1, "failed", "a-1", True)
    assert " ended " in read()


def failure(text: str) -> ValueError:
    """Return an exception that was raised."""
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


def test_the_causes_of_a_failure_are_in_its_line(written) -> None:  # type: ignore[no-untyped-def]
    """On one line of text, in lists of JSON; each time, since they may differ."""
    group = ExceptionGroup("several", [TypeError("a"), KeyError("b")])
    group.__cause__ = ValueError("cause")
    group.add_note("note")
    read = written()
    log.handler_failed("-", group, "")
    log.handler_failed("-", group, "")
    causes = 'causes="ValueError: cause" notes=note exceptions="TypeError: a < KeyError: \'b\'"\n'
    assert [line.endswith(causes) for line in read().splitlines(keepends=True)] == [True, True]
    read = written("json")
    log.handler_failed("-", group, "")
    record = json.loads(read().splitlines()[-1])
    assert (record["causes"], record["notes"]) == (["ValueError: cause"], ["note"])
    assert record["exceptions"] == ["TypeError: a", "KeyError: 'b'"]


def test_a_terminal_shows_causes_as_python_does(written) -> None:  # type: ignore[no-untyped-def]
    """Below the line, and not in it."""
    error = failure("x")
    error.__cause__ = KeyError("why")
    read = written("plain")
    log.handler_failed("-", error, "")
    first, *below = read().splitlines()
    assert "causes" not in first and "\x1b" not in first
    assert "    KeyError: 'why'" in below


def test_the_frames_of_a_fault_that_comes_back_are_written_once(written) -> None:  # type: ignore[no-untyped-def]
    """Each time is a line; a traceback a time would be the disk."""
    read = written()
    for _ in range(3):
        log.handler_failed("-", failure("x"), "")
    lines = read().splitlines()
    assert [" traceback=" in line for line in lines] == [True, False, False]
    assert all('error="ValueError: x"' in line for line in lines)


# --- repetition


def test_a_rate_limiter_lets_one_through_and_counts_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """In 5 seconds each."""
    now = 100.0
    monkeypatch.setattr(throttle_module.time, "monotonic", lambda: now)
    throttle = RateLimiter()
    assert [throttle.allow() for _ in range(4)] == [0, None, None, None]
    now += throttle_module.REPEAT_SECONDS
    assert [throttle.allow(), throttle.allow()] == [3, None]


# --- the sink


def test_a_reader_that_is_slow_blocks_nobody_and_loses_nothing(pipe: tuple[int, int]) -> None:
    """Lines wait, in order, and go when there is room."""
    read, write = pipe
    sink = LineWriter(write)
    lines = [b"%04d %s\n" % (n, b"x" * 94) for n in range(200)]
    lines.append(b"x" * 10_000 + b"\n")  # longer than the pipe: it goes in pieces
    for line in lines:
        sink.write(line)
    assert sink.queue
    received = b""
    while not sink.flush():
        received += os.read(read, 65536)
    close(sink)
    os.close(write)
    while data := os.read(read, 65536):
        received += data
    assert received == b"".join(lines)
    assert sink.dropped == 0


def test_the_pipe_of_others_stays_blocking(pipe: tuple[int, int]) -> None:
    """O_NONBLOCK on a description that is shared would hit every program that writes there."""
    sink = LineWriter(pipe[1])
    assert os.get_blocking(pipe[1]) and not os.get_blocking(sink._fd)
    assert not os.get_inheritable(sink._fd)
    close(sink)


def test_what_a_stuck_reader_does_not_take_is_dropped_and_counted(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The count is written when there is room again."""
    read, write = pipe
    monkeypatch.setattr(sink_module, "QUEUE_LINES", 10)
    sink = log.configure("text", log.INFO, write)
    sink.write(b"x" * 4095 + b"\n")
    for _ in range(25):
        sink.write(b"line\n")
    assert (len(sink.queue), sink.dropped) == (10, 15)
    os.read(read, 65536)
    assert sink.flush()
    text = os.read(read, 65536).decode()
    assert text.startswith("line\n" * 10)
    assert text.endswith(" warning log lines dropped count=15\n")
    close(sink)


def test_a_reader_that_is_gone_is_no_error(pipe: tuple[int, int]) -> None:
    """The line is lost, and counted."""
    read, write = pipe
    sink = LineWriter(write)
    os.close(read)
    sink.write(b"line\n")
    assert (len(sink.queue), sink.dropped) == (0, 1)
    close(sink)


def test_a_full_disk_is_no_error() -> None:
    """ENOSPC loses the line, and counts it."""
    with open("/dev/full", "wb") as full:
        sink = LineWriter(full.fileno())
        sink.write(b"line\n")
        assert sink.dropped == 1
        close(sink)


def test_a_closed_standard_error_is_no_error() -> None:
    """A daemon may have none."""
    read, write = os.pipe()
    os.close(read)
    os.close(write)
    sink = LineWriter(write)
    sink.write(b"line\n")
    assert (sink._fd, len(sink.queue), sink.dropped) == (-1, 0, 0)


def test_a_socket_is_written_to_without_waiting() -> None:
    """The journal's stream is one."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sink = LineWriter(ours.fileno())
        own = sink._write.__closure__[0].cell_contents  # type: ignore[attr-defined]
        with own:
            while not sink.queue:
                sink.write(b"x" * 4096)
            theirs.close()
            assert sink.flush() and not sink.queue


def test_a_loop_writes_what_waits_when_there_is_room(pipe: tuple[int, int]) -> None:
    """Nobody has to log again for it."""
    read, write = pipe
    sink = LineWriter(write)
    received: list[bytes] = []
    with Loop() as loop:
        sink.attach(loop)
        sink.write(b"x" * 4096)
        sink.write(b"line\n")
        assert sink.queue

        def on_readable(events: int) -> None:
            received.append(os.read(read, 65536))
            if b"".join(received).endswith(b"line\n"):
                loop.stop()

        loop.watch(read, on_readable)
        loop.run(lambda: None)
    assert b"".join(received) == b"x" * 4096 + b"line\n"
    close(sink)


def test_a_regular_file_keeps_the_shared_offset(tmp_path: Path) -> None:
    """What others write there is not overwritten."""
    with (tmp_path / "log").open("wb", buffering=0) as file:
        sink = LineWriter(file.fileno())
        sink.write(b"one\n")
        file.write(b"two\n")
        sink.write(b"three\n")
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\nthree\n"


def test_a_terminal_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where there is no standard error at all."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not log.to_terminal()
    monkeypatch.setattr(sys, "stderr", None)
    assert not log.to_terminal()


def test_what_escapes_is_loaded_before_anything_is_logged() -> None:
    """A codec is a file: without descriptors, the first line that needs it would raise in whoever logs."""
    code = "import sys; from srvctl.runtime import log; log.configure('text', 6)\n"
    code += "sys.exit('encodings.unicode_escape' not in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("peer", ["192.0.2.1:7", "[2001:db8::1]:7", "-", "", "a b", 'x="y"', "ä", "\n", "x" * 2000])
def test_the_end_of_a_conversation_reads_as_any_other_event(pipe, peer: str) -> None:
    """The short way makes the line that the long one makes."""
    read, write = pipe
    sink = log.configure("text", log.INFO, write)
    log.conversation_ended(peer, 1.25, 3, 4, "done", "a-1", False)
    log._event(log.INFO, "ended", peer=peer, seconds=1.25, received=3, sent=4, how="done", id="a-1")
    first, second = os.read(read, 65536).decode().splitlines()
    assert first.partition(" ")[2] == second.partition(" ")[2]
    close(sink)
