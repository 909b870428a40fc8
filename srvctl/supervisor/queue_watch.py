"""Queue watch: clients that wait because as many are served as may be, or because workers are too slow, are noticed.

Nobody else tells: the kernel has made their connections, and no worker has seen them yet.
"""

from __future__ import annotations

from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from srvctl.listener.listener import Listener
    from srvctl.runtime.loop import Loop, Timer

# The queue is looked at so often while clients come, and not at all while none does.
_LOOK_SECONDS = 1.0
# Somebody is in it at so many looks in a row before it is told; a moment's queue is nothing.
_LOOKS = 3
# It is told so often at most.
_REPEAT_SECONDS = 60.0


class QueueWatch:
    """Watch the queue of `listener`, which stays its owner's; `tell` gets its length when clients wait for long.

    An arrival starts the looks, and an empty queue ends them, so an idle server is left asleep.
    """

    def __init__(self, loop: Loop, listener: Listener, tell: Callable[[int], None]) -> None:
        self._loop, self._listener, self._tell = loop, listener, tell
        self._fd = -1
        self._timer: Timer | None = None
        self._looks = 0
        self._next_told = 0.0

    def begin(self) -> None:
        """Watch from now on, until `end`; nothing where the length of the queue cannot be known."""
        if self._listener.waiting() is not None:
            self._fd = self._listener.socket.fileno()
            self._await_arrival()

    def end(self) -> None:
        """Leave the listener alone; it may be closed then."""
        if self._fd >= 0:
            self._loop.unwatch(self._fd)
            self._fd = -1
        if self._timer:
            self._timer.cancel()

    def _await_arrival(self) -> None:
        self._looks = 0
        self._loop.watch(self._fd, lambda events: self._on_arrival())

    def _on_arrival(self) -> None:
        self._loop.unwatch(self._fd)
        self._look_later()

    def _look_later(self) -> None:
        self._timer = self._loop.call_at(monotonic() + _LOOK_SECONDS, self._look)

    def _look(self) -> None:
        if not (count := self._listener.waiting()):
            self._await_arrival()
            return
        self._looks += 1
        if self._looks >= _LOOKS and monotonic() >= self._next_told:
            self._next_told = monotonic() + _REPEAT_SECONDS
            self._tell(count)
        self._look_later()
