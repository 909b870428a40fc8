"""Worker pool: the workers of one listener, in slots, and how many there should be.

Workers begin to serve by a rollout, one at a time. A reload, and the replacement of workers that died or are to be
recycled, wait until it is over.
"""

from __future__ import annotations

from collections import deque
from time import monotonic

from srvctl.runtime import log
from srvctl.supervisor import handover, restart_policy
from srvctl.supervisor.limit_sharing import LimitSharing
from srvctl.supervisor.restart_policy import StartLimit
from srvctl.supervisor.retirement import Retirement
from srvctl.supervisor.rollout import PROBATION_SECONDS, Rollout, Slot
from srvctl.supervisor.stats import counters, total
from srvctl.supervisor.worker_process import WorkerProcess
from srvctl.worker.protocol import FromWorker, ToWorker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from srvctl.runtime.loop import Loop
    from srvctl.supervisor.events import PoolEvents

# How long after its own deadline a worker may end before it is killed: promise P11 allows 0.5 s.
KILL_GRACE_SECONDS = 0.45
# The next try to recycle a worker whose successor failed: it serves, so there is time.
RECYCLE_PAUSE_SECONDS = 10.0


class WorkerPool:
    """Start, replace and retire workers. Owns all of them; `events` is notified of what becomes of them.

    `start` makes a worker for a slot, by its index and the number of slots. Workers that retire may take
    `graceful_seconds`, and `grace_seconds` more before they are killed. `start_limit` starts in a row may fail.
    """

    def __init__(
        self,
        loop: Loop,
        start: Callable[[int, int], WorkerProcess],
        events: PoolEvents,
        graceful_seconds: float,
        grace_seconds: float,
        start_limit: int,
    ) -> None:
        self._loop, self._start, self._events = loop, start, events
        self._graceful_seconds = graceful_seconds
        self.slots: list[Slot] = []
        self.retiring = Retirement(loop, graceful_seconds, grace_seconds)
        self.restarts = 0
        self.limit = LimitSharing()
        self.past_counters: dict[str, int] = {}  # of workers that have ended
        self._rollout: Rollout | None = None
        self._reload_again = False
        self._recycle_queue: deque[tuple[WorkerProcess, str]] = deque()
        self._start_limit = StartLimit(start_limit)
        self._is_serving = self._is_draining = False

    def __iter__(self) -> Iterator[WorkerProcess]:
        """Yield every worker there is."""
        for slot in self.slots:
            yield from (worker for worker in (slot.worker, slot.successor) if worker)
        yield from self.retiring

    @property
    def serving(self) -> list[WorkerProcess]:
        """The workers that take requests."""
        return [slot.worker for slot in self.slots if slot.worker]

    def stats(self) -> dict[str, int]:
        """Return the sum of what the workers have reported, those that have ended included."""
        return total([self.past_counters, *(worker.stats for worker in self)])

    def share_limit(self) -> set[WorkerProcess]:
        return self.limit.begin(self)

    def _stop_sharing(self) -> None:
        if self._rollout is None and not [*self.retiring]:
            self.limit.end(self.serving)

    @property
    def is_in_rollout(self) -> bool:
        """Whether workers are being replaced at the moment."""
        return self._rollout is not None

    @property
    def will_reload(self) -> bool:
        """Whether another reload was asked for during the one that is under way."""
        return self._reload_again

    # --- what can be asked for

    def start(self, count: int) -> None:
        """Start the first `count` workers."""
        self.slots = [Slot(index) for index in range(count)]
        self._roll_out(self.slots)

    def adopt(self, handed_over: dict[str, Any]) -> None:
        """Take over the workers of the program before this one, which serve; a reload comes next."""
        self._is_serving = True
        handover.adopt(self, self._loop, handed_over)

    def hand_over(self) -> dict[str, Any]:
        """Return what `adopt` needs in the program that takes this one's place."""
        return handover.describe(self)

    def reload(self) -> bool:
        """Replace every worker by one that loads the code as it is now; return false when that will happen later."""
        if self._rollout:
            self._reload_again = True
            return False
        for slot in self.slots:
            slot.cancel_retry()
        self._roll_out(self.slots, is_reload=True)
        return True

    def add(self) -> None:
        """Start one more worker."""
        slot = Slot(len(self.slots))
        self.slots.append(slot)
        self._fill([slot])
        self.limit.redistribute(self.slots)

    def remove(self) -> bool:
        """Retire a worker; return false if it is the last one, or during a rollout."""
        if len(self.slots) == 1 or self._rollout:
            return False
        slot = self.slots.pop()
        slot.cancel_retry()
        if slot.worker:
            self.retiring.retire(slot.worker)
        self.limit.redistribute(self.slots)
        return True

    def recycle(self, worker: WorkerProcess, reason: str) -> None:
        """Replace a worker that still serves; its successor is ready before it retires. One at a time."""
        if self._is_draining:
            return
        if self._rollout:  # it may be a successor on probation, which asks only once
            self._recycle_queue.append((worker, reason))
            return
        if worker not in self.serving:
            return
        log.worker_renewed(worker.pid, reason)
        self._roll_out([slot for slot in self.slots if slot.worker is worker])

    def drain(self) -> None:
        """Have every worker stop in order, with the backlog; end those that do not serve yet."""
        self._is_draining = True
        if self._rollout:
            self._rollout.stop_timer()
        for slot in self.slots:
            slot.cancel_retry()
        for worker in list(self):
            if not worker.is_in_service:
                worker.dismiss()
            elif worker in self.retiring:  # it drains already, and to say so again would mean "now"
                worker.send(ToWorker.CLOSE_IDLE)
            else:
                worker.drain(self._graceful_seconds, keep_queue=False)
        if not list(self):
            self._events.on_all_exited()

    def kill_all(self) -> None:
        """End every worker, now; wait for them."""
        for worker in list(self):
            worker.end()

    # --- rollouts

    def _fill(self, slots: list[Slot]) -> None:
        """Start workers for empty slots; after the rollout that is under way, if there is one."""
        if self._rollout:
            for slot in slots:
                slot.retry = self._loop.call_at(monotonic() + PROBATION_SECONDS, lambda: self._fill(slots))
        elif not self._is_draining:
            self._roll_out(slots)

    def _roll_out(self, slots: list[Slot], is_reload: bool = False) -> None:
        self._rollout = Rollout(self._loop, slots, is_reload, self)
        try:
            self._rollout.start(self._start_worker)
        except OSError as error:
            self._roll_back(None, f"cannot start a worker: {error.strerror}")

    def _start_worker(self, slot: Slot) -> WorkerProcess:
        worker = self._start(slot.index, len(self.slots))
        worker.attach(self._loop, self)
        self._events.on_started(worker)
        return worker

    def on_successors_serve(self, rollout: Rollout) -> None:
        if not self._is_serving:
            self._is_serving = True
            self._events.on_serving(rollout.successors[0].info)

    def on_rollout_finished(self, rollout: Rollout) -> None:
        self._rollout = None
        if rollout.is_reload and not self._is_draining:
            self._events.on_reloaded("")
        self._stop_sharing()
        self._begin_next_rollout()

    def _roll_back(self, worker: WorkerProcess | None, reason: str) -> None:
        """Leave everything as it was before the rollout, in which `worker` failed, or one that could not be started."""
        rollout, self._rollout = self._rollout, None
        if self._is_draining or rollout is None:
            return
        for useless in rollout.roll_back():
            self.retiring.dismiss(useless)
        if not self._is_serving:
            self._events.on_first_failure(worker, reason)
            return
        if worker is None or not worker.is_ready:
            self._start_limit.record_failure()
        if rollout.is_reload:
            self._events.on_reloaded(reason)
        else:
            for old in [slot.worker for slot in rollout.slots if slot.worker]:
                self._recycle_later(old, reason)
        if self._start_limit.is_reached and not self.serving:
            self._events.on_crash_loop(reason)
            return
        for slot in [slot for slot in self.slots if slot.worker is None and not slot.retry]:
            slot.failures += 1
            self._restart(slot, worker.pid if worker else 0, reason)
        self._begin_next_rollout()

    def _begin_next_rollout(self) -> None:
        if self._is_draining:
            return
        if self._reload_again:
            self._reload_again = False
            self.reload()
        while self._recycle_queue and not self._rollout:
            self.recycle(*self._recycle_queue.popleft())

    def _recycle_later(self, worker: WorkerProcess, reason: str) -> None:
        log.renewal_failed(worker.pid, reason, RECYCLE_PAUSE_SECONDS)
        self._loop.call_at(
            monotonic() + RECYCLE_PAUSE_SECONDS, lambda: self.recycle(worker, "its successor failed the last time")
        )

    # --- the life of a worker

    def handle_message(self, worker: WorkerProcess, message: FromWorker) -> None:
        """Follow a message of one of the workers."""
        if message is FromWorker.READY:
            self._start_limit.record_ready()
            log.worker_ready(worker.pid, worker.age)
            if self._rollout:
                self._rollout.handle_ready()
        elif message is FromWorker.SHARING:
            if self._rollout:
                self._rollout.handle_sharing(worker)
        elif message is FromWorker.NOT_ACCEPTING:
            if self._rollout:
                self._rollout.handle_not_accepting(worker)
        else:
            self._events.on_message(worker, message)

    def handle_exit(self, worker: WorkerProcess, exit_reason: str) -> None:
        """Follow the end of one of the workers."""
        self.past_counters = total([self.past_counters, counters(worker.stats)])
        if self._rollout:
            self._rollout.handle_exit(worker)
        if worker in self.retiring:
            self.retiring.discard(worker)
            self._events.on_drained(worker)
            self._stop_sharing()
        for slot in self.slots:
            if slot.successor is worker:
                slot.successor = None
                self._roll_back(worker, exit_reason)
                break
            if slot.worker is worker:
                slot.worker = None
                self._handle_death(slot, worker, exit_reason)
                break
        if self._is_draining and not list(self):
            self._events.on_all_exited()

    def _handle_death(self, slot: Slot, worker: WorkerProcess, exit_reason: str) -> None:
        if self._is_draining:
            self._events.on_drained(worker)
        elif self._events.on_death(worker):
            slot.failures = restart_policy.failures_after_death(slot.failures, worker.age)
            self._restart(slot, worker.pid, exit_reason)

    def _restart(self, slot: Slot, pid: int, exit_reason: str) -> None:
        pause = restart_policy.pause(slot.failures)
        self.restarts += 1
        log.worker_died(pid, exit_reason, pause)
        slot.retry = self._loop.call_at(monotonic() + pause, lambda: self._fill([slot]))
