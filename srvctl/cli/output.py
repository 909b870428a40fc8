"""Output whose reader has gone, as that of ``srvctl handlers | head -1``: discarded; the caller says the status."""

from __future__ import annotations

import contextlib
import io
import os
import sys


def discard_unread() -> bool:
    """Redirect standard output and error to /dev/null where their reader has gone; tell whether one of them had.

    What is still in a buffer would otherwise be an error when the interpreter exits.
    """
    import select  # for this alone

    poller = select.poll()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # it is None where srvctl was started with the descriptor closed
            with contextlib.suppress(io.UnsupportedOperation):  # a caller has replaced it by a stream in memory
                poller.register(stream.fileno(), 0)
    unread = [fd for fd, event in poller.poll(0) if event & select.POLLERR]
    for fd in unread:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, fd)
        os.close(null)
    return bool(unread)
