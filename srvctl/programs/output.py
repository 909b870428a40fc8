"""What programs write, on its way: their standard error to the log, line by line, and the answer to a datagram.

Each reader owns the reading end of a pipe. It never waits: the loop calls it when something is there.
"""

from __future__ import annotations

import fcntl
import os

from srvctl.runtime import log
from srvctl.runtime.log_format import FIELD_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from srvctl.runtime.loop import Loop

_READ_BYTES = 65536  # pipe(7): as much as a pipe holds
# So often a reader reads in one go, so that a program that never stops writing does not keep the loop from the others.
_READS = 4


class PipeReader:
    """The reading end of a pipe. `take` is given what comes; `writing_end` is for a program, and the caller's."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        self._loop: Loop | None = None
        self._fd, self.writing_end = os.pipe2(os.O_CLOEXEC)
        # Only this end: the other is the program's standard error, which it expects to block.
        fcntl.fcntl(self._fd, fcntl.F_SETFL, os.O_NONBLOCK)

    def watch(self, loop: Loop) -> None:
        """Have `loop` read whenever something is there, until the end, if that has not come yet. Raises OSError."""
        if self._fd < 0:
            return
        loop.watch(self._fd, lambda events: self.read())
        self._loop = loop

    def read(self) -> None:
        """Read what is there, within reason; closes the pipe at the end of file."""
        try:
            for _ in range(_READS):
                if self._fd < 0:
                    return
                data = os.read(self._fd, _READ_BYTES)
                if not data:
                    self.close()
                    return
                self._take(data)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Read no more: who still writes gets SIGPIPE."""
        if self._fd >= 0:
            if self._loop:
                self._loop.unwatch(self._fd)
            os.close(self._fd)
            self._fd = -1


class StderrLines(PipeReader):
    """The standard error of the program that serves `peer`: a line of the log for each line, cut if it is long."""

    def __init__(self, peer: str) -> None:
        super().__init__(self._split)
        self._peer = peer
        self._line = b""

    def _split(self, data: bytes) -> None:
        *whole, rest = data.split(b"\n")
        for line in whole:
            self._add(line)
            self._end_line()
        self._add(rest)

    def _add(self, data: bytes) -> None:
        # One more than the log shows, which tells it to show that there was more.
        self._line += data[: FIELD_MAX + 1 - len(self._line)]

    def _end_line(self) -> None:
        line, self._line = self._line, b""
        log.program_said(self._peer, line.removesuffix(b"\r").decode("utf-8", "backslashreplace"))

    def close(self) -> None:
        if self._line:
            self._end_line()
        super().close()


class DatagramReply(PipeReader):
    """The standard output of a program that answers a datagram; what is longer than `limit` bytes is none."""

    def __init__(self, limit: int) -> None:
        super().__init__(self._keep)
        self.limit = limit
        self.data = b""

    @property
    def is_too_long(self) -> bool:
        return len(self.data) > self.limit

    def _keep(self, data: bytes) -> None:
        self.data += data
        if self.is_too_long:
            self.close()
