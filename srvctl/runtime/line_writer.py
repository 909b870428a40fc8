"""A descriptor that lines are written to without ever being waited for; what the log is written with."""

from __future__ import annotations

import _thread
import contextlib
import os
import select
import stat
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from srvctl.runtime.loop import Loop

# Promise P20: so many records wait for a reader that is slow; about 1.5 MB of them.
QUEUE_LINES = 10_000


def _tell_nobody(count: int) -> None:
    pass


class LineWriter:
    """Where lines go: a descriptor that is never waited for.

    Borrows descriptor `fd` and owns a private non-blocking description of it where one can be had (a pipe,
    a terminal), since O_NONBLOCK on a shared one would hit every program that writes there. A regular file
    keeps the shared one, and with it the shared offset: it does not block. Lines that have to wait are written with
    the next one, or, once a loop was told to `attach`, as soon as the other end takes them. `on_dropped` is told how
    many lines were lost, when there is room again.
    """

    def __init__(self, fd: int, on_dropped: Callable[[int], None] = _tell_nobody) -> None:
        self._on_dropped = on_dropped
        self.queue: deque[bytes] = deque()
        self.dropped = 0
        self._on_blocked: Callable[[], None] = lambda: None
        self._lock = _thread.RLock()  # re-entrant: a signal handler may log while its thread does
        self._write: Callable[[bytes], int]
        self._fd, self._write = _open_without_blocking(fd)

    def attach(self, loop: Loop) -> None:
        """Have `loop` write what waits when the other end takes it."""
        if self._fd >= 0:
            self._on_blocked = lambda: loop.call_soon(lambda: self._wait_in(loop))

    def restart_in_children(self) -> None:
        """Have a forked child begin with nothing that waits, which its parent writes, and with a lock that is free.

        Of each fork, for as long as the process lives. The two functions are written in C: what a child runs in Python
        costs it pages.
        """
        for restart in (self._lock._at_fork_reinit, self.queue.clear):  # type: ignore[attr-defined]
            os.register_at_fork(after_in_child=restart)

    def _wait_in(self, loop: Loop) -> None:
        def on_writable(events: int) -> None:
            if self.flush():
                loop.unwatch(self._fd)

        with contextlib.suppress(FileExistsError):  # it waits already
            loop.watch(self._fd, on_writable, select.POLLOUT)

    def write(self, line: bytes) -> None:
        """Write `line`, now or later or never; never blocks and never raises."""
        with self._lock:
            waiting = bool(self.queue)
            if len(self.queue) >= QUEUE_LINES:
                self.dropped += 1
                return
            self.queue.append(line)
            if waiting:
                return
            lost = self.dropped
            if not self._drain():
                self._on_blocked()
            elif lost and self.dropped == lost:  # the disk has room again
                self.flush()

    def flush(self) -> bool:
        """Write what waits, as far as it goes without blocking; return whether all of it went."""
        with self._lock:
            if not self._drain():
                return False
            if not self.dropped:
                return True
            dropped, self.dropped = self.dropped, 0
        self._on_dropped(dropped)
        return True

    def _drain(self) -> bool:
        while self.queue:
            line = self.queue[0]
            try:
                written = self._write(line)
            except BlockingIOError:
                return False
            except OSError:  # the disk is full, the reader is gone: the line is lost, and counted
                self.dropped += 1
                written = len(line)
            if written < len(line):
                self.queue[0] = line[written:]
            else:
                self.queue.popleft()
        return True


def _open_without_blocking(fd: int) -> tuple[int, Callable[[bytes], int]]:
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return -1, len  # standard error is closed: every line counts as written
    if stat.S_ISREG(mode):
        return -1, lambda line: os.write(fd, line)
    if stat.S_ISSOCK(mode):
        import socket

        sock = socket.socket(fileno=os.dup(fd))
        return sock.fileno(), lambda line: sock.send(line, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    try:
        own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        # Not ours to open (another user's pipe), or no /proc. A pipe that poll(2) calls writable takes
        # PIPE_BUF bytes without blocking, pipe(7).
        return fd, lambda line: _write_if_writable(fd, line)
    return own, lambda line: os.write(own, line)


def _write_if_writable(fd: int, line: bytes) -> int:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    if not poll.poll(0):
        raise BlockingIOError
    return os.write(fd, line[: select.PIPE_BUF])
