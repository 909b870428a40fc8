"""Restart policy: when a worker that died is replaced, and when the supervisor gives up.

A worker that dies is replaced at once, and so are the next few in its place. After more of them in a row died young,
each replacement waits, twice as long as the one before, up to a second (promise P16; gunicorn #2504).
"""

from __future__ import annotations

from time import monotonic

# A worker that lived longer did not die of the code that it loaded: the count of its slot starts again.
CRASH_WINDOW_SECONDS = 10.0
IMMEDIATE_RESTARTS = 5
SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 1.0
# How long starts are tried while no worker serves.
TRY_SECONDS = 10.0


def failures_after_death(failures: int, age: float) -> int:
    """Return how many workers of a slot died young in a row, when one more died that was `age` seconds old."""
    return failures + 1 if age < CRASH_WINDOW_SECONDS else 1


def pause(failures: int) -> float:
    """Return how many seconds to wait before a slot with so many `failures` in a row gets its next worker."""
    if failures <= IMMEDIATE_RESTARTS:
        return 0.0
    doublings = min(failures - IMMEDIATE_RESTARTS - 1, 10)  # a float has no place for a thousand of them
    return min(LONGEST_PAUSE_SECONDS, SHORTEST_PAUSE_SECONDS * 2.0**doublings)


class StartLimit:
    """The limit of starts that fail in a row, in any slot (``--start-limit``), and a time for which they are tried.

    The time is there because files that are being replaced, and a shortage of processes, are over in seconds, and the
    first few starts take no more than tenths of one.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._failures, self._first_failure_at = 0, 0.0

    def record_ready(self) -> None:
        """Start counting again: a worker became ready."""
        self._failures = 0

    def record_failure(self) -> None:
        """Count a worker that never became ready."""
        if not self._failures:
            self._first_failure_at = monotonic()
        self._failures += 1

    @property
    def is_reached(self) -> bool:
        """Whether as many starts in a row as are allowed have failed, for as long as they are tried: a crash loop."""
        return self._failures >= self._limit and monotonic() - self._first_failure_at >= TRY_SECONDS
