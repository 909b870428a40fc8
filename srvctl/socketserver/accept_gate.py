"""Where the threads of a pool wait for requests, and what is known of each of them."""

from __future__ import annotations

import contextlib
import os
import select

from srvctl.runtime.loop import READ


class Gate:
    """Where active threads wait for requests. Owns its descriptors; `fd`, the source, stays the server's.

    One epoll for all of them, where a poll(2) in each would wake all; and EPOLLONESHOT, because the kernel passes an
    event that is still there on from thread to thread, which would wake all of them too. So the one who was woken, or
    whoever takes a request next, arms it again: there may be one more by then, for another thread.
    """

    def __init__(self, fd: int) -> None:
        self.is_open = False
        self.waits = 0  # how often a thread waited here; threads that count at the same time may miss one
        self.turn = 0  # how often it was shut: who came before that leaves, also when it is open again by then
        self._fd = fd
        self._is_spent = False
        self._poll = select.epoll()
        try:
            self._shut = os.eventfd(1, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        except OSError:
            self._poll.close()
            raise
        self._poll.register(self._shut, READ)
        self._poll.register(fd, READ | select.EPOLLONESHOT)

    def open(self) -> None:
        """Let threads wait."""
        if not self.is_open:
            os.eventfd_read(self._shut)
            self.is_open = True

    def shut(self) -> None:
        """Send all who wait away. May be called from any thread."""
        if self.is_open:
            self.is_open = False
            self.turn += 1
            os.eventfd_write(self._shut, 1)

    def wait(self) -> bool:
        """Wait until a request may be there or the gate is shut; blocks. Return whether the source tells an error."""
        self.arm()
        self.waits += 1
        for fd, events in self._poll.poll(-1, 1):
            if fd == self._fd:
                self._is_spent = True
                return events & ~READ != 0
        return False

    def arm(self) -> None:
        """Wake a thread when there is a request, if the last event was used up."""
        if self._is_spent:
            self._is_spent = False
            with contextlib.suppress(OSError):  # closed: whoever takes next is told
                self._poll.modify(self._fd, READ | select.EPOLLONESHOT)

    def close(self) -> None:
        """Close the gate's descriptors, when nobody waits any more."""
        self._poll.close()
        os.close(self._shut)


class Taker:
    """One thread's turn at taking requests."""

    __slots__ = ("has_served", "is_idle", "is_stuck", "seen", "taken")

    def __init__(self) -> None:
        self.is_idle = self.is_stuck = self.has_served = False
        self.taken, self.seen = 0, -1
