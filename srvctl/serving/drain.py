"""The stop in order: what the kernel has queued is served, what runs is finished, the deadline cuts what is left."""

from __future__ import annotations

import socket
from time import monotonic

from srvctl.runtime import log
from srvctl.runtime.lifecycle import Event
from srvctl.serving.conversation import Conversation
from srvctl.serving.deadlines import LAST_WORDS_SECONDS, Deadlines, shut
from srvctl.socketserver.accept_errors import PAUSE_SECONDS, AcceptFailure, classify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_DRAIN_IDLE = "drain-idle"


class Draining(Deadlines):
    """A server that can be drained.

    `on_give_up` is called when the deadline has passed and something still runs that nothing ends; it does not return.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.on_give_up: Callable[[], None] = lambda: None
        self._deadline: float | None = None
        self._source_open = True
        super().__init__(*args, **kwargs)

    def drain(self, seconds: float, *, keep_queue: bool = False) -> None:
        """Stop in order: take what the kernel has queued, close, let what runs finish for `seconds`, then cut it.

        `serve_forever` returns when nothing runs any more. Once more means that the deadline is now. With `keep_queue`,
        as with a socket that is not our own, the queue is left for who serves the socket next. Does not block.
        """
        loop = self._loop
        if self._deadline is not None or loop is None:
            self.hurry()
            return
        self._life.on(Event.DRAIN)
        self._deadline = monotonic() + seconds
        self._on_end = self._check_soon
        self.stop_taking()
        if self.is_own and not keep_queue:
            self._take_queue()
        else:
            self._close_drained_source()
        # First, for a thread that enters a conversation now: it looks at this behind the entry, and we at the table.
        self._shortest_limit = min(self._shortest_limit, self.settings.drain_idle_timeout)
        self._arm_next_sweep()
        loop.call_at(self._deadline, self._cut_all)
        loop.call_soon(self._check_drained)

    def hurry(self) -> None:
        """Make the deadline now."""
        if self._loop and self._deadline is not None and self._deadline > monotonic():
            self._deadline = monotonic()
            self._loop.call_soon(self._cut_all)
            self._loop.wake()

    def _take_queue(self) -> None:
        """Take every request that is there, to be served as room comes, and close; without descriptors, later."""
        if not self._source_open:
            return
        while True:
            try:
                request, client_address = self.get_request()
            except BlockingIOError:
                break
            except OSError as error:
                failure = classify(error, repeated=True)
                if failure is AcceptFailure.CONNECTION:
                    continue
                if failure is AcceptFailure.RESOURCES and self._loop:
                    self._loop.call_at(monotonic() + PAUSE_SECONDS, self._take_queue)
                    return
                break
            if not self._verified(request, client_address):
                super().shutdown_request(request)
            elif self._begin(request, client_address):
                self._waiting.append((request, client_address))
        self._close_drained_source()
        self._start_waiting()

    def _close_drained_source(self) -> None:
        self._source_open = False

    def _is_drained(self) -> bool:
        return not (self._source_open or self.conversations or self._waiting)

    def _check_drained(self) -> None:
        if self._deadline is not None and self._is_drained() and self._loop:
            self._loop.stop()

    def _cut_all(self) -> None:
        """The deadline has come: name and cut each conversation that is left, then give it some last words."""
        if self._loop is None:
            return
        self._close_drained_source()
        while self._waiting:
            request, _ = self._waiting.popleft()
            conversation = self.conversations[id(request)]
            log.conversation_cut(conversation.name, conversation.age, "the deadline, before it was served")
            conversation.how = "cut"
            self._end(request)
            self.close_request(request)
        for conversation in list(self.conversations.values()):
            if conversation.how != "cut":
                log.conversation_cut(conversation.name, conversation.age, "the deadline")
                conversation.how = ""  # it may have been cut for another reason, and not have ended yet
                self._cut(conversation, "cut")
        self._loop.call_at(monotonic() + LAST_WORDS_SECONDS, self._give_up)
        self._check_drained()

    def _give_up(self) -> None:
        for conversation in list(self.conversations.values()):
            self._kill(conversation)
        if not self._has_children():
            self.tally.add("cut", len(self.conversations))
            self.on_give_up()

    def _has_children(self) -> bool:
        """Tell whether any conversation is with a process, which ends when it is killed."""
        return any(conversation.pid for conversation in self.conversations.values())

    def _check_soon(self) -> None:
        """See whether that was the last, in the loop's thread."""
        if self._deadline is not None and (loop := self._loop):
            loop.call_soon(self._check_drained)

    def _limits(self, conversation: Conversation) -> list[tuple[float, str]]:
        limits = super()._limits(conversation)
        if self._deadline is not None and not conversation.half_closed and conversation.connection is not None:
            limits.append((conversation.last_came() + self.settings.drain_idle_timeout, _DRAIN_IDLE))
        return limits

    def _on_limit(self, conversation: Conversation, limit: str) -> None:
        if limit == _DRAIN_IDLE:  # its handler waits for a request that need not come any more
            conversation.half_closed = True
            shut(conversation, socket.SHUT_RD)
        else:
            super()._on_limit(conversation, limit)
