"""Places: the semaphore that workers share (`srvctl.serving.shared_limit`), as their supervisor has it."""

from __future__ import annotations

import contextlib
import os

_FLAGS = os.EFD_SEMAPHORE | os.EFD_NONBLOCK | os.EFD_CLOEXEC


class Places:
    """As many places as may be served at the same time. Owns the descriptor `fd` for as long as the process lives."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def make(cls, count: int) -> Places:
        """Return `count` free places. Raises OSError."""
        return cls(os.eventfd(count, _FLAGS))

    @classmethod
    def adopt(cls, fd: int) -> Places:
        """Take over the places of the program before this one."""
        os.set_inheritable(fd, False)
        return cls(fd)

    def hand_over(self) -> int:
        """Return the argument of `adopt` for the program that replaces this one by exec."""
        os.set_inheritable(self.fd, True)
        return self.fd

    def give_back(self, taken: int) -> None:
        """Free the places that a worker had `taken`, which has ended, and close that."""
        with contextlib.suppress(BlockingIOError):
            while os.eventfd_read(taken):
                os.eventfd_write(self.fd, 1)
        os.close(taken)


def make_taken() -> int:
    """Return what counts the places that a worker has taken: none yet. Raises OSError."""
    return os.eventfd(0, _FLAGS)
