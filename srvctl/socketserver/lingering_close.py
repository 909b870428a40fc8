"""Closing a connection so that the peer gets the whole reply.

close(2) on a TCP socket with unread input sends a reset, and so does input that comes afterwards; the reset
destroys what of the reply has not been read (RFC 1122, 4.2.2.13; RFC 9112, 9.6 describes the cure). So: shut
down the writing side, read and discard what still comes, for a bounded time and amount, then close. Apache
and nginx call it a lingering close. It never holds up the next request: the loop does the waiting.
"""

from __future__ import annotations

import contextlib
import select
import socket
from time import monotonic

from srvctl.runtime.loop import Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

LINGER_SECONDS = 2.0  # nginx: lingering_timeout 5 s, Apache: 2 s a read
LINGER_BYTES = 64 * 1024  # more than a well-behaved peer has in flight at the end
LINGER_MAX = 512  # connections at a time: each holds a descriptor


class _LingeringSocket:
    __slots__ = ("budget", "deadline", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.budget = LINGER_BYTES
        self.deadline = monotonic() + LINGER_SECONDS

    def discard(self) -> bool:
        """Discard what has come; return whether that was all and the socket can be closed."""
        try:
            while self.budget > 0:
                data = self.sock.recv(min(self.budget, 16384), socket.MSG_DONTWAIT)
                if not data:
                    return True
                self.budget -= len(data)
        except BlockingIOError:
            return False
        except (OSError, ValueError):  # reset already, or an SSL object that is not in the state for it
            return True
        return True


class Lingering:
    """The connections that are being closed. Owns each from `close` on, until its peer is done with it.

    At most `limit` wait; the one that has waited longest is closed for the next.
    """

    def __init__(self, close: Callable[[Any], None], limit: int = LINGER_MAX) -> None:
        self._close = close
        self.limit = limit
        self._closing: dict[int, _LingeringSocket] = {}  # by deadline, since each has as long as the others
        self._is_timed = False
        self._is_last = False

    def __len__(self) -> int:
        return len(self._closing)

    def close(self, sock: Any, loop: Loop | None) -> None:
        """Half-close `sock` and close it when its peer has, at once where that is so already; never blocks."""
        try:
            sock.shutdown(socket.SHUT_WR)
            # A handler may have left a timeout on it, and Python waits for that before it passes MSG_DONTWAIT on.
            sock.setblocking(False)
        except (OSError, AttributeError):  # not connected any more, or not a socket
            self._close(sock)
            return
        closing = _LingeringSocket(sock)
        if closing.discard():
            self._close(sock)
            return
        if len(self._closing) >= self.limit:
            self._end_oldest(loop)
        self._closing[id(closing)] = closing
        if self._is_last:  # the server has been closed meanwhile: nobody else is left to wait
            self.finish()
        elif loop:
            self._watch(loop, closing)

    def watch(self, loop: Loop) -> None:
        """Have `loop` take over those that the last loop left."""
        self._is_timed = False
        for closing in list(self._closing.values()):
            self._watch(loop, closing)

    def _watch(self, loop: Loop, closing: _LingeringSocket) -> None:
        # This may be a handler's thread, and the loop asleep: it wakes when the peer is done. One timer for all, or
        # each close of a thread would wake it once more.
        with contextlib.suppress(OSError, ValueError):  # closed at this moment; or no memory, and then time ends it
            loop.watch(closing.sock.fileno(), lambda events: self._on_readable(loop, closing))
        if not self._is_timed:
            self._is_timed = True
            loop.call_soon(lambda: self._end_late(loop))

    def _end_oldest(self, loop: Loop | None) -> None:
        with contextlib.suppress(StopIteration, RuntimeError):  # another thread ends one at this moment
            self._end(loop, next(iter(self._closing.values())))

    def _end_late(self, loop: Loop) -> None:
        """End those whose time is up, and come back for the next."""
        now = monotonic()
        for closing in list(self._closing.values()):
            if closing.deadline > now:
                break
            self._end(loop, closing)
        self._is_timed = False
        if first := next(iter(list(self._closing.values())), None):
            self._is_timed = True
            loop.call_at(first.deadline, lambda: self._end_late(loop))

    def _on_readable(self, loop: Loop, closing: _LingeringSocket) -> None:
        if closing.discard():
            self._end(loop, closing)

    def _end(self, loop: Loop | None, closing: _LingeringSocket) -> None:
        if self._closing.pop(id(closing), None) is not None:
            if loop:
                loop.unwatch(closing.sock.fileno())
            self._close(closing.sock)

    def sweep(self) -> None:
        """Close those whose peer is done or whose time is up; for a server that runs without a loop."""
        for closing in list(self._closing.values()):
            if closing.discard() or closing.deadline <= monotonic():
                self._end(None, closing)

    def finish(self) -> None:
        """Wait until all are closed, up to their deadlines: for a process that is about to end. Blocks."""
        self._is_last = True
        self.sweep()
        while left := list(self._closing.values()):
            poll = select.poll()
            for closing in left:
                poll.register(closing.sock, select.POLLIN)
            soonest = min(closing.deadline for closing in left)
            poll.poll(max(0.0, soonest - monotonic()) * 1000 + 1)
            self.sweep()

    def close_all(self) -> None:
        """Close all as they are."""
        for closing in list(self._closing.values()):
            with contextlib.suppress(OSError):
                self._end(None, closing)
