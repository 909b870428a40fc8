"""Controlling terminal: whether a SIGHUP says that it has gone, or asks for a reload.

Both are the same signal. A terminal that was there at the start and cannot be opened any more has gone, tty(4).
"""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def _can_be_opened() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _is_hung_up(fd: int) -> bool:
    """Tell whether `fd` is a terminal that has gone already."""
    try:
        os.tcgetpgrp(fd)
    except OSError as error:
        return error.errno == errno.EIO
    return False


class Terminal:
    """The controlling terminal of this process, if it has one, or had one when it was started."""

    def __init__(
        self, is_there: Callable[[], bool] = _can_be_opened, is_hung_up: Callable[[int], bool] = _is_hung_up
    ) -> None:
        self._is_there = is_there
        self._was_there = is_there() or any(is_hung_up(fd) for fd in range(3))

    def has_gone(self) -> bool:
        """Tell, once, that the terminal has gone since this object was made."""
        if not self._was_there or self._is_there():
            return False
        self._was_there = False
        return True
