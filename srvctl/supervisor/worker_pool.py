"""Which workers there are, and which there should be: slots, each with a worker, and at times with its successor.

A change of workers is one thing, whatever it is for (the start, a reload, a worker that died or grew old): successors
are started, all of them must say ready, then they serve beside the ones they are to replace for `PROBATION_SECONDS`,
and only when they have lived through that do those retire. Until then nothing is lost by giving the change up. It is
over when the old ones have said that they take no more requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any, Protocol

from srvctl.runtime import log
from srvctl.runtime.channel import ChannelClosed
from srvctl.runtime.loop import Loop, Timer
from srvctl.supervisor.worker_process import WorkerProcess

# How long behind its own deadline a worker may be before it is killed: promise P11 allows 0.5 s.
PATIENCE_SECONDS = 0.45
# New code that loads and dies with its first request is found while the old one still serves.
PROBATION_SECONDS = 0.5
# An old worker that is held up by its handler, or that an older srvctl started, does not say that it takes no more.
LEAVING_SECONDS = 1.0
# A worker that dies is replaced at once, and so are those after it in its place; when so many in a row did not live
# for so long, the next one waits, and each one after that twice as long (promise P16; gunicorn #2504).
YOUNG_SECONDS, FREE_FAILURES = 10.0, 5
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 1.0
# A worker that serves, and whose successor failed, is in no hurry.
RENEWAL_PAUSE_SECONDS = 10.0


class Events(Protocol):
    """What a roster tells whoever runs it."""

    def on_serving(self, said: dict[str, Any]) -> None:
        """The first workers are ready and serve; `said` is what one of them said of itself."""

    def on_first_failure(self, worker: WorkerProcess | None, how: str) -> None:
        """One of the first workers never became ready."""

    def on_reloaded(self, why_not: str) -> None:
        """A reload is over: the workers are new ones, or, with a reason, the old ones go on."""

    def on_death(self, worker: WorkerProcess, how: str) -> bool:
        """A worker that served has died; return whether to replace it."""

    def on_hopeless(self, how: str) -> None:
        """Nobody serves, and as many tries in a row as are allowed have failed, the last one for the reason `how`."""

    def on_drained(self, worker: WorkerProcess) -> None:
        """A worker that was told to stop has ended."""

    def on_empty(self) -> None:
        """The last worker of a drain is gone."""

    def on_message(self, worker: WorkerProcess, word: str) -> None:
        """A worker has said something, which it has noted on itself."""


class Slot:
    """A place for a worker. `failures` counts those in a row that died young in it, or never became ready."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.worker: WorkerProcess | None = None
        self.successor: WorkerProcess | None = None
        self.failures = 0
        self.retry: Timer | None = None


class Rollout:
    """A change of workers that is under way: the slots whose successors have been started, and how far they are."""

    def __init__(self, slots: list[Slot], is_reload: bool) -> None:
        self.slots = slots
        self.is_reload = is_reload
        self.probation: Timer | None = None
        self.leaving: set[WorkerProcess] = set()  # old ones that have been told to stop, and may take a request still
        self.end: Timer | None = None  # when they are not waited for any longer

    @property
    def successors(self) -> list[WorkerProcess]:
        return [slot.successor for slot in self.slots if slot.successor]

    @property
    def is_ready(self) -> bool:
        return all(slot.successor and slot.successor.ready for slot in self.slots)


class WorkerPool:
    """Start, replace and retire workers. Owns all of them; `events` is told what came of it.

    `start` makes a worker that is to take a share of the whole: the index of its slot, and how many slots there are.
    `graceful`, in seconds, is how long a worker that retires may take, `patience` how late it may be with that, and
    `start_limit` how many tries in a row may fail.
    """

    def __init__(
        self,
        loop: Loop,
        start: Callable[[int, int], WorkerProcess],
        graceful: float,
        start_limit: int,
        events: Events,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._loop, self._start, self._events = loop, start, events
        self._graceful, self._start_limit, self._patience = graceful, start_limit, patience
        self.slots: list[Slot] = []
        self.retiring: set[WorkerProcess] = set()
        self.restarts = 0
        self._rollout: Rollout | None = None
        self._reload_again = False
        self._tired: list[tuple[WorkerProcess, str]] = []
        self._failed_starts = 0  # in a row, of any slot
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

    # --- what can be asked for

    def fill(self, count: int) -> None:
        """Start the first `count` workers."""
        self.slots = [Slot(index) for index in range(count)]
        self._begin(self.slots, is_reload=False)

    def adopt(self, roster: dict[str, Any]) -> None:
        """Take over the workers of the program before this one, which serve; a reload comes next."""
        self._is_serving = True
        self.restarts = roster["restarts"]
        for state in roster["workers"]:
            worker = WorkerProcess.adopt(state)
            self._attend(worker)
            if state["is_retiring"]:
                self._await_end(worker)
            else:
                slot = Slot(len(self.slots))
                slot.worker = worker
                self.slots.append(slot)
        while len(self.slots) < roster["count"]:  # one had just died
            self.slots.append(Slot(len(self.slots)))

    def hand_over(self) -> dict[str, Any]:
        """Return what `adopt` needs in the program that takes this one's place."""
        workers = [
            worker.hand_over() | {"is_retiring": worker in self.retiring} for worker in self if worker.is_serving
        ]
        return {"workers": workers, "count": len(self.slots), "restarts": self.restarts}

    @property
    def is_changing(self) -> bool:
        """Whether workers are being replaced at the moment."""
        return self._rollout is not None

    @property
    def will_reload(self) -> bool:
        """Whether another reload was asked for during the one that is under way."""
        return self._reload_again

    def reload(self) -> bool:
        """Replace every worker by one that loads the code as it is now; return false when that will happen later."""
        if self._rollout:
            self._reload_again = True
            return False
        for slot in self.slots:
            self._cancel_retry(slot)
        self._begin(self.slots, is_reload=True)
        return True

    def add(self) -> None:
        """Have one worker more."""
        slot = Slot(len(self.slots))
        self.slots.append(slot)
        self._begin_or_retry([slot])
        self._share_out()

    def remove(self) -> bool:
        """Have one worker less; return false when there is only one."""
        if len(self.slots) == 1 or self._rollout:
            return False
        slot = self.slots.pop()
        self._cancel_retry(slot)
        if slot.worker:
            self._retire(slot.worker)
        self._share_out()
        return True

    def renew(self, worker: WorkerProcess, why: str) -> None:
        """Replace a worker that still serves; its successor is ready before it retires. One at a time."""
        if self._is_draining:
            return
        if self._rollout:  # it may be a successor on probation, which asks only once
            self._tired.append((worker, why))
            return
        if worker not in self.serving:
            return
        log.worker_renewed(worker.pid, why)
        self._begin([slot for slot in self.slots if slot.worker is worker], is_reload=False)

    def _renew_later(self, worker: WorkerProcess, how: str) -> None:
        log.renewal_failed(worker.pid, how, RENEWAL_PAUSE_SECONDS)
        self._loop.call_at(
            monotonic() + RENEWAL_PAUSE_SECONDS, lambda: self.renew(worker, "its successor failed the last time")
        )

    def drain(self) -> None:
        """Have every worker stop in order, with the queue; those that serve nobody yet just end."""
        self._is_draining = True
        if self._rollout and self._rollout.probation:
            self._rollout.probation.cancel()
        for slot in self.slots:
            self._cancel_retry(slot)
        for worker in list(self):
            if worker.is_serving:
                worker.channel.send("drain", seconds=self._graceful, keep_queue=worker in self.retiring)
            else:
                worker.kill()
        if not list(self):
            self._events.on_empty()

    def kill_all(self) -> None:
        """End every worker, now; wait for them."""
        for worker in list(self):
            worker.kill()
            worker.reap()
            worker.close()

    # --- a change

    def _begin_or_retry(self, slots: list[Slot]) -> None:
        if self._rollout:  # its turn comes when that is over
            for slot in slots:
                slot.retry = self._loop.call_at(monotonic() + PROBATION_SECONDS, lambda: self._begin_or_retry(slots))
        elif not self._is_draining:
            self._begin(slots, is_reload=False)

    def _begin(self, slots: list[Slot], is_reload: bool) -> None:
        self._rollout = Rollout(list(slots), is_reload)
        for slot in slots:
            slot.retry = None
            try:
                slot.successor = self._start(slot.index, len(self.slots))
            except OSError as error:
                self._give_up(slot, None, f"cannot start a worker: {error.strerror}")
                return
            self._attend(slot.successor)

    def _attend(self, worker: WorkerProcess) -> None:
        self._loop.watch(worker.pidfd, lambda events: self._on_exit(worker))
        self._loop.watch(worker.channel.fileno(), lambda events: self._listen_to(worker))

    def _listen_to(self, worker: WorkerProcess) -> None:
        try:
            for word, values in worker.channel.pending():
                if word == "ready":
                    self._on_ready(worker, values)
                elif word == "draining":
                    self._on_left(worker)
                else:
                    worker.note(word, values)
                    self._events.on_message(worker, word)
        except ChannelClosed:
            self._loop.unwatch(worker.channel.fileno())  # its exit comes next

    def _on_ready(self, worker: WorkerProcess, values: dict[str, Any]) -> None:
        worker.ready = values
        if worker.start_timer:  # an idle server is not to wake for nothing
            worker.start_timer.cancel()
        self._failed_starts = 0
        log.worker_ready(worker.pid, worker.age)
        change = self._rollout
        if change is None or not change.is_ready:
            return
        for successor in change.successors:
            successor.serve()
        if not self._is_serving:
            self._is_serving = True
            self._events.on_serving(values)
        if any(slot.worker for slot in change.slots):
            change.probation = self._loop.call_at(monotonic() + PROBATION_SECONDS, self._complete)
        else:
            self._complete()

    def _complete(self) -> None:
        """The successors have proved themselves: they are the workers now, and the old ones retire."""
        change = self._rollout
        assert change is not None
        for slot in change.slots:
            old, slot.worker, slot.successor = slot.worker, slot.successor, None
            self._cancel_retry(slot)  # the old one died meanwhile, and this is who takes its place
            if old:
                self._retire(old)
                change.leaving.add(old)
        if change.leaving:
            change.end = self._loop.call_at(monotonic() + LEAVING_SECONDS, self._end_change)
        else:
            self._end_change()

    def _on_left(self, worker: WorkerProcess) -> None:
        """A worker takes no more requests, or is gone."""
        if (change := self._rollout) and worker in change.leaving:
            change.leaving.discard(worker)
            if not change.leaving:
                self._end_change()

    def _end_change(self) -> None:
        change, self._rollout = self._rollout, None
        assert change is not None
        if change.end:
            change.end.cancel()
        if change.is_reload and not self._is_draining:
            self._events.on_reloaded("")
        self._after_change()

    def _after_change(self) -> None:
        if self._is_draining:
            return
        if self._reload_again:
            self._reload_again = False
            self.reload()
        while self._tired and not self._rollout:
            self.renew(*self._tired.pop(0))

    def _retire(self, worker: WorkerProcess) -> None:
        worker.channel.send("drain", seconds=self._graceful, keep_queue=True)
        self._await_end(worker)

    def _await_end(self, worker: WorkerProcess) -> None:
        self.retiring.add(worker)
        self._loop.call_at(monotonic() + self._graceful + self._patience, lambda: self._kill_late(worker))

    def _kill_late(self, worker: WorkerProcess) -> None:
        if worker in self.retiring:
            log.worker_killed(worker.pid, "it did not stop by its deadline")
            worker.kill()

    # --- the end of a worker

    def _on_exit(self, worker: WorkerProcess) -> None:
        self._listen_to(worker)
        self._loop.unwatch(worker.pidfd)
        self._loop.unwatch(worker.channel.fileno())
        if stacks := worker.take_stacks():  # it was killed before anybody read them
            log.worker_stacks(worker.pid, stacks)
        how = worker.bury()
        self._on_left(worker)
        if worker in self.retiring:
            self.retiring.discard(worker)
            self._events.on_drained(worker)
        elif slot := next((slot for slot in self.slots if slot.successor is worker), None):
            slot.successor = None
            self._give_up(slot, worker, how)
        elif slot := next((slot for slot in self.slots if slot.worker is worker), None):
            slot.worker = None
            self._on_death(slot, worker, how)
        if self._is_draining and not list(self):
            self._events.on_empty()

    def _on_death(self, slot: Slot, worker: WorkerProcess, how: str) -> None:
        """A worker that served is gone: its place is taken at once, or after a pause when it had died young before."""
        if self._is_draining:
            self._events.on_drained(worker)
            return
        if self._events.on_death(worker, how):
            slot.failures = slot.failures + 1 if worker.age < YOUNG_SECONDS else 1
            self._refill(slot, worker.pid, how)

    def _give_up(self, slot: Slot, worker: WorkerProcess | None, how: str) -> None:
        """A successor failed: end the others of the same change, and leave everything as it was."""
        change, self._rollout = self._rollout, None
        if self._is_draining or change is None:
            return
        if change.probation:
            change.probation.cancel()
        for other in change.slots:
            if successor := other.successor:
                other.successor = None
                if successor.is_serving:
                    self._retire(successor)
                else:
                    self.retiring.add(successor)
                    successor.kill()
        if not self._is_serving:
            self._events.on_first_failure(worker, how)
            return
        self._failed_starts += worker is None or not worker.ready
        if change.is_reload:
            self._events.on_reloaded(how)
        for slot_of_old in change.slots:
            if (old := slot_of_old.worker) and not change.is_reload:
                self._renew_later(old, how)
        if self._failed_starts >= self._start_limit and not self.serving:
            self._events.on_hopeless(how)
            return
        for empty in [other for other in self.slots if other.worker is None and not other.retry]:
            empty.failures += 1
            self._refill(empty, worker.pid if worker else 0, how)
        self._after_change()

    def _refill(self, slot: Slot, pid: int, how: str) -> None:
        pause = 0.0
        if slot.failures > FREE_FAILURES:
            doublings = slot.failures - FREE_FAILURES - 1
            pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0**doublings)
        self.restarts += 1
        log.worker_died(pid, how, pause)
        slot.retry = self._loop.call_at(monotonic() + pause, lambda: self._begin_or_retry([slot]))

    def _cancel_retry(self, slot: Slot) -> None:
        if slot.retry:
            slot.retry.cancel()
            slot.retry = None

    def _share_out(self) -> None:
        for slot in self.slots:
            for worker in (slot.worker, slot.successor):
                if worker:
                    worker.channel.send("share", index=slot.index, count=len(self.slots))
