"""Where the threads of a pool wait for something to accept, and what is known of each of them."""

from __future__ import annotations

import contextlib
import os
import select

from srvctl.runtime.loop import READ


class AcceptGate:
    """Where active threads wait for requests. Owns its descriptors; `fd`, the source, stays the server's.

    One epoll for all of them, where a poll(2) in each would wake all; and EPOLLONESHOT, because the kernel passes an
    event that is still there on from thread to thread, which would wake all of them too. So the one who was woken, or
    whoever accepts next, arms it again: there may be one more by then, for another thread.
    """

    def __init__(self, fd: int) -> None:
        self.is_open = False
        self.wait_count = 0  # how often a thread waited here; threads that count at the same time may miss one
        self.generation = 0  # how often it was paused: who came before that leaves, also when it is open again by then
        self._fd = fd
        self.is_spent = False
        self._poll = select.epoll()
        try:
            self._paused = os.eventfd(1, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        except OSError:
            self._poll.close()
            raise
        self._poll.register(self._paused, READ)
        self._poll.register(fd, READ | select.EPOLLONESHOT)

    def resume(self) -> None:
        """Let threads wait."""
        if not self.is_open:
            os.eventfd_read(self._paused)
            self.is_open = True

    def pause(self) -> None:
        """Send all who wait away. May be called from any thread."""
        if self.is_open:
            self.is_open = False
            self.generation += 1
            os.eventfd_write(self._paused, 1)

    def wait(self) -> bool:
        """Wait until a request may be there or the gate is paused; blocks. Return whether the source tells an error."""
        self.rearm()
        self.wait_count += 1
        for fd, events in self._poll.poll(-1, 1):
            if fd == self._fd:
                self.is_spent = True
                return events & ~READ != 0
        return False

    def rearm(self) -> None:
        """Wake a thread when there is a request, if the last event was used up."""
        if self.is_spent:
            self.is_spent = False
            with contextlib.suppress(OSError):  # closed: whoever accepts next is told
                self._poll.modify(self._fd, READ | select.EPOLLONESHOT)

    def close(self) -> None:
        """Close the gate's descriptors, when nobody waits any more."""
        self._poll.close()
        os.close(self._paused)


class PoolThread:
    """One thread's turn at accepting."""

    __slots__ = ("accepted", "accepted_at_last_check", "has_served", "is_blocked", "is_idle")

    def __init__(self) -> None:
        self.is_idle = self.is_blocked = self.has_served = False
        self.accepted, self.accepted_at_last_check = 0, -1
