"""A process for each conversation: forked in batches, and each with a meter that parent and child share.

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
import socket

from srvctl.runtime import signals
from srvctl.runtime.exit_status import signal_name
from srvctl.serving.children import ChildWatcher
from srvctl.serving.conversation import DONE, FAILED, HANDLER_OUTCOME, RECEIVED, RECEIVED_AT, Outcome
from srvctl.serving.executor import Executor
from srvctl.serving.prefork import Prefork
from srvctl.serving.shared_counters import SharedCounters
from srvctl.socketserver.accept_errors import RequestDeferred
from srvctl.socketserver.forking import end_child, flush_std_streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from srvctl.runtime.loop import Loop
    from srvctl.serving.acceptor import Acceptor
    from srvctl.serving.conversation import Conversation
    from srvctl.serving.server import Server

_SHUT_WR = int(socket.SHUT_WR)
_close, _shutdown = _socket.socket.close, _socket.socket.shutdown


class ForkPool(Executor):
    """Serve each conversation in a forked child; the parent keeps the connection, and closes and cuts for the child.

    One child more than there are conversations waits for the next one (`srvctl.serving.prefork`).
    """

    def __init__(self, server: Server, limit: int) -> None:
        super().__init__(server.handling, server.closing, limit)
        self._server, self._table, self.source = server, server.table, server.source
        self.shared = SharedCounters(server.settings.max_connections)
        self._to_fork: list[Conversation] = []
        self._forks_soon = False
        self._by_pid: dict[int, Conversation] = {}
        self._watcher: ChildWatcher | None = None
        self._prefork = Prefork(self)

    # --- the parent

    def open(self, loop: Loop, acceptor: Acceptor) -> None:
        super().open(loop, acceptor)
        # What there is now is never garbage. A collection in a child would write to every page of it.
        gc.collect()
        gc.freeze()
        self._watcher = ChildWatcher(loop, self._on_child_ended)
        loop.call_soon(self._fork_all)

    def close(self) -> None:
        self._prefork.stop()
        if self._watcher:
            self._watcher.close()
        super().close()

    def wait(self) -> None:
        """Wait for the children that are left."""
        for pid in [*self._by_pid, *self._prefork.exiting]:
            try:
                status = os.waitpid(pid, 0)[1]
            except ChildProcessError:
                status = 0
            self._on_child_ended(pid, status)

    def is_full(self) -> bool:
        return len(self._by_pid) + len(self._to_fork) >= self.limit

    def is_idle(self) -> bool:
        return not self._prefork.exiting

    def is_draining(self) -> bool:
        return self.shared.draining

    def set_draining(self) -> None:
        self.shared.set_draining()
        self._prefork.stop()

    def stop_now(self) -> None:
        self._prefork.stop()

    def abandon(self, give_up: Callable[[], None]) -> None:
        """Give up if a conversation has no process yet; the others end, since theirs were killed."""
        if not any(conversation.pid for conversation in self._table.snapshot()):
            give_up()

    def run(self, conversation: Conversation) -> None:
        if isinstance(conversation.meter, list) and (meter := self.shared.acquire()):
            meter[RECEIVED], meter[RECEIVED_AT] = conversation.meter[RECEIVED], conversation.meter[RECEIVED_AT]
            conversation.meter = meter
            if conversation.connection is not None:
                conversation.connection.meter = meter
        if not self._prefork.hand_over(conversation):
            self._to_fork.append(conversation)
        self._fork_soon()
        self._acceptor.pause_when_full()

    def _fork_soon(self) -> None:
        if not self._forks_soon and (loop := self._loop):
            self._forks_soon = True
            loop.call_soon(self._fork_all)

    def _fork_all(self) -> None:
        """Fork a child for each conversation that came, and one for the next."""
        self._forks_soon = False
        batch, self._to_fork = self._to_fork, []
        started, error = [], None
        flush_std_streams()  # or each process would write what is buffered
        signals.block()
        for conversation in batch:
            try:
                pid = os.fork()
            except OSError as reason:
                error = reason
                break
            if pid == 0:
                self.run_child(self._serve_in_child, conversation)
            started.append(pid)
        else:
            self._prefork.fork()
        signals.unblock()
        for pid, conversation in zip(started, batch, strict=False):
            self.add_child(pid, conversation)
            self.watch_child(pid)
        for conversation in reversed(batch[len(started) :]):
            self._acceptor.defer(conversation, _not_started(error))

    def may_prefork(self) -> bool:
        """Tell whether a child for the next conversation may be of use."""
        server = self._server
        return server.can_pass_connections and self._loop is not None and not self.is_full() and not server.draining

    def watch_child(self, pid: int) -> None:
        """Have the end of a child told."""
        if self._watcher:
            self._watcher.watch(pid)

    def add_child(self, pid: int, conversation: Conversation) -> None:
        """Enter a child that serves a conversation."""
        conversation.pid = pid
        self._by_pid[pid] = conversation

    def _on_child_ended(self, pid: int, status: int) -> None:
        conversation = self._by_pid.pop(pid, None)
        if conversation is None:
            self._prefork.on_child_ended(pid)
            if self._closing.on_closed:
                self._closing.on_closed()
            return
        if os.WIFSIGNALED(status) and not conversation.outcome:
            conversation.outcome, conversation.signal_name = Outcome.KILLED, signal_name(os.WTERMSIG(status))
        elif os.waitstatus_to_exitcode(status) and conversation.meter[HANDLER_OUTCOME] == DONE:
            conversation.meter[HANDLER_OUTCOME] = FAILED
        if isinstance(meter := conversation.meter, memoryview):
            conversation.meter = meter.tolist()  # which stays as it is when the next child writes to that one
            self.shared.release(meter)
        self._closing.end(conversation)
        self._fork_soon()
        self._acceptor.on_room()

    # --- any child. Little here calls what is written in Python: each function is another five pages.

    def run_child(self, work: Callable[[Any], None], argument: Any) -> NoReturn:
        """Do `work` in a forked child, and end it: whatever that raises, no child returns into the parent's loop."""
        status = 1
        try:
            signals.unblock_in_child()
            work(argument)
            status = 0
        finally:
            end_child(status)

    def _serve_in_child(self, conversation: Conversation) -> None:
        self.release_in_child(conversation)
        self.serve_in_child(conversation)

    def serve_in_child(self, conversation: Conversation) -> None:
        """Serve a conversation; the close is the parent's, which waits for the peer without keeping a process."""
        self._handling.run(conversation)
        if self.source.is_stream:
            try:  # noqa: SIM105 - a call more
                _shutdown(conversation.connection, _SHUT_WR)
            except (OSError, TypeError):  # not connected any more; or a step made something else of it, which closes
                pass

    def release_in_child(self, conversation: Conversation | None) -> None:
        """Close, in the child, every other conversation too: a copy here would keep it open after its end."""
        if self.source.is_stream:
            for other in self._table.values():
                if other is not conversation:
                    _close(other.connection)
        if loop := self._loop:
            for close in loop.closers:
                close()
            self._loop = None
        if self.source.is_stream:
            _close(self.source.socket)
        self._server.release_in_child()


def _not_started(cause: OSError | None) -> RequestDeferred:
    error = RequestDeferred()
    error.__cause__ = cause
    return error
