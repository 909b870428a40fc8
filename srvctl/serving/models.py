"""By how requests are served: one at a time, in threads, in processes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from time import monotonic

from srvctl.conversation import CAME_AT, DONE, FAILED, OUTCOME, RECEIVED, SharedMeters
from srvctl.serving.draining import Draining
from srvctl.socketserver.forking import ForkingMixIn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from srvctl.conversation import Meter

    ForkBase = ForkingMixIn
else:
    ForkBase = object


class SyncServing(Draining):
    """One request at a time, in the main thread, where the loop stands still while a handler runs.

    So signals do the loop's work meanwhile: SIGALRM when a timer is due, and `interrupt`, for whoever has something to
    say. The handlers of Python signals run between two bytecodes of the main thread, and a system call that waits is
    taken up again behind them (PEP 475).
    """

    _busy = False

    def process_request(self, request: Any, client_address: Any) -> None:
        if id(request) not in self.conversations and not self._begin(request, client_address):
            return
        self._busy = True
        try:
            self._set_alarm()  # behind the begin, which sets the timers of this very conversation
            super().process_request(request, client_address)
        finally:
            self._busy = False
            if self._loop and self._loop.next_due() is not None:
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
            signal.setitimer(signal.ITIMER_REAL, max(0.001, due - monotonic()))

    def _start_waiting(self) -> None:
        if not self._busy:
            super()._start_waiting()


class ForkServing(Draining, ForkBase):
    """What a forking server has on top: the parent keeps each connection, and a meter that it shares with the child."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._meters = SharedMeters(self.settings.max)
        self._by_pid: dict[int, Any] = {}
        super().__init__(*args, **kwargs)

    @property
    def draining(self) -> bool:
        """Whether the server was asked to stop; a child that was forked before learns of it too."""
        return self._meters.flag or super().draining

    def drain(self, seconds: float, *, keep_queue: bool = False) -> None:
        self._meters.raise_flag()
        super().drain(seconds, keep_queue=keep_queue)

    def process_request(self, request: Any, client_address: Any) -> None:
        if id(request) not in self.conversations and not self._begin(request, client_address):
            return
        conversation = self.conversations[id(request)]
        if isinstance(conversation.meter, list) and (meter := self._meters.take()):
            meter[RECEIVED], meter[CAME_AT] = conversation.meter[RECEIVED], conversation.meter[CAME_AT]
            conversation.meter = meter
            self._set_meter(request, meter)
        super().process_request(request, client_address)

    def _set_meter(self, request: Any, meter: Meter) -> None:
        raise NotImplementedError

    def _release_in_child(self, request: Any) -> None:
        """Close, in the child, every other conversation too: a copy here would keep it open after its end."""
        for conversation in self.conversations.values():
            connection = conversation.connection
            if connection is not None and conversation.request is not request:
                connection.close()
        self._pid = os.getpid()
        super()._release_in_child(request)

    def _end_in_child(self, request: Any) -> None:
        """Leave the close to the parent, which lingers without keeping a process for it."""
        if isinstance(request, socket.socket):
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_WR)

    def _child_started(self, pid: int, request: Any, client_address: Any) -> None:
        self.conversations[id(request)].pid = pid
        self._by_pid[pid] = request
        self._watch_child(pid)

    def _child_ended(self, pid: int, status: int) -> None:
        request = self._by_pid.pop(pid)
        conversation = self.conversations[id(request)]
        if os.WIFSIGNALED(status) and not conversation.how:
            conversation.how = signal.Signals(os.WTERMSIG(status)).name
        elif os.waitstatus_to_exitcode(status) and conversation.meter[OUTCOME] == DONE:
            conversation.meter[OUTCOME] = FAILED
        meter = conversation.meter
        self.shutdown_request(request)
        self._meters.give_back(meter)
