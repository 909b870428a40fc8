"""Lifeline: a pipe that only the supervisor holds open. When it ends, the kernel kills the worker's process group.

A worker learns of its supervisor's end from the channel, unless its interpreter does not run: a C function keeps the
lock, or it was stopped. The kernel needs no help of the worker: fcntl(2), O_ASYNC with F_SETSIG and F_SETOWN. A parent
death signal, prctl(2), would be bound to the thread that forked, reach one process only, and be cleared by setuid(2).
"""

from __future__ import annotations

import fcntl
import os
import select
import signal

_F_SETSIG = getattr(fcntl, "F_SETSIG", 10)  # <fcntl.h>; Python has had no name for it on some systems


def arm(fd: int) -> None:
    """Bind the life of this process group to the pipe whose reading end is `fd`, which must stay open. Raises OSError.

    Nothing is ever written to that pipe. Does not return when it has ended already.
    """
    fcntl.fcntl(fd, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(fd, _F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(fd, 0)  # POLLHUP is always reported
    if poll.poll(0):
        os.killpg(0, signal.SIGKILL)
