"""Programs on their way: requests that wait for one, are given one, or find that the system has none left."""

from __future__ import annotations

import errno
import os
from collections import deque

from srvctl import log
from srvctl.program import Program, is_shortage
from srvctl.serving.program_groups import ProgramGroups
from srvctl.serving.starters import Start, Starters
from srvctl.socketserver.accepting import RequestNotStarted
from srvctl.throttle import Throttle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from srvctl.socketserver.loop import Loop
    from srvctl.traffic import ProgramConversation


class ProgramStarts(ProgramGroups):
    """Start `RequestHandlerClass` for each request, several at a time, while the loop turns."""

    RequestHandlerClass: Program  # type: ignore[assignment]
    conversations: dict[int, ProgramConversation]  # type: ignore[assignment]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._start_failure_throttle = Throttle()
        self._is_short = False  # of processes or descriptors, when one was needed last
        self._starters = Starters(lambda start: self._outlive(self._run_start, start))
        super().__init__(*args, **kwargs)
        self.active_children = set()

    def _serve(self, loop: Loop, poll_interval: float) -> None:
        try:
            super()._serve(loop, poll_interval)
        finally:
            self._starters.close()

    def process_request(self, request: Any, client_address: Any) -> None:
        if id(request) not in self.conversations and not self._begin(request, client_address):
            return
        conversation = self.conversations[id(request)]
        if conversation.cut_at:  # while it waited for a process
            self.shutdown_request(request)
            return
        try:
            start = self._prepare(conversation)
        except OSError as error:
            self._on_not_started(conversation, error)
            return
        pending = len(self._engaged) - len(self._by_pid)
        self._engaged.add(id(request))
        if self._is_short:  # one at a time then, and the others behind it
            self._hold("trial")
        if self._loop is None:
            self._run_start(start)
        elif not self._starters.submit(start, pending):  # where there is no thread to be had there is no process either
            start.close()
            self._on_failed_start(conversation, BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)))
        self._hold_when_full()

    def _is_full(self) -> bool:
        return len(self._engaged) >= self.max_children

    def _prepare(self, conversation: ProgramConversation) -> Start:
        """Open what the program of a conversation gets. Raises OSError, with nothing left open."""
        raise NotImplementedError

    def _run_start(self, start: Start) -> None:
        """Make a start, in whatever thread that is; the loop is woken only when there is something for it to do."""
        conversation = start.conversation
        try:
            pid = self.RequestHandlerClass.start(start.descriptors, start.variables)
        except Exception as error:
            failure = error  # the other name ends with this clause
            start.close()
            self._in_loop(lambda: self._on_failed_start(conversation, failure))
            return
        start.close()
        self._add_child(pid, conversation.request, conversation.peer)  # from here on the loop may see its end
        # Who cuts a conversation says so before it looks for the process, and here it is the other way round.
        if conversation.cut_at or self._is_short:
            self._in_loop(lambda: self._on_awaited_start(conversation))

    def _in_loop(self, callback: Callable[[], None]) -> None:
        """Have the loop call back; where there is none, call now."""
        if loop := self._loop:
            loop.call_soon(callback)
        else:
            callback()

    def _on_awaited_start(self, conversation: ProgramConversation) -> None:
        if conversation.cut_early and id(conversation.request) in self._engaged:
            self._end_group(conversation)
        self._is_short = False
        self._release("trial")

    def _on_failed_start(self, conversation: ProgramConversation, error: Exception) -> None:
        self._engaged.discard(id(conversation.request))
        self._on_not_started(conversation, error)
        if not self._is_full():
            self._release("full")
        self._release("trial")

    def _on_not_started(self, conversation: ProgramConversation, error: Exception) -> None:
        conversation.close_pipes()
        if isinstance(error, OSError) and is_shortage(error):
            self._on_shortage(conversation, error)
            return
        if (suppressed := self._start_failure_throttle.admit()) >= 0:
            log.program_not_started(conversation.name, self.RequestHandlerClass.path, error, suppressed)
        conversation.how = "failed"
        self.shutdown_request(conversation.request)

    def _on_shortage(self, conversation: ProgramConversation, error: OSError) -> None:
        """Have it wait, and all those that are not on their way yet, the oldest first."""
        self._is_short = True
        for start in self._starters.withdraw():
            other = start.conversation
            start.close()
            other.close_pipes()
            self._engaged.discard(id(other.request))
            self._waiting.append((other.request, other.peer))
        try:
            raise RequestNotStarted from error
        except RequestNotStarted as not_started:
            self._postpone(conversation.request, conversation.peer, not_started)
        self._waiting = deque(sorted(self._waiting, key=lambda waiting: self.conversations[id(waiting[0])].began))
