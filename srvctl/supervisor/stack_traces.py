"""Stack traces that a worker writes to a pipe, as they are logged."""

from __future__ import annotations

import contextlib
import os
from time import monotonic

from srvctl.runtime import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvctl.runtime.loop import Loop, Timer

# A worker writes stacks in pieces: they are logged this long after the first one came.
PAUSE_SECONDS = 0.15
# A worker may write without end, to a pipe of 64 kB: what is read in one turn of the loop, and what is kept.
_READS, _LONGEST_TEXT = 4, 512 * 1024


class StackTraces:
    """The reading end of the pipe of worker `pid`. Owns the descriptor `fd`, which does not block, until `close`."""

    def __init__(self, pid: int, fd: int) -> None:
        self.fd = fd
        self._pid = pid
        self._loop: Loop | None = None
        self._text = ""
        self._timer: Timer | None = None

    def attach(self, loop: Loop) -> None:
        """Log what comes, from `loop`."""
        self._loop = loop
        loop.watch(self.fd, lambda ready: self._on_readable(loop))

    def _on_readable(self, loop: Loop) -> None:
        if not self._read():  # the end of file: the process ends
            loop.unwatch(self.fd)
        elif self._timer is None:
            self._timer = loop.call_at(monotonic() + PAUSE_SECONDS, self._log)

    def _read(self) -> bool:
        """Read what has come, a bounded part of it; return false at the end of file."""
        with contextlib.suppress(BlockingIOError):
            for _ in range(_READS):
                if not (data := os.read(self.fd, 65536)):
                    return False
                self._text = (self._text + data.decode(errors="replace"))[:_LONGEST_TEXT]
        return True

    def _log(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        text, self._text = self._text, ""
        if text:
            log.worker_stacks(self._pid, text)

    def close(self) -> None:
        """Log what is left, and close the descriptor."""
        self._read()
        self._log()
        if self._loop:
            self._loop.unwatch(self.fd)
        os.close(self.fd)
