"""Deadline: a time by which another process is to have done something, judged by a supervisor that was there.

After SIGSTOP, a debugger or a suspended machine everything is late at once, because the supervisor was away. What the
others have done meanwhile is read first, and a deadline that it missed by itself is given again, once.
"""

from __future__ import annotations

from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from srvctl.runtime.loop import Loop, Timer

# A timer that is called this much late shows that the process did not run. A busy machine delays it by less.
AWAY_SECONDS = 0.5
# Then the others get this much time: they may have been stopped as well.
SECOND_LOOK_SECONDS = 1.0


def call_at(loop: Loop, when: float, callback: Callable[[], None]) -> DeadlineTimer:
    """Call `callback` at `when`, in seconds of `time.monotonic`; later, if this process was away at that time."""
    return DeadlineTimer(loop, when, callback)


class DeadlineTimer:
    """A call that is due at a time; `cancel` makes it not happen."""

    def __init__(self, loop: Loop, when: float, callback: Callable[[], None]) -> None:
        self._loop, self._when, self._callback = loop, when, callback
        self._timer: Timer = loop.call_at(when, self._on_due)

    def cancel(self) -> None:
        self._timer.cancel()

    def _on_due(self) -> None:
        now = monotonic()
        if now - self._when > AWAY_SECONDS:
            self._timer = self._loop.call_at(now + SECOND_LOOK_SECONDS, self._callback)
        else:
            self._callback()
