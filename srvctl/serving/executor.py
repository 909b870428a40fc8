"""Executors: where the handler of a conversation runs. What they have in common, and the simplest of them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from time import monotonic

from srvctl.serving.conversation import CutState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from srvctl.runtime.loop import Loop
    from srvctl.serving.acceptor import Acceptor
    from srvctl.serving.closing import Closing
    from srvctl.serving.conversation import Conversation
    from srvctl.serving.handling import Handling


class Executor:
    """Where conversations are served, at most `limit` at the same time.

    To be supplied: `run`. `open` is called when the loop begins, `close` when it has ended; both, and everything else
    but `run` and `end_soon`, in the loop's thread.
    """

    def __init__(self, handling: Handling, closing: Closing, limit: int) -> None:
        self._handling, self._closing, self.limit = handling, closing, limit
        self._loop: Loop | None = None
        self._acceptor: Acceptor

    def open(self, loop: Loop, acceptor: Acceptor) -> None:
        """Begin to serve, in `loop`; what cannot be served yet goes back to `acceptor`."""
        self._loop, self._acceptor = loop, acceptor

    def close(self) -> None:
        """End what serves; the loop has ended."""
        self._loop = None

    def wait(self) -> None:
        """Wait for what still runs, if that must not be left behind. Blocks."""

    # --- serving

    def run(self, conversation: Conversation) -> None:
        """Serve a conversation that is in the table, and end it, now or later.

        Raises `RequestDeferred` when the system has no thread or process for it, and then nothing has changed.
        """
        raise NotImplementedError

    def resize(self, limit: int) -> None:
        """Serve at most `limit` at the same time from now on; what runs goes on."""
        self.limit = limit

    def is_full(self) -> bool:
        """Tell whether as many are served as may be."""
        return False

    def is_idle(self) -> bool:
        """Tell whether nothing is left to wait for, besides the conversations in the table."""
        return True

    def can_start(self) -> bool:
        """Tell whether `run` may be called now for a conversation that was pending."""
        return True

    # --- accepting: the executor says who waits for the source

    def watch(self, loop: Loop, fd: int, on_readable: Callable[[int], None]) -> None:
        """Have conversations accepted as they come, until `unwatch`."""
        if fd >= 0:
            loop.watch(fd, on_readable)

    def unwatch(self, loop: Loop, fd: int) -> None:
        """Have none accepted any more."""
        if fd >= 0:
            loop.unwatch(fd)

    def before_accepting(self) -> None:
        """Called when there is something to accept: what ended meanwhile makes room."""

    def is_elsewhere(self) -> bool:
        """Tell whether this is a thread that accepts by itself, and not the loop's."""
        return False

    def accept_backlog(self, acceptor: Acceptor) -> bool:
        """Have everything accepted that the kernel has queued; return whether that was possible."""
        return acceptor.accept_backlog()

    def interrupt(self) -> bool:
        """Called from a signal handler: do what is due, if a handler keeps the loop; return whether that was so."""
        return False

    # --- ending from outside

    def is_draining(self) -> bool:
        """Tell, in another process than the server's, whether that was asked to stop."""
        return False

    def before_sweep(self) -> None:
        """Called before the table is looked at for conversations that last too long."""

    def cut(self, conversation: Conversation) -> None:
        """Have a conversation end: its handler sees the end of the connection."""
        conversation.cut, conversation.cut_at = CutState.CUT, monotonic()
        shutdown_connection(conversation, socket.SHUT_RDWR)

    def kill(self, conversation: Conversation) -> None:
        """End a conversation whose handler did not take the hint; only a process can be made to."""
        if conversation.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(conversation.pid, signal.SIGKILL)

    def set_draining(self) -> None:
        """Called when a stop begins: what has nothing to do may go."""

    def stop_now(self) -> None:
        """Called when a stop is not to wait any more."""

    def abandon(self, give_up: Callable[[], None]) -> None:
        """Called when everything left was cut and killed: call `give_up` if nothing that runs will end by itself."""
        give_up()


class InLoop(Executor):
    """One conversation at a time, in the main thread, where the loop stands still while a handler runs.

    So signals do the loop's work meanwhile: SIGALRM when a timer is due, and `interrupt`, for whoever has something to
    say. The handlers of Python signals run between two bytecodes of the main thread, and a system call that waits is
    taken up again behind them (PEP 475).
    """

    def __init__(self, handling: Handling, closing: Closing, limit: int) -> None:
        super().__init__(handling, closing, limit)
        self._in_handler = self._has_alarm = False

    def run(self, conversation: Conversation) -> None:
        self._in_handler = True
        try:
            if (loop := self._loop) and loop.timers:
                self._set_alarm()
            self._handling.run(conversation)
        finally:
            self._in_handler = False
            self._closing.end(conversation)
            if self._has_alarm or self._acceptor.pending:
                self._after_handler()

    def can_start(self) -> bool:
        return not self._in_handler

    def interrupt(self) -> bool:
        if not self._in_handler or self._loop is None:
            return False
        self._loop.call_due()
        self._set_alarm()
        return True

    def _set_alarm(self) -> None:
        if self._loop and (due := self._loop.next_due()) is not None:
            self._has_alarm = True
            signal.setitimer(signal.ITIMER_REAL, max(0.001, due - monotonic()))

    def _after_handler(self) -> None:
        if self._has_alarm:
            self._has_alarm = False
            signal.setitimer(signal.ITIMER_REAL, 0)
        if self._acceptor.pending and self._loop:
            self._loop.call_soon(self._acceptor.start_pending)


def shutdown_connection(conversation: Conversation, how: int) -> None:
    """shutdown(2) the connection of a conversation, if it has one."""
    if (connection := conversation.connection) is not None:
        with contextlib.suppress(OSError):
            connection.shutdown(how)
