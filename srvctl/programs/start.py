"""Programs on their way: requests that wait for one, are given one, or find that the system has none left."""

from __future__ import annotations

import errno
import os
from collections import deque

from srvctl.programs.process_group import ProgramGroups
from srvctl.programs.program import Program, is_shortage
from srvctl.programs.spawn_threads import Start, Starters
from srvctl.runtime import log
from srvctl.runtime.rate_limit import Throttle
from srvctl.socketserver.accept_errors import RequestNotStarted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from srvctl.programs.conversation import ProgramConversation
    from srvctl.runtime.loop import Loop


# While more programs wait to be started than the threads can start in this time, nobody waits for the loop. Ends and
# connections that come meanwhile are seen to together, which takes this process a tenth less of the processor.
_REST_SECONDS = 0.001


class ProgramStarts(ProgramGroups):
    """Start `RequestHandlerClass` for each request, several at a time, while the loop turns."""

    RequestHandlerClass: Program  # type: ignore[assignment]
    conversations: dict[int, ProgramConversation]  # type: ignore[assignment]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._start_failure_throttle = Throttle()
        self._is_short = False  # of processes or descriptors, when one was needed last
        self._starters = Starters(self._tell_loop)
        super().__init__(*args, **kwargs)
        self.active_children = set()

    def _serve(self, loop: Loop, poll_interval: float) -> None:
        try:
            super()._serve(loop, poll_interval)
        finally:
            self._starters.close()
            self._enter_started()

    def _on_readable(self, events: int) -> None:
        self._enter_started()
        if not self._held:  # by one that could not be started
            super()._on_readable(events)

    def process_request(self, request: Any, client_address: Any) -> None:
        if id(request) not in self.conversations and not self._begin(request, client_address):
            return
        conversation = self.conversations[id(request)]
        if conversation.cut_at:  # while it waited for a process
            self.shutdown_request(request)
            return
        try:
            start = self._ready(conversation)
        except (OSError, ValueError) as error:
            self._on_not_started(conversation, error)
            return
        pending = len(self._engaged) - len(self._by_pid)
        self._engaged.add(id(request))
        if self._is_short:  # one at a time then, and the others behind it
            self._hold("trial")
        if self._loop is None:
            start.number = start.spawning.run()
            self._on_made(start)
        elif not self._starters.submit(start, pending):  # where there is no thread to be had there is no process either
            self._give_up_start(start)
            self._on_failed_start(conversation, BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)))
        self._hold_when_full()

    def _is_full(self) -> bool:
        return len(self._engaged) >= self.max_children

    def _ready(self, conversation: ProgramConversation) -> Start:
        """Return the start of a conversation's program. Raises OSError, and ValueError for a variable that has a null.

        What the conversation reads of it stays open then, for `ProgramConversation.close_pipes`.
        """
        start = Start(conversation)
        try:
            self._prepare(start)
            self._add_standard_error(start)
            descriptors = start.stdin, start.stdout, start.stderr
            start.spawning = self.RequestHandlerClass.prepare(descriptors, start.variables)
        except BaseException:
            start.close()
            raise
        return start

    def _prepare(self, start: Start) -> None:
        """Give a program its standard input and output, and the variables of its conversation. Raises OSError."""
        raise NotImplementedError

    def _add_standard_error(self, start: Start) -> None:
        """Give it that too. Raises OSError."""
        raise NotImplementedError

    def _tell_loop(self) -> None:
        """Called in a thread when the loop is to know of a start."""
        if loop := self._loop:
            loop.call_soon(self._enter_started)

    def _on_signal(self, loop: Loop, ends: int) -> None:
        super()._on_signal(loop, ends)
        if self._starters.has_plenty():
            self._rest(_REST_SECONDS)

    def _enter_started(self) -> None:
        while self._starters.made:
            self._on_made(self._starters.made.popleft())
        if self._starters.tells_all and not self._is_short and len(self._engaged) == len(self._by_pid):
            self._starters.tells_all = False

    def _await_started(self) -> None:
        self._starters.tells_all = True
        self._enter_started()

    def _on_made(self, start: Start) -> None:
        """Enter the program of a start that was run, or see to it that there is none."""
        start.close()
        conversation = start.conversation
        try:
            pid = start.spawning.result(start.number)
        except OSError as error:
            self._on_failed_start(conversation, error)
            return
        self._add_child(pid, conversation.request, conversation.peer)
        if conversation.cut_at and pid in self._by_pid:  # meanwhile, and it has not ended by itself
            self._end_group(conversation)
        if self._is_short:
            self._is_short = False
            self._release("trial")

    def _give_up_start(self, start: Start) -> None:
        start.close()
        start.spawning.cancel()

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
        self._is_short = self._starters.tells_all = True
        for start in self._starters.withdraw():
            other = start.conversation
            self._give_up_start(start)
            other.close_pipes()
            self._engaged.discard(id(other.request))
            self._waiting.append((other.request, other.peer))
        try:
            raise RequestNotStarted from error
        except RequestNotStarted as not_started:
            self._postpone(conversation.request, conversation.peer, not_started)
        self._waiting = deque(sorted(self._waiting, key=lambda waiting: self.conversations[id(waiting[0])].began))
