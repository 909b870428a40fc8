"""Logged streams: a line that is printed is an event, of the conversation in which it was printed."""

from __future__ import annotations

import fcntl
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from srvctl.runtime import log, printed
from srvctl.runtime.current import current
from srvctl.runtime.line_writer import QUEUE_LINES
from srvctl.runtime.log_format import FIELD_MAX
from srvctl.runtime.printed import LoggedStream, end_lines
from tests.runtime.logged import logged

Events = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def events() -> Iterator[Events]:
    """What was logged so far."""
    with logged() as read:
        yield read
    printed.unfinished.clear()


def lines(events: Events) -> list[str]:
    """Return what was printed so far."""
    return [event["line"] for event in events()]


def test_each_line_is_an_event_when_it_ends(events: Events) -> None:
    """However many writes it came in, and an empty one too."""
    out = LoggedStream("stdout", None)
    print("one", 2, file=out)
    print("three\n\nfo", end="", file=out)
    assert lines(events) == ["one 2", "three", ""]
    print("ur", file=out)
    assert events()[-1] == {"level": "notice", "event": "printed", "stream": "stdout", "line": "four"}


def test_a_line_without_its_end_is_an_event_when_nothing_more_comes(events: Events) -> None:
    """Once, and of each stream."""
    print("begun", end="", file=LoggedStream("stdout", None))
    print("also begun", end="", file=LoggedStream("stderr", None))
    assert events() == []
    end_lines()
    end_lines()
    assert [(event["stream"], event["line"]) for event in events()] == [("stdout", "begun"), ("stderr", "also begun")]


def test_lines_of_threads_do_not_mix(events: Events) -> None:
    """Each has what it has begun for itself."""
    out = LoggedStream("stdout", None)
    out.write("mine ")
    thread = threading.Thread(target=lambda: (out.write("its own\n"), out.write("left")))
    thread.start()
    thread.join()
    out.write("alone\n")
    end_lines()
    assert lines(events) == ["its own", "mine alone"]


def test_a_line_has_the_conversation_in_which_it_was_printed(events: Events) -> None:
    """Its peer and its identifier."""
    token = current.set(SimpleNamespace(name="192.0.2.1:7", id="a-1"))
    print("hello", file=LoggedStream("stdout", None))
    current.reset(token)
    print("outside", file=LoggedStream("stdout", None))
    first, second = events()
    assert (first["peer"], first["id"], first["line"]) == ("192.0.2.1:7", "a-1", "hello")
    assert "peer" not in second and "id" not in second


def test_a_line_that_never_ends_takes_no_more_memory_than_is_logged(events: Events) -> None:
    """What is past the longest field of the log is let go of."""
    out = LoggedStream("stdout", None)
    for _ in range(1000):
        out.write("x" * 100)
    (kept,) = printed.unfinished.values()
    assert len(kept) == FIELD_MAX + 1


def test_a_reader_that_does_not_read_holds_up_nobody() -> None:
    """The lines that the log keeps are kept, and those past them are counted."""
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    before = log._sink, log._threshold, log._style
    sink = log.configure("text", log.INFO, write)
    out = LoggedStream("stdout", None)
    for number in range(QUEUE_LINES + 1000):
        print(number, file=out)
    assert len(sink.queue) == QUEUE_LINES
    assert 0 < sink.dropped < 1000
    log._sink, log._threshold, log._style = before
    for fd in (read, write, sink._fd):
        os.close(fd)


def test_what_is_not_text_is_refused_as_by_any_text_stream() -> None:
    """The mistake is the handler's."""
    with pytest.raises(TypeError, match="must be str, not bytes"):
        LoggedStream("stdout", None).write(b"bytes")  # type: ignore[arg-type]


def test_bytes_go_to_the_original() -> None:
    """By ``buffer``; ``flush`` is the original's, and calls nothing that is written in Python."""
    original = io.TextIOWrapper(io.BytesIO(), "utf-8")
    out = LoggedStream("stdout", original)
    out.buffer.write(b"\0\xff")
    out.flush()
    assert original.buffer.getvalue() == b"\0\xff"  # type: ignore[attr-defined]
    calls: list[str] = []
    sys.setprofile(lambda frame, event, argument: calls.append(event))
    out.flush()
    sys.setprofile(None)
    assert "call" not in calls


def test_a_program_may_ask_for_another_encoding() -> None:
    """As many do at their start; there is nothing to be done for it."""
    out = LoggedStream("stdout", sys.__stdout__)
    out.reconfigure(encoding="utf-8", errors="replace", line_buffering=True)  # type: ignore[no-untyped-call,unused-ignore]
    assert (out.encoding, out.writable(), out.isatty(), out.fileno()) == ("utf-8", True, False, 1)
