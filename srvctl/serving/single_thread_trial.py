"""Whether one thread alone takes requests faster than several: so it is when no request waits for anything.

Python runs one thread at a time, and each gives its turn away at every system call. Several that all have something to
do then spend it on handing the turn around: with four of them a server of datagrams answered 37,000 a second, with one
58,500 (two processors, the client on the same). With connections it is the other way round, 16,000 with four and 9,500
with one, because the thread that serves waits for what its peer sends next.
"""

from __future__ import annotations

from resource import RUSAGE_SELF, getrusage
from time import monotonic

# How often one is tried alone, in seconds, while all are busy.
TRIAL_INTERVAL = 1.0
# Below so many requests a second, threads are not in each other's way.
FEW_A_SECOND = 2000


class SingleThreadTrial:
    """What a trial of one thread found: `active` while one alone is to take requests.

    Each voluntary context switch, getrusage(2), is a wait: at the gate, or in a handler. With several threads it may be
    one for the interpreter's lock, so that only a trial can tell. For the thread that looks after the others.
    """

    def __init__(self) -> None:
        self.active = self._is_one = False
        self._next_trial = 0.0
        self._began, self._accepted, self._waits = 0.0, 0, 0

    def is_due(self) -> bool:
        """Return whether to begin a trial."""
        return not self.active and monotonic() >= self._next_trial

    def start(self, accepted: int, idle_waits: int) -> None:
        """Begin a trial, when so many requests have come, and threads have waited for one so many times."""
        self.active, self._is_one = True, False
        self._note(accepted, idle_waits)

    def evaluate(self, is_one: bool, accepted: int, idle_waits: int) -> None:
        """End it if every second request has waited since this was called last, or if there were only a few.

        Waits tell nothing of the time before the others had left and there `is_one`. That requests stop coming does:
        the others wait for one and do not leave, and nobody is to look after them for ever.
        """
        seconds, came, waits = monotonic() - self._began, accepted - self._accepted, self._waits
        was_one, self._is_one = self._is_one, is_one
        self._note(accepted, idle_waits)
        if came < seconds * FEW_A_SECOND or (was_one and 2 * (self._waits - waits) >= came):
            self.active = False
            self._next_trial = self._began + TRIAL_INTERVAL

    def _note(self, accepted: int, idle_waits: int) -> None:
        self._began, self._accepted = monotonic(), accepted
        self._waits = getrusage(RUSAGE_SELF).ru_nvcsw - idle_waits
