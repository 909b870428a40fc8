"""Deadlines of others: missed when they were late, and not when this process was away."""

from __future__ import annotations

from srvctl.supervisor import deadline
from srvctl.supervisor.deadline import AWAY_SECONDS, SECOND_LOOK_SECONDS
from tests.serving.running import Clock, FakeLoop


def test_a_deadline_is_a_time(loop: FakeLoop, clock: Clock) -> None:
    """The call comes then."""
    calls: list[float] = []
    deadline.call_at(loop, clock.now + 5, lambda: calls.append(clock.now))  # type: ignore[arg-type]
    loop.pass_(4.9)
    assert calls == []
    loop.pass_(0.2)
    assert calls == [1005.0]


def test_one_that_is_cancelled_never_comes(loop: FakeLoop, clock: Clock) -> None:
    """Neither in time, nor at the second look."""
    calls: list[int] = []
    timer = deadline.call_at(loop, clock.now + 5, lambda: calls.append(1))  # type: ignore[arg-type]
    clock.now += 100
    loop.pass_(0)
    timer.cancel()
    loop.pass_(100)
    assert calls == []


def test_after_an_absence_there_is_a_second_look(loop: FakeLoop, clock: Clock) -> None:
    """What has come meanwhile is read before anybody is called late; there is no third one."""
    calls: list[int] = []
    deadline.call_at(loop, clock.now + 5, lambda: calls.append(1))  # type: ignore[arg-type]
    clock.now += 5 + AWAY_SECONDS + 0.1  # the process was stopped
    loop.pass_(0)
    assert calls == []
    loop.pass_(SECOND_LOOK_SECONDS - 0.1)
    assert calls == []
    clock.now += 60
    loop.pass_(0)
    assert calls == [1]
