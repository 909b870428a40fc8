"""Threads that start programs, since the kernel keeps who does so until the exec, and the loop has other work."""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
from _queue import Empty, SimpleQueue  # what `queue` has it from, which imports threading
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from srvctl.programs.conversation import ProgramConversation
    from srvctl.programs.spawn import PendingSpawn

# So many programs may be on their way from fork to exec at a time. Each waits for a processor most of the while.
_THREAD_LIMIT = 4


class SpawnRequest:
    """One program that is started for a conversation, and what it gets: its first three descriptors, and variables.

    `number` is the error number with which that ended, or 0.
    """

    __slots__ = ("_owned", "conversation", "number", "spawning", "stderr", "stdin", "stdout", "variables")

    stdin: int
    stdout: int
    stderr: int
    variables: dict[str, str]
    spawning: PendingSpawn
    number: int

    def __init__(self, conversation: ProgramConversation) -> None:
        self.conversation = conversation
        self._owned: list[int] = []

    def own(self, fd: int) -> int:
        """Have a descriptor closed by `close`, since only the program is to have it; return it."""
        self._owned.append(fd)
        return fd

    def close(self) -> None:
        """Close what only the program was to have."""
        for fd in self._owned:
            os.close(fd)

    def cancel(self) -> None:
        """Close everything of a start that is not to be run."""
        self.close()
        self.spawning.cancel()


class SpawnThreads:
    """Threads that run each start that is submitted, as many as there is work for.

    They do nothing else: with a processor's caches full of the program before, Python takes three times as long in them
    as in the loop. What was run is in `completed`, the first one first. Nobody is told of a start that went well,
    unless `notify_always` is true; then, and when one failed, `on_completed` is called in a thread. The rest is for the
    loop's thread.
    """

    def __init__(self, on_completed: Callable[[], None]) -> None:
        self._on_completed = on_completed
        self._queue: SimpleQueue[SpawnRequest | None] = SimpleQueue()
        self._ended: SimpleQueue[None] = SimpleQueue()
        self._threads = 0
        self.completed: deque[SpawnRequest] = deque()
        self.notify_always = False

    def submit(self, start: SpawnRequest, pending: int) -> bool:
        """Have a start made soon, and return true; false when there is no thread for it, and none can be had.

        `pending` says how many others are on their way.
        """
        if pending >= self._threads < _THREAD_LIMIT:
            with contextlib.suppress(RuntimeError):  # no thread: those that are there have more to do
                _thread.start_new_thread(self._work, ())
                self._threads += 1
        if self._threads:
            self._queue.put(start)
        return self._threads > 0

    def is_backlogged(self) -> bool:
        """Tell whether all threads will have more to do for a while."""
        return self._queue.qsize() >= _THREAD_LIMIT

    def cancel_queued(self) -> Iterator[SpawnRequest]:
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
            start.number = start.spawning.run()
            self.completed.append(start)
            # Who wants to be told says so before it looks for what was made, and here it is the other way round.
            if start.number or self.notify_always:
                self._on_completed()
        self._ended.put(None)
