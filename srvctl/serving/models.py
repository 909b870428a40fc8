"""By how requests are served, where that is in this process: one at a time, and in threads."""

from __future__ import annotations

import signal
from time import monotonic

from srvctl.runtime import log
from srvctl.serving.deadlines import NEVER
from srvctl.serving.drain import Draining
from srvctl.socketserver.request_hooks import Processing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from srvctl.socketserver.leader_followers import TakingMixIn

    ThreadBase = TakingMixIn
else:
    ThreadBase = object


class InPlace(Draining):
    """Serve each request where it was taken: in the loop, or in the pool's thread that took it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._busy = self._has_alarm = False
        super().__init__(*args, **kwargs)
        is_ruled = type(self).verify_request is not Processing.verify_request
        has_limits = self._shortest_limit < NEVER
        self._begins_simply = not (is_ruled or has_limits or self._refuses or log.wants(log.DEBUG))

    def _process(self, request: Any, client_address: Any) -> None:
        """Verify, begin, handle, end: the hooks of `Processing` in one, since nobody overrides one of them here.

        Where nothing is to be asked before, the entry in the table is all: 4,400 instructions less for each request.
        """
        if self._begins_simply:
            self.conversations[id(request)] = self._conversation_with(request, client_address)
            if self._shortest_limit < NEVER:  # a stop has begun
                self._expect_limit()
        elif not self._verified(request, client_address):
            self.shutdown_request(request)
            return
        elif not self._begin(request, client_address):
            return
        self._handle(request, client_address)

    def _handle(self, request: Any, client_address: Any) -> None:
        """Have the handler serve a request that is in the table, and end it."""
        self._busy = True
        try:
            if (loop := self._loop) and loop.timers:
                self._set_alarm()
            self.finish_request(request, client_address)
        except Exception:
            self.handle_error(request, client_address)
        finally:
            self._busy = False
            self.shutdown_request(request)
            if self._has_alarm or self._waiting:
                self._on_handled()

    def _set_alarm(self) -> None:
        """Called before a handler runs while timers are set."""

    def _on_handled(self) -> None:
        """Called behind a handler when there was an alarm, or requests wait."""


class SyncServing(InPlace):
    """One request at a time, in the main thread, where the loop stands still while a handler runs.

    So signals do the loop's work meanwhile: SIGALRM when a timer is due, and `interrupt`, for whoever has something to
    say. The handlers of Python signals run between two bytecodes of the main thread, and a system call that waits is
    taken up again behind them (PEP 475).
    """

    def process_request(self, request: Any, client_address: Any) -> None:
        self._handle(request, client_address)

    def _on_handled(self) -> None:
        if self._has_alarm:
            self._has_alarm = False
            signal.setitimer(signal.ITIMER_REAL, 0)
        if self._waiting and self._loop:
            self._loop.call_soon(self._start_waiting)

    def interrupt(self) -> bool:
        """Do what is due, from a signal handler, if the loop cannot; return whether it was for us to do."""
        if not self._busy or self._loop is None:
            return False
        self._loop.call_due()
        self._set_alarm()
        return True

    def _set_alarm(self) -> None:
        if self._loop and (due := self._loop.next_due()) is not None:
            self._has_alarm = True
            signal.setitimer(signal.ITIMER_REAL, max(0.001, due - monotonic()))

    def _start_waiting(self) -> None:
        if not self._busy:
            super()._start_waiting()


class ThreadServing(InPlace, ThreadBase):
    """What a server whose threads take requests has on top: it is drained when they have all left."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.resize(self.most)

    def resize(self, most: int) -> None:
        super().resize(most)
        self.max_threads = most + self._refuses  # one more, to tell clients that there is no room
        self._look_after()  # when it was full, nobody looked

    def _process(self, request: Any, client_address: Any) -> None:
        if self._gate:
            super()._process(request, client_address)
        else:  # a source without a descriptor: the loop took it, and a thread is to serve it
            Processing._process(self, request, client_address)

    def _thread_done(self) -> None:
        super()._thread_done()
        self._check_soon()

    def _is_drained(self) -> bool:
        return super()._is_drained() and not self._running
