"""The one place that waits: descriptors, timers, and one wake-up descriptor that ends the wait.

Nothing is polled: with no timer set, `Loop.run` sleeps in one system call until a descriptor is ready or
another thread, or a signal handler, calls `wake`. The loop knows nothing of requests.
"""

from __future__ import annotations

import _thread
import contextlib
import heapq
import os
import select
from collections import deque
from functools import partial
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

READ, WRITE = select.POLLIN, select.POLLOUT  # the same bits as EPOLLIN and EPOLLOUT


class _Poll:
    """poll(2) with the face of `select.epoll`, for systems without that."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self.register, self.unregister = self._poll.register, self._poll.unregister

    def poll(self, timeout: float) -> list[tuple[int, int]]:
        return self._poll.poll(None if timeout < 0 else timeout * 1000)

    def close(self) -> None:
        pass


class Timer:
    """A call that is due at a time; `cancel` makes it not happen."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None

    def __lt__(self, other: Timer) -> bool:
        return self.when < other.when


class Loop:
    """Call back when descriptors are ready and when timers are due.

    Owns its wake-up and polling descriptors; those that are watched stay their owner's, who stops watching
    before closing. `wake`, `stop`, `call_soon` and `watch` may be called from any thread, `wake` and `stop` from a
    signal handler too; everything else belongs to the thread that made the loop and runs it.
    """

    def __init__(self) -> None:
        self.stopping = False
        self._thread = _thread.get_ident()
        # Nobody writes to the wake-up descriptor's number when it is closed and may be another's already.
        # Re-entrant: a signal handler may call `wake` while its thread does.
        self._wake_lock = _thread.RLock()
        self._callbacks: dict[int, Callable[[int], object]] = {}
        self.timers: list[Timer] = []  # a heap; a cancelled one stays in it until it is due
        self._soon: deque[Callable[[], None]] = deque()
        self._poll = select.epoll() if hasattr(select, "epoll") else _Poll()
        try:
            self._wake_read, self._wake_write = _open_wakeup()
        except OSError:
            self._poll.close()
            raise
        # What closes its own descriptors, without any code of ours: a forked child pays for each function it calls.
        self.closers: list[Callable[[], None]] = [
            self._poll.close,
            *(partial(os.close, fd) for fd in {self._wake_read, self._wake_write}),
        ]
        self._poll.register(self._wake_read, READ)

    def __enter__(self) -> Loop:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, frames: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the loop's own descriptors."""
        with self._wake_lock:
            self.release_in_child()

    def release_in_child(self) -> None:
        """Close a forked child's copies of them; whoever held a lock at the fork is not there to release it."""
        self._wake_write = -1
        for close in self.closers:
            close()
        self._callbacks.clear()
        self.timers.clear()

    def watch(self, fd: int, callback: Callable[[int], object], events: int = READ) -> None:
        """Call `callback` with the events whenever `fd` is ready.

        Raises OSError where it cannot be waited on, and ValueError when the loop is closed.
        """
        self._callbacks[fd] = callback  # first: another thread may be waiting at this moment
        try:
            self._poll.register(fd, events)
        except (OSError, ValueError):
            del self._callbacks[fd]
            raise

    def unwatch(self, fd: int) -> None:
        """Stop watching `fd`; nothing happens when it is not watched."""
        if self._callbacks.pop(fd, None) is not None:
            with contextlib.suppress(OSError):  # closed by its owner already: the kernel has forgotten it
                self._poll.unregister(fd)

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` at `when`, in seconds of `time.monotonic`."""
        timer = Timer(when, callback)
        heapq.heappush(self.timers, timer)
        return timer

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call `callback` in the loop's thread, on its next turn."""
        self._soon.append(callback)
        if _thread.get_ident() != self._thread:
            self.wake()

    def wake(self) -> None:
        """End the wait."""
        with self._wake_lock, contextlib.suppress(BlockingIOError):  # full: it wakes already
            if self._wake_write >= 0:
                os.write(self._wake_write, b"\1\0\0\0\0\0\0\0")

    def stop(self) -> None:
        """Make `run` return after what it is doing; also when it has not begun."""
        self.stopping = True
        self.wake()

    def run(self, after_turn: Callable[[], None] | None = None) -> None:
        """Turn until `stop`; call `after_turn` behind each turn. What a callback raises goes to the caller."""
        while not self.stopping:
            self.turn(self._patience())
            if after_turn:
                after_turn()

    def turn(self, timeout: float) -> None:
        """Wait up to `timeout` seconds (negative: until something happens) and make the calls that are due."""
        for fd, events in self._poll.poll(timeout):
            if self.stopping:
                return
            if fd == self._wake_read:
                with contextlib.suppress(BlockingIOError):
                    os.read(fd, 512)
            elif callback := self._callbacks.get(fd):
                callback(events)
        if self._soon or self.timers:
            self.call_due()

    def call_due(self) -> None:
        """Make the calls whose time has come; those that they add wait for the next turn."""
        for _ in range(len(self._soon)):
            self._soon.popleft()()
        now = monotonic()
        while self.timers and (self.timers[0].callback is None or self.timers[0].when <= now):
            timer = heapq.heappop(self.timers)
            if timer.callback is not None:
                timer.callback()

    def next_due(self) -> float | None:
        """Return when the next timer is due, or None."""
        while self.timers and self.timers[0].callback is None:
            heapq.heappop(self.timers)
        return self.timers[0].when if self.timers else None

    def _patience(self) -> float:
        if self._soon:
            return 0.0
        if not self.timers or (due := self.next_due()) is None:
            return -1.0
        return max(0.0, due - monotonic())


def _open_wakeup() -> tuple[int, int]:
    if hasattr(os, "eventfd"):
        fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        return fd, fd
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    return read, write
