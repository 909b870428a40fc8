"""Children of which this process has no others than its own: all are waited for at once, when SIGCHLD tells of one."""

from __future__ import annotations

import contextlib
import os
import signal
from time import sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from srvctl.runtime.loop import Loop

# So many are reaped in one turn of the loop, before timers and other descriptors get theirs.
_BATCH = 64

_CHILD_ENDED = (signal.SIGCHLD,)


class SigchldReaper:
    """Reap all children that end, in the main thread of a process that has no others.

    `before` is called before children are reaped, `on_reaped` with the process id and wait status of each, and `after`
    behind them. A pidfd for each child would spare those that are somebody else's; it costs five system calls and a
    descriptor for each.
    """

    def __init__(
        self, before: Callable[[], None], on_reaped: Callable[[int, int], None], after: Callable[[], None]
    ) -> None:
        self._before, self._on_reaped, self._after = before, on_reaped, after
        self._opened = contextlib.ExitStack()

    def open(self, loop: Loop) -> None:
        """Have `loop` reap; until `close`."""
        read = _open_pipe(self._opened)
        loop.watch(read, lambda events: self._on_signal(loop, read))
        self._opened.callback(loop.unwatch, read)
        loop.call_soon(lambda: self._reap(loop))  # those that have ended before this

    def close(self) -> None:
        """Leave SIGCHLD as it was before `open`."""
        self._opened.close()

    def sleep(self, seconds: float) -> None:
        """Let things happen; a child that ends meanwhile is told of behind it. Blocks."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _CHILD_ENDED)
        try:
            sleep(seconds)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _CHILD_ENDED)

    def _on_signal(self, loop: Loop, read: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(read, 4096)  # first: who ends behind this tells again
        self._reap(loop)

    def _reap(self, loop: Loop) -> None:
        self._before()
        try:
            for _ in range(_BATCH):
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    break
                self._on_reaped(pid, status)
            else:
                loop.call_soon(lambda: self._reap(loop))
        except ChildProcessError:  # there is none
            pass
        self._after()


def _open_pipe(opened: contextlib.ExitStack) -> int:
    """Return a descriptor that is readable when a child has ended, and leave to `opened` what undoes that.

    Not a signalfd(2): a thread that does not block the signal, as what watches a program from within it starts one,
    would be given it instead.
    """
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    opened.callback(os.close, read)
    opened.callback(os.close, write)
    # Written to by the signal itself: a handler that runs behind it may be too late for the loop's wait.
    opened.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(write, warn_on_full_buffer=False))
    opened.callback(signal.signal, signal.SIGCHLD, signal.signal(signal.SIGCHLD, _do_nothing))
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, _CHILD_ENDED)  # whoever started us may have left it so
    opened.callback(signal.pthread_sigmask, signal.SIG_SETMASK, before)
    return read


def _do_nothing(number: int, frame: FrameType | None) -> None:
    pass
