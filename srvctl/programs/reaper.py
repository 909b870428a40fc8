"""Children of which this process has no others than its own: all are waited for at once, when SIGCHLD tells of one."""

from __future__ import annotations

import contextlib
import os
import signal
from time import sleep

from srvctl.serving.children import ChildServing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

    from srvctl.runtime.loop import Loop

# So many are seen to in one turn of the loop, before timers and other descriptors get theirs.
_BATCH = 64

_ENDED = (signal.SIGCHLD,)


class Reaping(ChildServing):
    """Have the loop see to all children that end; it runs in the main thread of a process that has no others.

    A pidfd for each, as `ForkingMixIn` has it, spares children that are somebody else's; it costs five system calls and
    a descriptor for each.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._engaged: set[int] = set()  # requests that have a child, or one that is on its way
        self._early: dict[int, int] = {}  # wait statuses of children that ended before they were entered
        super().__init__(*args, **kwargs)

    def _serve(self, loop: Loop, poll_interval: float) -> None:
        with contextlib.ExitStack() as opened:
            ends = _open_ends(opened)
            loop.watch(ends, lambda events: self._on_signal(loop, ends))
            loop.call_soon(lambda: self._reap_all(loop))  # those that have ended before this
            super()._serve(loop, poll_interval)

    def _on_signal(self, loop: Loop, ends: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(ends, 4096)  # first: who ends behind this tells again
        self._reap_all(loop)

    def _rest(self, seconds: float) -> None:
        """Let things happen; a child that ends meanwhile is told of behind it. Blocks."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDED)
        try:
            sleep(seconds)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDED)

    def _enter_started(self) -> None:
        """Called before it matters which children there are: enter those that were started since the last time."""

    def _await_started(self) -> None:
        """Called when a child has ended that was not entered yet: see to it that it is."""

    def _reap_all(self, loop: Loop) -> None:
        self._enter_started()
        try:
            for _ in range(_BATCH):
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    break
                self._on_reaped(pid, status)
            else:
                loop.call_soon(lambda: self._reap_all(loop))
        except ChildProcessError:  # there is none
            pass
        if self._early:
            self._await_started()
        if len(self._engaged) == len(self._by_pid):  # none is on its way: those that are left were there before us
            self._early.clear()

    def _on_reaped(self, pid: int, status: int) -> None:
        if pid not in self._by_pid:
            self._early[pid] = status
            return
        self.active_children.discard(pid)  # type: ignore[union-attr]
        self._child_ended(pid, status)
        self._request_ended()

    def _child_started(self, pid: int, request: Any, client_address: Any) -> None:
        super()._child_started(pid, request, client_address)
        if (status := self._early.pop(pid, None)) is not None:
            self._on_reaped(pid, status)

    def _watch_child(self, pid: int) -> int:
        return -1


def _open_ends(opened: contextlib.ExitStack) -> int:
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
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDED)  # whoever started us may have left it so
    opened.callback(signal.pthread_sigmask, signal.SIG_SETMASK, before)
    return read


def _do_nothing(number: int, frame: FrameType | None) -> None:
    pass
