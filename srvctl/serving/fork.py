"""A process for each request: forked in batches, and each with a meter that parent and child share.

What a fork costs is pages: behind it every page that parent or child writes to is a fault, and Python writes to
whatever it looks at. A child that does nothing takes some 70 of them, the import of `threading` 110 more, a call of
`signal.signal` 90, and the way of a request through the parent 150, again after each fork. So the child does little
besides its handler, and the parent forks for all that have come in one go, with nothing done between.

With 50 clients that is 281 faults in a child and 37 in the parent for each of them, where the standard library's
server has 299 and 97, and 2.4 ms of processor time in the child, 0.6 in the parent (2.3 and 0.8): the time is in the
faults.
"""

from __future__ import annotations

import _socket
import gc
import os
import signal
import socket

from srvctl.runtime.loop import Loop
from srvctl.serving.connection import Connection
from srvctl.serving.conversation import CAME_AT, DONE, FAILED, OUTCOME, RECEIVED, SharedMeters
from srvctl.serving.prefork import SpareServing
from srvctl.socketserver.accept_errors import RequestNotStarted
from srvctl.socketserver.forking import flush_std_streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from srvctl.serving.conversation import Meter
    from srvctl.socketserver.stream import StreamServer

    class Base(SpareServing, StreamServer):  # or a datagram's, which has no `_lingering`
        """What it is mixed into."""
else:
    Base = SpareServing

_SHUT_WR = int(socket.SHUT_WR)
_close, _shutdown = _socket.socket.close, _socket.socket.shutdown


class ForkServing(Base):
    """What a forking server has on top: the parent keeps each connection, and lingers and cuts for the child."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._meters = SharedMeters(self.settings.max_connections)
        self._to_fork: list[tuple[Any, Any]] = []
        self._forks_soon = False
        super().__init__(*args, **kwargs)

    @property
    def draining(self) -> bool:
        """Whether the server was asked to stop; a child that was forked before learns of it too."""
        return self._meters.flag or super().draining

    def drain(self, seconds: float, *, keep_queue: bool = False) -> None:
        self._meters.raise_flag()
        super().drain(seconds, keep_queue=keep_queue)

    def _serve(self, loop: Loop, poll_interval: float) -> None:
        # What there is now is never garbage. A collection in a child would write to every page of it.
        gc.collect()
        gc.freeze()
        loop.call_soon(self._fork_all)
        super()._serve(loop, poll_interval)

    def _is_full(self) -> bool:
        return len(self.active_children or ()) + len(self._to_fork) >= self.max_children

    # --- the parent

    def process_request(self, request: Any, client_address: Any) -> None:
        if id(request) not in self.conversations and not self._begin(request, client_address):
            return
        conversation = self.conversations[id(request)]
        if isinstance(conversation.meter, list) and (meter := self._meters.take()):
            meter[RECEIVED], meter[CAME_AT] = conversation.meter[RECEIVED], conversation.meter[CAME_AT]
            conversation.meter = meter
            self._set_meter(request, meter)
        if not self._give_to_spare(request, client_address):
            self._to_fork.append((request, client_address))
        self._fork_soon()
        self._hold_when_full()

    def _fork_soon(self) -> None:
        if not self._forks_soon and (loop := self._loop):
            self._forks_soon = True
            loop.call_soon(self._fork_all)

    def _fork_all(self) -> None:
        """Fork a child for each request that came, and one for the next."""
        self._forks_soon = False
        batch, self._to_fork = self._to_fork, []
        started, error = [], None
        flush_std_streams()  # or each process would write what is buffered
        for request, client_address in batch:
            try:
                pid = os.fork()
            except OSError as reason:
                error = reason
                break
            if pid == 0:
                self._run_child(self._serve_in_child, request, client_address)
            started.append(pid)
        else:
            self._fork_spare()
        for pid, (request, client_address) in zip(started, batch, strict=False):
            self._add_child(pid, request, client_address)
        for request, client_address in reversed(batch[len(started) :]):
            self._outlive(self._postpone, request, client_address, _not_started(error))

    def _child_ended(self, pid: int, status: int) -> None:
        request = self._by_pid.pop(pid)
        conversation = self.conversations[id(request)]
        if os.WIFSIGNALED(status) and not conversation.how:
            conversation.how = signal.Signals(os.WTERMSIG(status)).name
        elif os.waitstatus_to_exitcode(status) and conversation.meter[OUTCOME] == DONE:
            conversation.meter[OUTCOME] = FAILED
        meter = conversation.meter
        self.shutdown_request(request)
        self.tally.settle()
        self._meters.give_back(meter)
        self._fork_soon()

    def _set_meter(self, request: Any, meter: Meter) -> None:
        raise NotImplementedError

    # --- any child

    def _release_in_child(self, request: Any) -> None:
        """Close, in the child, every other conversation too: a copy here would keep it open after its end."""
        # Nothing here calls what is written in Python: each function is another five pages.
        for conversation in self.conversations.values():
            other = conversation.request
            if other is not request and isinstance(other, Connection):
                _close(other)
        if loop := self._loop:
            for close in loop.closers:
                close()
            self._loop = None
        self._settle()
        if self._is_stream:
            _close(self.socket)
            if len(self._lingering):
                self._lingering.abandon()

    def _end_in_child(self, request: Any) -> None:
        """Leave the close to the parent, which lingers without keeping a process."""
        if self._is_stream:
            try:  # noqa: SIM105 - a call more
                _shutdown(request, _SHUT_WR)
            except OSError:
                pass


def _not_started(cause: OSError | None) -> RequestNotStarted:
    error = RequestNotStarted()
    error.__cause__ = cause
    return error
