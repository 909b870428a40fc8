"""When a worker that died is replaced, and when the supervisor gives up."""

from __future__ import annotations

from srvctl.supervisor.restart_policy import (
    CRASH_WINDOW_SECONDS,
    IMMEDIATE_RESTARTS,
    LONGEST_PAUSE_SECONDS,
    TRY_SECONDS,
    StartLimit,
    failures_after_death,
    pause,
)
from tests.serving.running import Clock


def test_the_first_replacements_come_at_once_and_then_pauses_double() -> None:
    """Up to the longest pause."""
    assert {pause(failures) for failures in range(IMMEDIATE_RESTARTS + 1)} == {0.0}
    pauses = [pause(IMMEDIATE_RESTARTS + n) for n in range(1, 6)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, LONGEST_PAUSE_SECONDS]
    assert pause(10_000) == LONGEST_PAUSE_SECONDS


def test_only_workers_that_died_young_are_counted() -> None:
    """One that lived for long starts the count again."""
    assert failures_after_death(4, CRASH_WINDOW_SECONDS - 0.1) == 5
    assert failures_after_death(4, CRASH_WINDOW_SECONDS) == 1


def test_the_start_limit_is_of_failures_in_a_row(clock: Clock) -> None:
    """A worker that becomes ready in between starts the count again, and the time."""
    limit = StartLimit(2)
    limit.record_failure()
    clock.now += TRY_SECONDS
    limit.record_ready()
    limit.record_failure()
    limit.record_failure()
    clock.now += TRY_SECONDS - 0.1
    assert not limit.is_reached
    clock.now += 0.1
    assert limit.is_reached


def test_a_few_failures_in_a_long_time_are_not_the_limit(clock: Clock) -> None:
    """Both must have been reached: the number, and the time."""
    limit = StartLimit(2)
    limit.record_failure()
    clock.now += 10 * TRY_SECONDS
    assert not limit.is_reached
