"""Guardian: a process that ends the programs of a worker which was killed together with its supervisor.

Whichever of the two lives ends them otherwise. The guardian is in the session that the worker leads, in a process group
of its own, and waits for the end of a pipe that the worker alone holds open. A worker that ends in order writes a byte.
"""

from __future__ import annotations

import contextlib
import os
import signal

from srvctl.runtime.process_session import kill_members
from srvctl.runtime.signals import FOR_SUPERVISOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


NAME = "srvctl-guardian"


class Guardian:
    """The guardian of this worker's programs; owns the worker's end of the pipe."""

    def __init__(self) -> None:
        self._pid, self._fd = 0, -1

    def open(self) -> None:
        """Start it, if this process leads a session, and if the system has a process for it. Does not block."""
        if self._pid or os.getsid(0) != os.getpid():
            return
        with contextlib.suppress(OSError):
            watched, self._fd = os.pipe()
            try:
                self._pid = os.fork()
                if self._pid == 0:
                    _guard(watched)
            finally:
                os.close(watched)

    def dismiss(self) -> None:
        """Have it go, since the programs have ended or are left running on purpose. Blocks for a moment."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):  # somebody has killed it
                os.write(self._fd, b"\0")
            os.close(self._fd)
            self._fd = -1
        if self._pid:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._pid, 0)
            self._pid = 0


def _guard(watched: int) -> NoReturn:
    """Wait for the worker's end in the child, and kill what is left of its session, unless it ended in order."""
    try:
        os.setpgid(0, 0)
        with open("/proc/self/comm", "w") as comm:  # proc(5): what ps(1) shows
            comm.write(NAME)
        for number in FOR_SUPERVISOR:
            signal.signal(number, signal.SIG_IGN)
        kept = os.dup2(watched, 0)
        os.closerange(1, os.sysconf("SC_OPEN_MAX"))
        if not os.read(kept, 1):
            kill_members(os.getsid(0), spared=os.getpid())
    finally:
        os._exit(0)
