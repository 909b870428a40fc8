"""The server that the launcher runs: its parts, put together, and what a handler sees of it as ``self.server``."""

from __future__ import annotations

import os
import socket

from srvctl.runtime import log
from srvctl.runtime.descriptor_limit import closing_limit
from srvctl.runtime.lifecycle import Event, Lifecycle, State
from srvctl.runtime.loop import Loop
from srvctl.serving.acceptor import Acceptor
from srvctl.serving.admission import Admission, LimitCheck, guard, log_begin, rule
from srvctl.serving.closing import Closing
from srvctl.serving.connection import StreamSource
from srvctl.serving.counters import Counters
from srvctl.serving.deadlines import Deadlines
from srvctl.serving.drain import Drain
from srvctl.serving.establish import Establish
from srvctl.serving.handling import Handling
from srvctl.serving.shared_limit import SharedLimitCheck
from srvctl.serving.shared_room import SharedRoom
from srvctl.serving.table import ConversationTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from srvctl.config.settings import Settings
    from srvctl.serving.admission import Check
    from srvctl.serving.establish import Step
    from srvctl.serving.executor import Executor
    from srvctl.serving.recorder import Recorder
    from srvctl.serving.shared_limit import SharedLimit
    from srvctl.serving.source import SocketSource

    MakeSource = Callable[[Counters], SocketSource]
    MakeExecutor = Callable[["Server"], Executor]


_IP = (int(socket.AF_INET), int(socket.AF_INET6))


class Server:
    """What serves one socket. `name` is that of the class of the hierarchy that does the same.

    To a handler it offers what `socketserver` promises (``server_address``, ``socket``, ``RequestHandlerClass``), and
    ``settings``, ``draining`` and ``state``, which is what its ``service_start`` returned. A class
    derived from it may have a `verify_request`. `on_loop` is called with the loop when that begins, `on_change` when a
    conversation has ended, in whatever thread that was, and `on_give_up` as `Drain` says. The parts are public to each
    other, and to nobody else.
    """

    on_loop: Callable[[Loop], None] = staticmethod(lambda loop: None)
    can_pass_connections = True  # to another process, as the descriptors that they are

    def __init__(
        self,
        settings: Settings,
        handler: Callable[[Any, Any, Any], Any],
        make_source: MakeSource,
        make_executor: MakeExecutor,
        limit: int,
        name: str = "Server",
        steps: Sequence[Step] = (),
        shared_limit: SharedLimit | None = None,
    ) -> None:
        self.settings, self.RequestHandlerClass, self.name = settings, handler, name
        self.table, self.counters = ConversationTable(), Counters()
        self.source = make_source(self.counters)
        self.socket: socket.socket = self.source.socket
        self.server_address = self.source.address
        self.closing, self.handling = self._make_ends(handler, Establish(steps) if steps else None)
        self.closing.resize(closing_limit(limit))
        self.shared_limit = shared_limit
        self.limit_check = self._make_limit_check(limit) if settings.at_limit == "refuse" else None
        self.executor = make_executor(self)
        self.deadlines = Deadlines(settings, self.table, self.executor)
        checks = self._checks()
        self.admission = Admission(self.table, checks) if checks else None
        self.acceptor = Acceptor(
            self.source,
            self.admission,
            self.table,
            self.deadlines,
            self.executor,
            self.closing,
            waits_when_full=self.limit_check is None,
        )
        self.closing.shared_limit = shared_limit
        self.acceptor.room = self._room = SharedRoom(shared_limit, self.acceptor) if shared_limit else None
        self.drainage = Drain(self.acceptor, self.table, self.deadlines, self.executor, self.closing)
        self.state: Any = None
        self._life = Lifecycle()
        self._life.on(Event.BIND)
        self._loop: Loop | None = None

    def _make_ends(
        self, handler: Callable[[Any, Any, Any], Any], establish: Establish | None
    ) -> tuple[Closing, Handling]:
        return Closing(self.table, self.counters), Handling(handler, self, establish)

    def _make_limit_check(self, limit: int) -> LimitCheck | SharedLimitCheck:
        if self.shared_limit is None:
            return LimitCheck(self.table, limit)
        self.shared_limit.turn_on(self.table)
        return SharedLimitCheck(self.shared_limit)

    @property
    def is_guarded(self) -> bool:
        """Whether senders that may be forged are not answered: of a program, or a handler whose ``guard`` is true."""
        if self.settings.datagram_guard == "off" or self.source.is_stream or self.source.family not in _IP:
            return False
        return bool(self.settings.program) or bool(getattr(self.RequestHandlerClass, "guard", False))

    def _checks(self) -> list[Check]:
        """Return what is to be asked before a conversation is let in, in its order."""
        checks: list[Check] = []
        if self.is_guarded:
            from srvctl.net.datagram_guard import DatagramGuard

            checks.append(guard(DatagramGuard()))
        if not self.source.is_stream and self.source.family == socket.AF_UNIX and not self.settings.datagram_wait:
            from srvctl.serving.unread_answers import UnreadAnswers

            unread_answers = UnreadAnswers(self.socket)
            checks.append(unread_answers)  # type: ignore[arg-type]  # a source of datagrams makes no other ones
            self.closing.on_over = unread_answers.on_end
        if type(self).verify_request is not Server.verify_request:
            checks.append(rule(self.verify_request))
        if self.limit_check:
            checks.append(self.limit_check)
        if log.wants(log.DEBUG):
            checks.append(log_begin)
        return checks

    def __repr__(self) -> str:
        return f"<{self.name} {self._life.state.value}>"

    # --- for handlers, and for classes derived from this one

    @property
    def server_name(self) -> str:
        """The host that the socket is bound to, as `http.server` has it; the path of a unix socket."""
        address = self.server_address
        return str(address[0]) if isinstance(address, tuple) else os.fsdecode(address)

    @property
    def server_port(self) -> int:
        """The port that the socket is bound to; 0 where there is none."""
        address = self.server_address
        return int(address[1]) if isinstance(address, tuple) else 0

    @property
    def facade(self) -> Any:
        """The object that a handler has as ``self.server``."""
        return self

    @property
    def draining(self) -> bool:
        """Whether the server was asked to stop; a child that was forked before learns of it too."""
        return self._life.state in (State.DRAINING, State.STOPPED) or self.executor.is_draining()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Return whether a request is to be served. When it raises, it is not."""
        return True

    # --- for the process that runs it

    @property
    def on_change(self) -> Callable[[], None] | None:
        """Called when a conversation has ended."""
        return self.closing.on_end

    @on_change.setter
    def on_change(self, callback: Callable[[], None] | None) -> None:
        self.closing.on_end = callback

    @property
    def on_give_up(self) -> Callable[[], None]:
        """Called when a stop leaves something running that nothing ends; does not return."""
        return self.drainage.on_give_up

    @on_give_up.setter
    def on_give_up(self, callback: Callable[[], None]) -> None:
        self.drainage.on_give_up = callback

    def serve_forever(self) -> None:
        """Serve until drained; blocks. Raises OSError when the socket cannot be used any more."""
        with Loop() as loop:
            self._loop = loop
            self._life.on(Event.SERVE)
            self.on_loop(loop)
            self.source.open()
            self.closing.open(loop)
            self.deadlines.open(loop)
            if self._room:
                self._room.open(loop)
            try:
                self.executor.open(loop, self.acceptor)
                self.acceptor.open(loop)
                self._begin(loop)
                loop.run(self._after_turn)
            finally:
                self._loop = None
                self.executor.close()
                self.acceptor.close()
                self.source.restore()

    _after_turn: Callable[[], None] | None = None

    def _begin(self, loop: Loop) -> None:
        """Called with the loop when everything is open; for classes derived from this one."""

    def server_close(self) -> None:
        """Close the socket, and wait for what runs; the last thing in its life."""
        self.socket.close()
        self.executor.wait()
        self.closing.finish()
        self._life.on(Event.STOP)

    def drain(self, seconds: float, *, keep_queue: bool = False) -> None:
        """Stop in order: take what the kernel has queued, close, let what runs finish for `seconds`, then cut it.

        `serve_forever` returns when nothing runs any more. Once more means that the deadline is now. With `keep_queue`
        another serves the socket from now on, and is left the queue, as with a socket that is not our own; quiet
        connections are left alone then, until `close_idle`. Does not block.
        """
        if self.drainage.deadline is not None or self._loop is None:
            self.stop_now()
            return
        self._life.on(Event.DRAIN)
        if self.limit_check:
            self.limit_check.is_lifted = True
        takes_backlog = self.source.is_own and not keep_queue
        self.drainage.begin(self._loop, seconds, takes_backlog=takes_backlog)
        if not keep_queue:
            self.close_idle()

    def close_idle(self) -> None:
        """Half-close connections that are quiet for ``--drain-idle-timeout``, while the server drains."""
        self.deadlines.hold_idle_to(self.settings.drain_idle_timeout)

    def stop_now(self) -> None:
        """Make the deadline of a stop now."""
        self.drainage.stop_now()

    def record(self, recorder: Recorder) -> None:
        """Have connections recorded, for the case that this process dies."""
        if isinstance(self.source, StreamSource):
            self.source.recorder = self.closing.recorder = recorder

    def share_limit(self, *, is_shared: bool) -> None:
        """Count conversations together with those of all other workers from now on, or by themselves again."""
        if self.shared_limit is None:
            return
        if is_shared:
            self.shared_limit.turn_on(self.table)
        elif not self.limit_check:
            self.shared_limit.turn_off()
            if self._room:
                self._room.look()

    def resize(self, limit: int) -> None:
        """Serve at most `limit` conversations at the same time from now on; what runs goes on."""
        if isinstance(self.limit_check, LimitCheck):
            self.limit_check.limit = limit
        self.closing.resize(closing_limit(limit))
        self.executor.resize(limit)
        self.acceptor.on_resized()

    def figures(self) -> dict[str, int]:
        """Return what there is to know of it in numbers."""
        return {"conversations": len(self.table)} | self.counters.figures()

    def parts(self) -> list[str]:
        """Return the names of the parts that a request goes through, in their order."""
        parts = [self.source, self.acceptor, self.admission, self.handling.establish, self.executor, self.closing]
        return [type(part).__name__ for part in parts if part is not None]

    def interrupt(self) -> bool:
        """Do what is due, from a signal handler, while a handler keeps the loop; return whether it was for us to do."""
        return self.executor.interrupt()

    def release_in_child(self) -> None:
        """Give up, in a forked child that serves one conversation, what only the parent is to have."""
        self.handling.adopt_process()
        if self._loop:
            self._loop = None
            self.closing.release_in_child()
            self.deadlines.release_in_child()
            self.drainage.release_in_child()
