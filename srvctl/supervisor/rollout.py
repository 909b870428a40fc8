"""Rollout: the replacement of the workers of some slots by successors, all of them or none.

Successors are started, and all must become ready. They serve beside the old workers for `PROBATION_SECONDS`, and share
``--max-connections`` with them until those have ended. Then the rollout is committed: the old workers retire, and it is
over when those have stopped accepting. Until it is committed it can be rolled back, and the old workers go on as if
nothing had happened.

A rollout is the one way in which workers begin to serve: at the start, in a reload, and when one died or is recycled.
"""

from __future__ import annotations

from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from srvctl.runtime.loop import Loop, Timer
    from srvctl.supervisor.retirement import Retirement
    from srvctl.supervisor.worker_process import WorkerProcess

    class RolloutOwner(Protocol):
        """The pool of a rollout, which retires old workers and is notified."""

        retiring: Retirement

        def share_limit(self) -> set[WorkerProcess]:
            """Have all workers count together; return those that have not answered yet."""

        def on_successors_serve(self, rollout: Rollout) -> None:
            """The successors have begun to serve."""

        def on_rollout_finished(self, rollout: Rollout) -> None:
            """The rollout is over: the successors are the workers of their slots."""


# New code that loads and dies with its first request is found while the old one still serves.
PROBATION_SECONDS = 0.5
# An old worker whose handler holds up its loop does not answer that it shares the limit, or has stopped accepting.
ANSWER_TIMEOUT_SECONDS = 1.0


class Slot:
    """A place for a worker. `failures` counts the workers in a row that died young in it, or never became ready."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.worker: WorkerProcess | None = None
        self.successor: WorkerProcess | None = None
        self.failures = 0
        self.retry: Timer | None = None

    def cancel_retry(self) -> None:
        """Forget that a worker was to be started here later."""
        if self.retry:
            self.retry.cancel()
            self.retry = None


class Rollout:
    """A rollout in progress."""

    def __init__(self, loop: Loop, slots: Sequence[Slot], is_reload: bool, owner: RolloutOwner) -> None:
        self._loop, self._owner = loop, owner
        self.slots, self.is_reload = list(slots), is_reload
        self._timer: Timer | None = None  # the end of the probation, then of the wait for old workers
        self._not_sharing: set[WorkerProcess] = set()  # that still count for themselves what they serve
        self._still_accepting: set[WorkerProcess] = set()  # old workers that retire

    @property
    def successors(self) -> list[WorkerProcess]:
        """The new workers, until they have replaced the old ones."""
        return [slot.successor for slot in self.slots if slot.successor]

    def start(self, spawn: Callable[[Slot], WorkerProcess]) -> None:
        """Start the successors. Raises OSError when `spawn` does; some may have been started then."""
        for slot in self.slots:
            slot.retry = None
            slot.successor = spawn(slot)

    def handle_ready(self) -> None:
        """Go on if the worker that has become ready was the last one to do so."""
        if not all(slot.successor and slot.successor.is_ready for slot in self.slots):
            return
        self._not_sharing = self._owner.share_limit()
        if self._not_sharing:
            self._timer = self._loop.call_at(monotonic() + ANSWER_TIMEOUT_SECONDS, self._serve)
        else:
            self._serve()

    def handle_sharing(self, worker: WorkerProcess) -> None:
        """Note that a worker counts together with all others what it serves, or has ended."""
        if worker in self._not_sharing:
            self._not_sharing.remove(worker)
            if not self._not_sharing:
                self._serve()

    def handle_exit(self, worker: WorkerProcess) -> None:
        """Note that a worker has ended: nothing more is expected of it."""
        self.handle_sharing(worker)
        self.handle_not_accepting(worker)

    def _serve(self) -> None:
        self.stop_timer()
        self._not_sharing.clear()
        for successor in self.successors:
            successor.serve()
        self._owner.on_successors_serve(self)
        if any(slot.worker for slot in self.slots):
            self._timer = self._loop.call_at(monotonic() + PROBATION_SECONDS, self._commit)
        else:
            self._commit()

    def _commit(self) -> None:
        for slot in self.slots:
            old, slot.worker, slot.successor = slot.worker, slot.successor, None
            slot.cancel_retry()  # the old worker died during the rollout, and has its replacement now
            if old:
                self._owner.retiring.retire(old)
                self._still_accepting.add(old)
        if self._still_accepting:
            self._timer = self._loop.call_at(monotonic() + ANSWER_TIMEOUT_SECONDS, self._finish)
        else:
            self._finish()

    def handle_not_accepting(self, worker: WorkerProcess) -> None:
        """Note that a worker has stopped accepting, or has ended."""
        if worker in self._still_accepting:
            self._still_accepting.remove(worker)
            if not self._still_accepting:
                self._finish()

    def _finish(self) -> None:
        self.stop_timer()
        self._owner.on_rollout_finished(self)

    def roll_back(self) -> list[WorkerProcess]:
        """Give the rollout up: retire the successors that serve; return the others, which are of no use."""
        self.stop_timer()
        successors = self.successors
        for slot in self.slots:
            slot.successor = None
        for successor in successors:
            if successor.is_in_service:
                self._owner.retiring.retire(successor)
        return [successor for successor in successors if not successor.is_in_service]

    def stop_timer(self) -> None:
        """Neither commit nor finish by time any more."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
