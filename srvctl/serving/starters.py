"""Threads that start programs, since the kernel keeps who does so until the exec, and the loop has other work."""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
from _queue import Empty, SimpleQueue  # what `queue` has it from, which imports threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from srvctl.traffic import ProgramConversation

# So many programs may be on their way from fork to exec at a time. Each waits for a processor most of the while; on two
# of them 1 thread starts 1,650 a second, 2 start 1,780, 3 start 2,010, and 4 no more.
_MOST_THREADS = 3


class Start:
    """What a program gets that is started for a conversation.

    `ours` are descriptors that are only for the program; they are this object's, to be closed behind the start.
    """

    __slots__ = ("_ours", "conversation", "descriptors", "variables")

    def __init__(
        self,
        conversation: ProgramConversation,
        descriptors: tuple[int, int, int],
        variables: dict[str, str],
        ours: tuple[int, ...] = (),
    ) -> None:
        self.conversation = conversation
        self.descriptors, self.variables, self._ours = descriptors, variables, ours

    def close(self) -> None:
        """Close what only the program was to have."""
        for fd in self._ours:
            os.close(fd)


class Starters:
    """The threads that call `run` with each start that is submitted, as many as there is work for.

    Everything else is for the loop's thread.
    """

    def __init__(self, run: Callable[[Start], None]) -> None:
        self._run = run
        self._queue: SimpleQueue[Start | None] = SimpleQueue()
        self._ended: SimpleQueue[None] = SimpleQueue()
        self._threads = 0

    def submit(self, start: Start, pending: int) -> bool:
        """Have a start made soon, and return true; false when there is no thread for it, and none can be had.

        `pending` says how many others are on their way.
        """
        if pending >= self._threads < _MOST_THREADS:
            with contextlib.suppress(RuntimeError):  # no thread: those that are there have more to do
                _thread.start_new_thread(self._work, ())
                self._threads += 1
        if self._threads:
            self._queue.put(start)
        return self._threads > 0

    def withdraw(self) -> Iterator[Start]:
        """Return the starts that no thread has begun with."""
        with contextlib.suppress(Empty):
            while start := self._queue.get_nowait():
                yield start

    def close(self) -> None:
        """Make what has been submitted, and end the threads. Blocks until then."""
        for _ in range(self._threads):
            self._queue.put(None)
        for _ in range(self._threads):
            self._ended.get()
        self._threads = 0

    def _work(self) -> None:
        # The loop waits for the signals of this process.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while start := self._queue.get():
            self._run(start)
        self._ended.put(None)
