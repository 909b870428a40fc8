"""`LeaderFollowers`: the threads of a pool accept by themselves, and each serves what it accepted (POSA2).

The thread that accepts a connection also serves it, because a hand-over to another thread is
two switches and a fight for the interpreter's lock: on two cores, with 50 connections at a time and one for each
request, the standard library's thread for each answers 3,000 a second, threads that accept for themselves 13,000, and
a server in C 24,000 (README, "Measured").

How many wait for requests at the same time matters as much: each one more that runs wants the interpreter's lock
whenever another has just let go of it for a system call. With 50 clients, one answers 9,500 a second, since it waits
for what each of them sends next, two 14,700, and four 16,000. So a few are *active*; those that a
conversation keeps for longer than a moment are *blocked* and do not count as active any more: another takes their
place. Nobody is told when a thread blocks, so somebody has to look, and only while all active ones are busy.
"""

from __future__ import annotations

import _contextvars
import _thread
from _thread import get_ident
from time import monotonic

from srvctl.runtime.loop import Timer
from srvctl.serving.accept_gate import AcceptGate, PoolThread
from srvctl.serving.acceptor import PauseReason
from srvctl.serving.executor import Executor
from srvctl.serving.single_thread_trial import SingleThreadTrial
from srvctl.serving.thread_locals import has_locals, threads_with_locals
from srvctl.socketserver.accept_errors import PAUSE_SECONDS, RequestDeferred
from srvctl.socketserver.threads import ThreadPool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from srvctl.runtime.loop import Loop
    from srvctl.serving.acceptor import Acceptor
    from srvctl.serving.closing import Closing
    from srvctl.serving.conversation import Conversation
    from srvctl.serving.handling import Handling

# Each conversation has its own context variables, as if it had a thread of its own.
_Context = _contextvars.Context

# Enough that one accepts while others wait in the kernel for bytes that are on their way, and few enough for the lock.
ACTIVE_THREADS = 4
# Threads that stay behind for the next request. More than that were a burst, and their stacks are worth more.
SPARE_THREADS = 16
# A thread that accepted nothing between two checks is blocked. The first check is soon, since a client may be waiting;
# while all of them get on, checking less often loses nothing.
SOONEST_CHECK, LATEST_CHECK = 0.001, 0.016
_GROWTH_LIMIT = 64


class LeaderFollowers(Executor):
    """Serve in the threads of a pool, `limit` at most; a few of them wait for something to accept.

    With `refuses` there is one thread more, which tells clients that there is no room. One thread alone accepts where
    that is faster (`srvctl.serving.single_thread_trial`).
    """

    def __init__(self, handling: Handling, closing: Closing, limit: int, refuses: bool) -> None:
        super().__init__(handling, closing, limit)
        self._refuses = refuses
        self._thread_limit = limit + refuses
        self._pool = ThreadPool(min(limit, SPARE_THREADS), daemon=True)
        self._lock = _thread.allocate_lock()
        self._running = 0
        self._gate: AcceptGate | None = None
        self._active: tuple[PoolThread, ...] = ()  # replaced and never changed: it is read without the lock
        self._is_checking = False
        self._check_seconds = SOONEST_CHECK
        self._check_timer: Timer | None = None
        self._growth = 1  # how many threads the next check adds at most
        self._trial = SingleThreadTrial()
        self._loop_thread = 0

    # --- the loop's part

    def open(self, loop: Loop, acceptor: Acceptor) -> None:
        super().open(loop, acceptor)
        self._loop_thread = get_ident()
        acceptor.on_accepted = self._on_accepted

    def close(self) -> None:
        if self._gate:
            self._gate.pause()
        super().close()

    def wait(self) -> None:
        """Close the gate and end the threads, unless one still runs: then all are left to the process."""
        if self._running:
            return
        self._pool.join()
        if self._gate:
            self._gate.close()
            self._gate = None

    def watch(self, loop: Loop, fd: int, on_readable: Callable[[int], None]) -> None:
        if fd < 0:
            return
        if not self._gate:
            self._gate = AcceptGate(fd)
        self._gate.resume()
        self._mark_blocked()  # those that conversations kept meanwhile are no reason to grow by more than one
        self._adjust_size()

    def unwatch(self, loop: Loop, fd: int) -> None:
        if self._gate:
            self._gate.pause()

    def resize(self, limit: int) -> None:
        super().resize(limit)
        self._thread_limit = limit + self._refuses
        self._adjust_size()  # when it was full, nobody looked

    def is_full(self) -> bool:
        # While the gate is open, nobody accepts more than there are threads for.
        return not (self._gate and self._gate.is_open) and self._running >= self._thread_limit

    def is_idle(self) -> bool:
        return not self._running

    def is_elsewhere(self) -> bool:
        return self._gate is not None and get_ident() != self._loop_thread

    def _adjust_size(self) -> None:
        """See to it that somebody waits for requests, or that those who are busy get on."""
        self._is_checking = False
        if self._check_timer:
            self._check_timer.cancel()
        if not self._gate or not self._gate.is_open or self._loop is None:
            return
        if self._trial.active:
            self._trial.evaluate(len(self._active) == 1, self._acceptor.accepted, self._gate.wait_count)
        if self._has_idle() and not self._trial.active:
            self._growth = 1  # no burst, or not any more
            return
        self._is_checking = True
        blocked = self._mark_blocked()
        # Twice as many each time that some were blocked: conversations that last come in bursts.
        self._growth = min(self._growth * 2, _GROWTH_LIMIT) if blocked else 1
        grown = False
        try:
            for _ in range(self._growth):
                grown = self._grow() or grown
        except RequestDeferred as error:
            self._acceptor.log_not_started(error.__cause__ or error)
            delay = PAUSE_SECONDS
        else:
            if self._running >= self._thread_limit:  # nothing to be done before one of them ends, and that is told
                self._is_checking = False
                return
            delay = self._next_check(blocked or grown)
        self._check_timer = self._loop.call_at(monotonic() + delay, self._adjust_size)

    def _next_check(self, has_changed: bool) -> float:
        """Return in how many seconds to check again; begin a trial when all are busy for long and none is blocked."""
        self._check_seconds = SOONEST_CHECK if has_changed else min(self._check_seconds * 2, LATEST_CHECK)
        if self._check_seconds == LATEST_CHECK and self._trial.is_due() and self._gate:
            self._trial.start(self._acceptor.accepted, self._gate.wait_count)
            self._check_seconds = SOONEST_CHECK
        return self._check_seconds

    def _target_size(self) -> int:
        """Return how many threads may accept at the same time, besides those that are blocked."""
        return 1 if self._trial.active else ACTIVE_THREADS

    def _has_idle(self) -> bool:
        # any() would make a generator, for each request.
        return True in [thread.is_idle for thread in self._active]

    def _mark_blocked(self) -> bool:
        """Take those who accepted nothing since the last check out of the active ones; return whether any were."""
        with self._lock:
            blocked = [t for t in self._active if t.accepted == t.accepted_at_last_check and not t.is_idle]
            for thread in self._active:
                thread.accepted_at_last_check = thread.accepted
            for thread in blocked:
                thread.is_blocked = True
            if blocked:
                self._active = tuple(thread for thread in self._active if not thread.is_blocked)
        return bool(blocked)

    def _grow(self) -> bool:
        """Have one thread more accept, if there is room; return whether there was."""
        with self._lock:
            if len(self._active) >= max(self._target_size(), self._growth) or self._running >= self._thread_limit:
                return False
            thread = PoolThread()
            self._active += (thread,)
        try:
            self._submit(lambda: self._accept(thread), lambda: self._on_left(thread))
        except RequestDeferred:
            self._leave(thread)
            raise
        return True

    def _on_left(self, thread: PoolThread) -> None:
        """Called in the loop when a thread has left, and requests are held back or nobody waits for them."""
        self._adjust_size()
        if thread.has_served:
            self._acceptor.on_room()
        elif not self.is_full():  # it only sees that the gate is paused: no descriptor is free for that
            self._acceptor.resume(PauseReason.FULL)

    # --- a thread's part

    def _submit(self, job: Callable[[], None], on_end: Callable[[], None]) -> None:
        """Run `job` in a thread, counted; `on_end` is called in the loop when it ends and requests may wait for that.

        Raises `RequestDeferred`, and then nothing has changed.
        """
        with self._lock:  # counted before it starts: a thread may end before submit() returns
            self._running += 1
        try:
            self._pool.submit(lambda: self._run_job(job, on_end))
        except RequestDeferred:
            self._job_done()
            raise

    def _run_job(self, job: Callable[[], None], on_end: Callable[[], None]) -> None:
        try:
            job()
        finally:
            self._job_done()
            if (self._acceptor.is_paused or self._is_short()) and (loop := self._loop):
                loop.call_soon(on_end)

    def _job_done(self) -> None:
        with self._lock:
            self._running -= 1
        if self._closing.on_closed:
            self._closing.on_closed()

    def _is_short(self) -> bool:
        """Tell whether a request may wait for a thread, though accepting is not paused."""
        return self._gate is not None and self._gate.is_open and not self._is_checking and not self._has_idle()

    def _accept(self, thread: PoolThread) -> None:
        """Accept and serve, one after the other, until the gate is paused or others do so."""
        gate = self._gate
        assert gate is not None
        generation, accept_one = gate.generation, self._acceptor.accept_one
        try:
            while True:
                thread.is_idle = False  # before the gate is looked at: who paused it waits for those that are not idle
                if not gate.is_open or gate.generation != generation:
                    break
                thread.has_served = accept_one()
                if thread.has_served:
                    thread.accepted += 1
                    if threads_with_locals and has_locals():
                        self._pool.retire_current()
                        break
                    # A burst had more of them accept; when it is over, those that have served leave again.
                    most = 1 if self._trial.active else ACTIVE_THREADS if self._growth == 1 else _GROWTH_LIMIT
                    if (thread.is_blocked or len(self._active) > most) and not self._keep(thread):
                        break
                    continue
                thread.is_idle = True
                if gate.wait():
                    self._acceptor.source.drop_reported_errors()
        except OSError as error:  # the source cannot be used any more: for the caller of serve_forever
            gate.pause()
            if loop := self._loop:
                loop.call_soon(_raiser(error))
        finally:
            self._leave(thread)

    def _keep(self, thread: PoolThread) -> bool:
        """Tell whether a thread is to go on accepting, one that was blocked too: not when others do."""
        with self._lock:
            others = tuple(other for other in self._active if other is not thread)
            if len(others) >= self._target_size() or self._running > self._thread_limit:
                self._active = others
                return False
            thread.is_blocked = False
            self._active = (*others, thread)
            return True

    def _leave(self, thread: PoolThread) -> None:
        with self._lock:
            self._active = tuple(other for other in self._active if other is not thread)

    def _on_accepted(self) -> None:
        """Called with each request: there may be one more, for another thread."""
        if (gate := self._gate) is None:
            return
        if gate.is_spent:
            gate.rearm()
        if self._is_checking or self._running >= self._thread_limit:
            return
        # Written out, as `_has_idle` would be a call for each request.
        if True not in [thread.is_idle for thread in self._active] and (loop := self._loop):
            self._is_checking = True
            self._check_seconds = SOONEST_CHECK
            loop.call_soon(self._adjust_size)

    def run(self, conversation: Conversation) -> None:
        """Serve in the thread that accepted it; what the loop brings, such as what was pending, in one of its own."""
        if self._gate is None or get_ident() == self._loop_thread:
            self._submit(lambda: self._serve(conversation), self._acceptor.on_room)
            self._acceptor.pause_when_full()
        else:
            _Context().run(self._handling.run, conversation)
            self._closing.end(conversation)

    def _serve(self, conversation: Conversation) -> None:
        _Context().run(self._handling.run, conversation)
        self._closing.end(conversation)
        if threads_with_locals and has_locals():
            self._pool.retire_current()


def _raiser(error: BaseException) -> Callable[[], None]:
    def raise_it() -> None:
        raise error

    return raise_it
