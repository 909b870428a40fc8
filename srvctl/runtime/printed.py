"""Logged streams: what stands for ``sys.stdout`` and ``sys.stderr``, and makes an event of the log of each line.

Nothing here waits: the log keeps what its reader does not take, and counts what it drops.
"""

from __future__ import annotations

import io
from _thread import get_ident

from srvctl.runtime import log
from srvctl.runtime.log_format import FIELD_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

# Lines without an end so far, by thread and stream: threads print at the same time.
unfinished: dict[tuple[int, str], str] = {}


class LoggedStream(io.TextIOBase):
    """A stream, ``stdout`` or ``stderr``, whose lines are logged, each when its end is written.

    ``buffer``, ``fileno()`` and ``flush()`` are those of `original`, for a handler that writes bytes, and for
    `subprocess`.
    """

    encoding = "utf-8"
    errors = "backslashreplace"
    line_buffering = True

    def __init__(self, stream: str, original: TextIO | None) -> None:
        self._stream, self.original = stream, original
        self.name = f"<{stream}>"
        if original is not None:
            self.buffer = original.buffer
            self.fileno = original.fileno  # type: ignore[method-assign]
            # As it is, written in C: `srvctl.socketserver.forking.flush_std_streams` calls it around each fork.
            self.flush = original.flush  # type: ignore[method-assign]

    def writable(self) -> bool:
        return True

    def reconfigure(self, **options: Any) -> None:
        """Do nothing: there is no encoding, and no buffer of text, that could be another."""

    def write(self, text: str, /) -> int:
        """Log each line that ends in `text`; what comes after the last end is kept."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        key = get_ident(), self._stream
        first, *others = text.split("\n")
        line = unfinished.pop(key, "") + first
        for following in others:
            log.printed(self._stream, line.removesuffix("\r"))
            line = following
        if line:
            unfinished[key] = line[: FIELD_MAX + 1]  # one more than the log shows, which tells that there was more
        return len(text)


def end_lines() -> None:
    """Log the lines that the current thread has begun: nothing more will come."""
    ident = get_ident()
    for key in list(unfinished):
        if key[0] == ident and (line := unfinished.pop(key, "")):
            log.printed(key[1], line)
