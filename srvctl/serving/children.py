"""Child processes, watched one by one: nobody else's exit status is taken."""

from __future__ import annotations

import os
from time import monotonic

from srvctl.socketserver.accept_errors import PAUSE_SECONDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from srvctl.runtime.loop import Loop


class ChildWatcher:
    """Tell of each child that ends, from a pidfd that the loop watches. Owns the pidfds; for the loop's thread.

    Without a descriptor for one, or without pidfd_open(2), it looks at the child now and then.
    """

    def __init__(self, loop: Loop, on_ended: Callable[[int, int], None]) -> None:
        """Have `on_ended` called with the process id and the wait status of each."""
        self._loop, self._on_ended = loop, on_ended
        self._pidfds: dict[int, int] = {}

    def watch(self, pid: int) -> None:
        """Watch a child of this process."""
        try:
            pidfd = self._pidfds[pid] = os.pidfd_open(pid)
            self._loop.watch(pidfd, lambda events: self._reap(pid))
        except (OSError, AttributeError):  # no descriptor or memory left, or no such system call
            self._forget(pid)
            self._loop.call_at(monotonic() + PAUSE_SECONDS, lambda: self._look_at(pid))

    def close(self) -> None:
        """Watch no longer."""
        for pidfd in self._pidfds.values():
            os.close(pidfd)
        self._pidfds.clear()

    def _look_at(self, pid: int) -> None:
        if not self._reap(pid):
            self.watch(pid)

    def _reap(self, pid: int) -> bool:
        """Wait for a child if it has ended; return whether it had."""
        try:
            reaped, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:  # somebody else reaped it
            reaped, status = pid, 0
        if not reaped:
            return False
        self._forget(pid)
        self._on_ended(pid, status)
        return True

    def _forget(self, pid: int) -> None:
        if (pidfd := self._pidfds.pop(pid, -1)) >= 0:
            self._loop.unwatch(pidfd)
            os.close(pidfd)
