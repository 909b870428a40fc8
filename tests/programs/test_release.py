"""When a connection is released that its program has closed."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from srvctl.programs import release
from srvctl.programs.release import ReleaseCheck
from tests.serving.running import Clock, FakeLoop


class FakeConversation:
    """A conversation with a program, of which the check asks for little."""

    def __init__(self, clock: Clock, connection: socket.socket | None) -> None:
        self._clock, self.began = clock, clock.now
        self.connection = connection
        self.is_remembered = False

    @property
    def age(self) -> float:
        return self._clock.now - self.began

    def remember_connection(self) -> None:
        self.is_remembered = True


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A check with conversations of pids 1, 2, ...; `held` are those that have the connection, `looks` each look."""
    clock = Clock()
    monkeypatch.setattr(release, "monotonic", clock)
    made = SimpleNamespace(clock=clock, loop=FakeLoop(clock), running={}, held=set(), looks=[], released=[])
    monkeypatch.setattr(release, "has_open", lambda pid, inode: made.looks.append(pid) or pid in made.held)
    made.orphans = SimpleNamespace(have_open=lambda fd: False)
    made.check = ReleaseCheck(lambda: made.running, made.orphans, made.released.append)
    connections = []

    def add(pid: int) -> FakeConversation:
        connections.append(socket.socket())
        made.running[pid] = FakeConversation(clock, connections[-1])
        made.held.add(pid)
        return made.running[pid]

    made.add = add
    yield made
    for connection in connections:
        connection.close()


def test_a_connection_is_released_when_its_program_has_closed_it(check: Any) -> None:
    """Seen twice, half a second later; what is known of it is noted before."""
    first, second = check.add(1), check.add(2)
    check.check.arm(check.loop)
    check.loop.pass_(1)
    assert check.released == []
    check.held.discard(2)
    check.loop.pass_(release._SOON_SECONDS)
    assert check.released == []
    check.loop.pass_(release._SOON_SECONDS)
    assert check.released == [second]
    assert (first.is_remembered, second.is_remembered) == (False, True)


def test_one_that_was_seen_in_between_is_kept(check: Any) -> None:
    """A descendant may have been made while others were looked at."""
    check.add(1)
    check.check.arm(check.loop)
    for _ in range(5):
        check.held.symmetric_difference_update({1})
        check.loop.pass_(release._SOON_SECONDS)
    assert check.released == []


def test_an_orphan_that_has_it_keeps_it(check: Any) -> None:
    """It was the program's descendant."""
    check.add(1)
    check.held.clear()
    check.orphans.have_open = lambda fd: True
    check.check.arm(check.loop)
    check.loop.pass_(10)
    assert check.released == []


def test_a_datagram_and_what_is_released_are_not_looked_at(check: Any) -> None:
    """There is nothing to close."""
    check.add(1).connection = None
    check.add(2).connection.close()
    check.check.arm(check.loop)
    check.loop.pass_(10)
    assert (check.looks, check.released) == ([], [])


def test_programs_that_run_for_long_are_looked_at_less_often(check: Any) -> None:
    """And when none runs, not at all."""
    check.add(1)
    check.check.arm(check.loop)
    check.loop.pass_(100)
    assert len(check.looks) <= release._YOUNG_SECONDS / release._SOON_SECONDS + 100 / release._LATER_SECONDS
    check.running.clear()
    check.loop.pass_(10)
    assert not check.check.is_armed
    assert not check.loop.timers


def test_of_many_programs_some_are_looked_at_in_each_turn(check: Any) -> None:
    """All of them in the end, each as often as the others."""
    for pid in range(1, 2 * release._BATCH + 2):
        check.add(pid)
    check.check.arm(check.loop)
    check.loop.pass_(release._SOON_SECONDS)
    assert len(check.looks) == release._BATCH
    check.loop.pass_(2 * release._SOON_SECONDS)
    assert sorted(check.looks) == sorted(check.running)
