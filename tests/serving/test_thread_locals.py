"""Thread locals: that they were used is known of the thread that did, whatever class they are of."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from srvctl.serving.thread_locals import TrackedLocal, has_locals


class WithConstructor(TrackedLocal):
    def __init__(self, value: int) -> None:
        self.value = value


class Plain(TrackedLocal):
    pass


def in_a_thread(work: Callable[[], object]) -> tuple[bool, bool]:
    """Return whether a thread has locals after `work`, asked twice."""
    found: list[bool] = []

    def run() -> None:
        has_locals()  # the number may have been another thread's
        work()
        found.extend((has_locals(), has_locals()))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0], found[1]


@pytest.mark.parametrize("local", [TrackedLocal(), Plain(), WithConstructor(1)], ids=lambda local: type(local).__name__)
def test_a_local_that_is_used_is_noted_once(local: TrackedLocal) -> None:
    """For the thread that used it."""
    assert in_a_thread(lambda: setattr(local, "user", "alice")) == (True, False)
    assert in_a_thread(lambda: getattr(local, "user", None)) == (True, False)
    assert in_a_thread(lambda: None) == (False, False)


def test_a_local_is_one_as_ever() -> None:
    """Each thread has its own attributes, and the constructor's arguments."""
    local = WithConstructor(5)
    local.value = 6
    seen: list[int] = []
    in_a_thread(lambda: seen.append(local.value))
    assert (seen, local.value, isinstance(local, threading.local)) == ([5], 6, True)
