"""What a server counts: how its conversations ended, and the bytes that came and went."""

from __future__ import annotations

import _thread
from collections import deque

from srvctl.serving.conversation import LOST, RECEIVED, SENT, Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvctl.serving.conversation import Meter

# Which counter the end of a conversation is for.
_COUNTERS = {
    Outcome.DONE: "served",
    Outcome.EXITED: "served",
    Outcome.FAILED: "failed",
    Outcome.KILLED: "failed",
    Outcome.RESET: "reset",
    Outcome.REFUSED: "refused",
    Outcome.MAX_DURATION: "timed_out",
    Outcome.IDLE: "timed_out",
    Outcome.CUT: "cut",
}
# So many may wait to be counted: what is kept of each is some 200 bytes.
_BATCH = 64


class Counters:
    """Counters, for any thread and for signal handlers.

    The end of a conversation is only noted, and many are counted in one go: a lock and five numbers for each are 3,800
    of the 39,000 instructions that a datagram takes, this is 2,500 (valgrind, Python 3.11).
    """

    def __init__(self) -> None:
        names = ("served", "failed", "reset", "timed_out", "cut", "refused", "rejected", "truncated", "lost")
        self._counters = dict.fromkeys(names, 0)
        self._received = self._sent = self._ended = 0
        self._pending: deque[tuple[Outcome, Meter]] = deque()
        self._counting = _thread.RLock()  # a signal handler may end one conversation while its thread ends another

    def add(self, name: str, count: int = 1) -> None:
        """Count something that is not the end of a conversation."""
        with self._counting:
            self._counters[name] += count

    def record(self, outcome: Outcome, meter: Meter) -> None:
        """Note the end of a conversation. Its meter must not change from here on until `flush`."""
        self._pending.append((outcome, meter))
        if len(self._pending) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Count what was noted."""
        with self._counting:
            pending = [self._pending.popleft() for _ in range(len(self._pending))]
            outcomes, meters = [outcome for outcome, _ in pending], [meter for _, meter in pending]
            for outcome in set(outcomes):
                self._counters[_COUNTERS[outcome]] += outcomes.count(outcome)
            self._counters["lost"] += sum([meter[LOST] for meter in meters])
            self._received += sum([meter[RECEIVED] for meter in meters])
            self._sent += sum([meter[SENT] for meter in meters])
            self._ended += len(pending)

    @property
    def ended(self) -> int:
        """How many conversations have ended."""
        self.flush()
        return self._ended

    def figures(self) -> dict[str, int]:
        """Return everything that was counted, by name."""
        self.flush()
        return {"received": self._received, "sent": self._sent} | self._counters
