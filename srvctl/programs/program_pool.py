"""The executor of programs: each conversation is given one, which leads a process group, is followed, and is ended so.

A conversation ends when its program does. What that left running is nobody's business any more, as with ``tcpserver``,
unless the conversation was cut: a descendant that has the connection open keeps it.
"""

from __future__ import annotations

import _thread
import errno
import os
import signal
import socket
from time import monotonic

from srvctl.config.settings import TERM_SECONDS
from srvctl.programs.guardian import Guardian
from srvctl.programs.holders import Orphans
from srvctl.programs.process_group import has_group, kill_group, terminate_group
from srvctl.programs.program import is_shortage
from srvctl.programs.reaper import SigchldReaper
from srvctl.programs.release import ReleaseCheck
from srvctl.programs.spawn_threads import SpawnRequest, SpawnThreads
from srvctl.runtime import log
from srvctl.runtime.rate_limit import RateLimiter
from srvctl.serving.acceptor import PauseReason
from srvctl.serving.conversation import CutState, Outcome
from srvctl.serving.executor import Executor, shutdown_connection
from srvctl.socketserver.accept_errors import RequestDeferred

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from srvctl.programs.conversation import ProgramConversation
    from srvctl.programs.stdio import Stdio
    from srvctl.runtime.loop import Loop
    from srvctl.serving.acceptor import Acceptor
    from srvctl.serving.conversation import Conversation
    from srvctl.serving.server import Server

# While more programs wait to be started than the threads can start in this time, nobody waits for the loop. Ends and
# connections that come meanwhile are seen to together, which takes this process a tenth less of the processor.
_SLEEP_SECONDS = 0.001
# More than can end before they are registered, however many are on their way.
_EARLY_MAX = 1000


class ProgramPool(Executor):
    """Serve each conversation by a program of its own, started by threads while the loop turns.

    `stdio` says what a program gets as its standard input and output, and what becomes of what it wrote.
    """

    def __init__(self, server: Server, limit: int, stdio: Stdio) -> None:
        super().__init__(server.handling, server.closing, limit)
        self._table, self._stdio = server.table, stdio
        self._reaper = SigchldReaper(self._register_started, self._on_reaped, self._after_reaping)
        self._spawn_threads = SpawnThreads(self._on_spawned_elsewhere)
        self._in_flight: set[int] = set()  # conversations that have a process, or one that is on its way
        self._establishing: set[int] = set()
        self._by_pid: dict[int, ProgramConversation] = {}
        self._reaped_early: dict[int, int] = {}  # wait statuses of processes that ended before they were registered
        self._terminating: set[int] = set()  # groups that got TERM and whose programs have ended since
        self._out_of_resources = False  # of processes or descriptors, when one was needed last
        self._failure_rate = RateLimiter()
        self._guardian, self._orphans = Guardian(), Orphans()
        self._release_check = ReleaseCheck(self._running, self._orphans, server.closing.release)

    # --- life

    def open(self, loop: Loop, acceptor: Acceptor) -> None:
        super().open(loop, acceptor)
        self._stdio.open(loop, acceptor)
        self._reaper.open(loop)
        self._guardian.open()
        self._orphans.open()

    def close(self) -> None:
        self._spawn_threads.close()
        self._register_started()
        self._reaper.close()
        self._release_check.is_armed = False
        super().close()

    def wait(self) -> None:
        """Wait for the programs that are left."""
        for pid in list(self._by_pid):
            try:
                status = os.waitpid(pid, 0)[1]
            except ChildProcessError:
                status = 0
            self._on_reaped(pid, status)
        self._orphans.close()
        self._guardian.dismiss()

    def is_full(self) -> bool:
        return len(self._in_flight) + len(self._establishing) >= self.limit

    def is_idle(self) -> bool:
        self._terminating = {pid for pid in self._terminating if has_group(pid)}
        return not self._terminating

    def before_accepting(self) -> None:
        self._register_started()

    def before_sweep(self) -> None:
        self._register_started()  # a program's descendants show whether it is idle

    def accept_backlog(self, acceptor: Acceptor) -> bool:
        return self._stdio.accept_backlog(acceptor)

    # --- starting

    def run(self, conversation: ProgramConversation) -> None:  # type: ignore[override]  # the source makes no others
        if conversation.cut is not CutState.NOT_CUT:  # while it waited for a process
            self._closing.end(conversation)
            return
        if self._handling.establish and not conversation.is_established and conversation.connection is not None:
            self._establish(conversation)
            return
        try:
            request = self._prepare_spawn(conversation)
        except (OSError, ValueError) as error:
            self._on_not_started(conversation, error)
            return
        on_their_way = len(self._in_flight) - len(self._by_pid)
        self._in_flight.add(id(conversation))
        if self._out_of_resources:  # one at a time then, and the others behind it
            self._acceptor.pause(PauseReason.TRIAL)
        if not self._spawn_threads.submit(request, on_their_way):  # where there is no thread there is no process either
            request.cancel()
            self._on_failed_spawn(conversation, BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)))
        if not self._release_check.is_armed and self._loop:
            self._release_check.arm(self._loop)
        self._acceptor.pause_when_full()

    def _prepare_spawn(self, conversation: ProgramConversation) -> SpawnRequest:
        """Return the start of a conversation's program. Raises OSError, and ValueError for a variable that has a null.

        What the conversation reads of it stays open then, for `ProgramConversation.close_pipes`.
        """
        request = SpawnRequest(conversation)
        try:
            self._stdio.prepare(request)
        except BaseException:
            request.close()
            raise
        return request

    def _running(self) -> dict[int, ProgramConversation]:
        """Return the conversations of all programs that have been started, by process id."""
        self._register_started()
        return self._by_pid

    def _on_spawned_elsewhere(self) -> None:
        """Called in a thread when the loop is to know of a start."""
        if loop := self._loop:
            loop.call_soon(self._register_started)

    def _register_started(self) -> None:
        """Enter the programs that were started since the last time, before it matters which there are."""
        threads = self._spawn_threads
        while threads.completed:
            self._on_spawned(threads.completed.popleft())
        if threads.notify_always and not self._out_of_resources and len(self._in_flight) == len(self._by_pid):
            threads.notify_always = False

    def _on_spawned(self, request: SpawnRequest) -> None:
        """Enter the program of a start that was run, or see to it that there is none."""
        request.close()
        conversation = request.conversation
        try:
            pid = request.spawning.result(request.number)
        except OSError as error:
            self._on_failed_spawn(conversation, error)
            return
        conversation.pid = pid
        self._by_pid[pid] = conversation
        if (status := self._reaped_early.pop(pid, None)) is not None:
            self._on_reaped(pid, status)
        elif conversation.cut is not CutState.NOT_CUT:  # meanwhile
            self._terminate(conversation)
        if self._out_of_resources:
            self._out_of_resources = False
            self._acceptor.resume(PauseReason.TRIAL)

    def _on_failed_spawn(self, conversation: ProgramConversation, error: Exception) -> None:
        self._in_flight.discard(id(conversation))
        self._on_not_started(conversation, error)
        if not self.is_full():
            self._acceptor.resume(PauseReason.FULL)
        self._acceptor.resume(PauseReason.TRIAL)

    def _on_not_started(self, conversation: ProgramConversation, error: Exception) -> None:
        conversation.close_pipes()
        if isinstance(error, OSError) and is_shortage(error):
            self._on_shortage(conversation, error)
            return
        if (suppressed := self._failure_rate.allow()) is not None:
            log.program_not_started(conversation.name, self._stdio.program.path, error, suppressed)
        conversation.outcome = conversation.outcome or Outcome.FAILED
        self._closing.end(conversation)

    def _on_shortage(self, conversation: ProgramConversation, error: OSError) -> None:
        """Have it wait, and all those that are not on their way yet, the oldest first."""
        self._out_of_resources = self._spawn_threads.notify_always = True
        for request in self._spawn_threads.cancel_queued():
            request.cancel()
            request.conversation.close_pipes()
            self._in_flight.discard(id(request.conversation))
            self._acceptor.pending.append(request.conversation)
        self._acceptor.defer(conversation, error)
        self._acceptor.sort_pending()

    # --- what must happen before

    def _establish(self, conversation: ProgramConversation) -> None:
        """Do that in a thread of its own: it may wait for the peer. Raises `RequestDeferred` without one."""
        self._establishing.add(id(conversation))
        try:
            _thread.start_new_thread(self._establish_in_thread, (conversation,))
        except RuntimeError as error:
            self._establishing.discard(id(conversation))
            raise RequestDeferred from error
        self._acceptor.pause_when_full()

    def _establish_in_thread(self, conversation: ProgramConversation) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # the loop waits for those of this process
        assert self._handling.establish
        conversation.is_established = self._handling.establish.run(conversation)
        if loop := self._loop:
            loop.call_soon(lambda: self._on_established(conversation))

    def _on_established(self, conversation: ProgramConversation) -> None:
        self._establishing.discard(id(conversation))
        if not conversation.is_established:
            self._closing.end(conversation)
        elif self._acceptor.pending or self._acceptor.is_paused:
            self._acceptor.pending.append(conversation)
            self._acceptor.sort_pending()
        else:
            self.run(conversation)
        self._acceptor.on_room()

    # --- the end of a program

    def _on_reaped(self, pid: int, status: int) -> None:
        conversation = self._by_pid.pop(pid, None)
        if conversation is None:
            self._reaped_early[pid] = status
            return
        self._in_flight.discard(id(conversation))
        conversation.status = status
        if conversation.lines:
            conversation.lines.read()  # who else holds it may go on writing
        self._stdio.on_ended(conversation)
        has_others, was_cut = has_group(pid), conversation.cut is not CutState.NOT_CUT
        if was_cut and has_others:
            self._terminating.add(pid)
        if was_cut or not (has_others or self._has_heirs(conversation)):
            self._stdio.before_close(conversation)
            self._closing.end(conversation)
        else:  # its connection is left to what the program left running
            self._closing.end(conversation, lingers=False)
        self._acceptor.on_room()

    def _has_heirs(self, conversation: ProgramConversation) -> bool:
        """Tell whether a process outside of the group of a program that has ended has the connection open."""
        return conversation.connection is not None and self._orphans.have_open(conversation.connection.fileno())

    def _after_reaping(self) -> None:
        if self._reaped_early:
            self._register_all()
        if len(self._in_flight) == len(self._by_pid):  # none is on its way: what is left was there before us
            self._reaped_early.clear()
        elif len(self._reaped_early) > _EARLY_MAX:  # orphans: those of programs on their way are among the last
            del self._reaped_early[next(iter(self._reaped_early))]
        if self._spawn_threads.is_backlogged():
            self._reaper.sleep(_SLEEP_SECONDS)

    def _register_all(self) -> None:
        """See to it that each program is registered as soon as it has been started."""
        self._spawn_threads.notify_always = True
        self._register_started()

    # --- ending from outside

    def cut(self, conversation: Conversation) -> None:
        """Have the whole group of a program end; its connection stays, for what it says to that.

        KILL comes `TERM_SECONDS` behind TERM. A program that is on its way is ended when it is there.
        """
        self._register_started()
        if id(conversation) not in self._table:  # it had ended before anybody knew that it had begun
            return
        conversation.cut = CutState.TERMINATING
        if conversation.pid:
            self._terminate(conversation)
        elif id(conversation) in self._in_flight:
            self._register_all()
        else:  # it waits for its turn, or for its peer
            shutdown_connection(conversation, socket.SHUT_RDWR)

    def kill(self, conversation: Conversation) -> None:
        """Leave it to `_kill`: a program has longer than a handler."""

    def abandon(self, give_up: Callable[[], None]) -> None:
        """Give up behind the last KILL, and not before: what is left then is connections that are being closed."""
        if self._loop:
            self._loop.call_at(monotonic() + TERM_SECONDS, lambda: None if self._in_flight else give_up())

    def _terminate(self, conversation: Conversation) -> None:
        pid = conversation.pid
        terminate_group(pid)
        if self._loop:
            self._loop.call_at(monotonic() + TERM_SECONDS, lambda: self._kill(conversation, pid))

    def _kill(self, conversation: Conversation, pid: int) -> None:
        was_terminating = pid in self._terminating
        self._terminating.discard(pid)
        if self._by_pid.get(pid) is conversation or (was_terminating and pid not in self._by_pid):
            kill_group(pid)
        if self._closing.on_closed:
            self._closing.on_closed()
