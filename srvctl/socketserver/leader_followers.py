"""`TakingMixIn`: the threads of a pool take requests by themselves, each serves what it took.

The thread that accepts a connection also serves it (leader and followers), because a hand-over to another thread is
two switches and a fight for the interpreter's lock: on two cores, with 50 connections at a time and one for each
request, the standard library's thread for each answers 3,000 a second, threads that accept for themselves 13,000, and
a server in C 24,000 (README, "Measured").

How many wait for requests at the same time matters as much: each one more that runs wants the interpreter's lock
whenever another has just let go of it for a system call. With 50 clients, one answers 9,500 a second, since it waits
for what each of them sends next, two 14,700, and four 16,000. So a few are *active*; those that a
conversation keeps for longer than a moment are *stuck* and do not count as active any more: another takes their
place. Nobody is told when a thread gets stuck, so somebody has to look, and only while all active ones are busy.
"""

from __future__ import annotations

from _thread import get_ident
from time import monotonic

from srvctl.runtime.loop import Loop, Timer
from srvctl.socketserver.accept_errors import PAUSE_SECONDS, RequestNotStarted
from srvctl.socketserver.accept_gate import Gate, Taker
from srvctl.socketserver.single_thread_trial import Alone
from srvctl.socketserver.threads import ThreadingMixIn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# Enough that one accepts while others wait in the kernel for bytes that are on their way, and few enough for the lock.
ACTIVE_THREADS = 4
# A thread that took nothing between two looks is stuck. The first look is soon, since a client may be waiting; while it
# shows that all of them get on, looking less often loses nothing.
SOONEST_LOOK, LATEST_LOOK = 0.001, 0.016
_MOST_AT_ONCE = 64


class TakingMixIn(ThreadingMixIn):
    """`ThreadingMixIn` for a server that runs in `serve_forever` and whose source has a descriptor that never blocks.

    ``active_threads`` is how many take requests at the same time, besides those that are kept by a conversation; one
    alone does where that is faster (`srvctl.socketserver.single_thread_trial`).
    """

    active_threads = ACTIVE_THREADS
    spare_threads = 16
    _gate: Gate | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._active: tuple[Taker, ...] = ()  # replaced and never changed: it is read without the lock
        self._is_looking = False
        self._look_seconds = SOONEST_LOOK
        self._look_timer: Timer | None = None
        self._step = 1  # how many threads the next look adds at most
        self._alone = Alone()
        super().__init__(*args, **kwargs)

    # --- the loop's part

    def _serve(self, loop: Loop, poll_interval: float) -> None:
        self._pool()
        try:
            super()._serve(loop, poll_interval)
        finally:
            if self._gate:
                self._gate.shut()

    def _watch_source(self, loop: Loop) -> None:
        if not self._gate:
            self._gate = Gate(self._fileno())
        self._gate.open()
        self._set_stuck_aside()  # those that conversations kept meanwhile are no reason to grow by more than one
        self._look_after()

    def _unwatch_source(self, loop: Loop) -> None:
        if self._gate:
            self._gate.shut()

    def _is_full(self) -> bool:
        # While the gate is open, nobody takes more than there are threads for.
        return not (self._gate and self._gate.is_open) and super()._is_full()

    def _look_after(self) -> None:
        """See to it that somebody waits for requests, or that those who are busy get on."""
        self._is_looking = False
        if self._look_timer:
            self._look_timer.cancel()
        if not self._gate or not self._gate.is_open or self._loop is None:
            return
        if self._alone.is_on:
            self._alone.judge(len(self._active) == 1, self._taken, self._gate.waits)
        if self._has_idle() and not self._alone.is_on:
            return
        self._is_looking = True
        stuck = self._set_stuck_aside()
        # Twice as many each time that some got stuck: conversations that last come in bursts.
        self._step = min(self._step * 2, _MOST_AT_ONCE) if stuck else 1
        grown = False
        try:
            for _ in range(self._step):
                grown = self._grow() or grown
        except RequestNotStarted as error:
            suppressed = self._start_throttle.admit()
            if suppressed >= 0:
                self.start_failed(error.__cause__ or error, suppressed, PAUSE_SECONDS)
            delay = PAUSE_SECONDS
        else:
            if self._running >= self.max_threads:  # nothing to be done before one of them ends, and that is told
                self._is_looking = False
                return
            self._look_seconds = SOONEST_LOOK if stuck or grown else min(self._look_seconds * 2, LATEST_LOOK)
            if self._look_seconds == LATEST_LOOK and self._alone.is_due():  # all are busy for long, and none is stuck
                self._alone.begin(self._taken, self._gate.waits)
                self._look_seconds = SOONEST_LOOK
            delay = self._look_seconds
        self._look_timer = self._loop.call_at(monotonic() + delay, self._look_after)

    def _room(self) -> int:
        """Return how many threads may take requests at the same time, besides those that are stuck."""
        return 1 if self._alone.is_on else self.active_threads

    def _is_short(self) -> bool:
        return self._gate is not None and self._gate.is_open and not self._is_looking and not self._has_idle()

    def _has_idle(self) -> bool:
        # any() would make a generator, for each request.
        return True in [taker.is_idle for taker in self._active]

    def _set_stuck_aside(self) -> bool:
        """Take those who took nothing since the last look out of the active ones; return whether there were any."""
        with self._running_lock:
            stuck = [taker for taker in self._active if taker.taken == taker.seen and not taker.is_idle]
            for taker in self._active:
                taker.seen = taker.taken
            for taker in stuck:
                taker.is_stuck = True
            if stuck:
                self._active = tuple(taker for taker in self._active if not taker.is_stuck)
        return bool(stuck)

    def _grow(self) -> bool:
        """Have one thread more take requests, if there is room; return whether there was."""
        with self._running_lock:
            if len(self._active) >= max(self._room(), self._step) or self._running >= self.max_threads:
                return False
            taker = Taker()
            self._active += (taker,)
        try:
            self._submit(lambda: self._take(taker), lambda: self._on_left(taker))
        except RequestNotStarted:
            self._leave(taker)
            raise
        return True

    def server_close(self) -> None:
        """Close the server, and the gate unless a thread is left that stands in it."""
        super().server_close()
        if self._gate and not self._running:
            self._gate.close()
            self._gate = None

    # --- a thread's part

    def _take(self, taker: Taker) -> None:
        gate = self._gate
        assert gate is not None
        turn = gate.turn
        try:
            while True:
                taker.is_idle = False  # before the gate is looked at: who shut it waits for those that are not idle
                if not gate.is_open or gate.turn != turn:
                    break
                taker.has_served = self._take_one()
                if taker.has_served:
                    taker.taken += 1
                    is_one_too_many = self._alone.is_on and len(self._active) > 1
                    if (taker.is_stuck or is_one_too_many) and not self._stays(taker):
                        break
                    continue
                taker.is_idle = True
                if gate.wait():
                    self._on_source_error()
        except OSError as error:  # the source cannot be used any more: for the caller of serve_forever
            gate.shut()
            if loop := self._loop:
                loop.call_soon(_raiser(error))
        finally:
            self._leave(taker)

    def _stays(self, taker: Taker) -> bool:
        """Return whether a thread is to go on taking requests, one that was stuck too: not when others do."""
        with self._running_lock:
            others = tuple(other for other in self._active if other is not taker)
            if len(others) >= self._room() or self._running > self.max_threads:
                self._active = others
                return False
            taker.is_stuck = False
            self._active = (*others, taker)
            return True

    def _on_left(self, taker: Taker) -> None:
        """Called in the loop when a thread has left, and requests are held back or nobody waits for them."""
        self._look_after()
        if taker.has_served:
            self._request_ended()
        elif not self._is_full():  # it only sees that the gate is shut: no descriptor is free for that
            self._release("full")

    def _leave(self, taker: Taker) -> None:
        with self._running_lock:
            self._active = tuple(other for other in self._active if other is not taker)

    def _on_taken(self) -> None:
        if gate := self._gate:
            gate.arm()
            if self._is_looking or self._running >= self.max_threads:
                return
            if not self._has_idle() and (loop := self._loop):
                self._is_looking = True
                self._look_seconds = SOONEST_LOOK
                loop.call_soon(self._look_after)

    def _in_thread(self) -> bool:
        return get_ident() != self._serving_thread

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve the request in the thread that took it."""
        if self._gate and self._in_thread():
            self.process_request_thread(request, client_address)
        else:
            super().process_request(request, client_address)

    def _pause(self, reason: str) -> None:
        loop = self._loop
        if loop and self._gate and self._in_thread():
            self._gate.shut()  # at once: the others must not try what failed
            loop.call_soon(lambda: self._pause(reason))
        else:
            super()._pause(reason)


def _raiser(error: BaseException) -> Callable[[], None]:
    def raise_it() -> None:
        raise error

    return raise_it
