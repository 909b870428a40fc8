"""Conversations that last too long: found by one look at the whole table, when the first of them can be due."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from _thread import get_ident
from time import monotonic

from srvctl.runtime import log
from srvctl.runtime.loop import Timer
from srvctl.serving.conversation import Conversation
from srvctl.serving.table import Conversations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Between the cut at a deadline and the end: time for a handler to see the end of its connection and clean up.
LAST_WORDS_SECONDS = 0.2
# The table is looked at no more often than this, so that 10,000 conversations with as many deadlines cost little.
# A conversation ends at its deadline and this at most.
SWEEP_SECONDS = 0.05

NEVER = float("inf")


class Deadlines(Conversations):
    """Hold conversations to ``--max-duration`` and ``--idle-timeout``; no timer runs when none has a limit."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._sweep_timer: Timer | None = None
        # The shortest that any conversation is held to, in seconds.
        self._shortest_limit = min(self.settings.max_duration or NEVER, self.settings.idle_timeout or NEVER)
        super().__init__(*args, **kwargs)

    def _begin(self, request: Any, client_address: Any) -> bool:
        if not super()._begin(request, client_address):
            return False
        if self._shortest_limit < NEVER:
            self._expect_limit()
        return True

    def _expect_limit(self) -> None:
        """Have the table looked at when a conversation that was entered just now can reach a limit. From any thread."""
        when = monotonic() + self._shortest_limit
        if (timer := self._sweep_timer) and timer.when <= when:
            return
        if get_ident() == self._serving_thread:
            self._arm_sweep(when)
        elif loop := self._loop:
            loop.call_soon(lambda: self._arm_sweep(when))

    def _arm_sweep(self, when: float) -> None:
        """Have the table looked at `when` at the latest, but not at once."""
        when = max(when, monotonic() + SWEEP_SECONDS)
        if self._loop is None or (self._sweep_timer and self._sweep_timer.when <= when):
            return
        if self._sweep_timer:
            self._sweep_timer.cancel()
        self._sweep_timer = self._loop.call_at(when, self._sweep)

    def _arm_next_sweep(self) -> None:
        """Have the table looked at when the first of its deadlines can have come."""
        due = min((self._due(conversation) for conversation in list(self.conversations.values())), default=NEVER)
        if due < NEVER:
            self._arm_sweep(due)

    def _sweep(self) -> None:
        self._sweep_timer = None
        now = monotonic()
        for conversation in list(self.conversations.values()):
            self._look_at(conversation, now)
        self._arm_next_sweep()

    def _limits(self, conversation: Conversation) -> list[tuple[float, str]]:
        """Return when each limit is reached, as far as is known now."""
        settings = self.settings
        limits = []
        if settings.max_duration:
            limits.append((conversation.began + settings.max_duration, "max-duration"))
        if settings.idle_timeout:
            limits.append((conversation.last_moved() + settings.idle_timeout, "idle"))
        return limits

    def _due(self, conversation: Conversation) -> float:
        if conversation.cut_at:
            return conversation.cut_at + LAST_WORDS_SECONDS
        return min((when for when, _ in self._limits(conversation)), default=NEVER)

    def _look_at(self, conversation: Conversation, now: float) -> None:
        if conversation.cut_at:
            if now >= conversation.cut_at + LAST_WORDS_SECONDS:
                self._kill(conversation)
                conversation.cut_at = NEVER
            return
        for when, limit in self._limits(conversation):
            if when > now:
                continue
            self._on_limit(conversation, limit)

    def _on_limit(self, conversation: Conversation, limit: str) -> None:
        log.conversation_cut(conversation.name, conversation.age, limit)
        self._cut(conversation, limit)

    def _cut(self, conversation: Conversation, how: str) -> None:
        """End a conversation from outside: its handler sees the end of the connection."""
        conversation.how = conversation.how or how
        conversation.cut_at = monotonic()
        shut(conversation, socket.SHUT_RDWR)
        self._arm_sweep(self._due(conversation))

    def _kill(self, conversation: Conversation) -> None:
        """End a conversation whose handler did not take the hint; only a process can be made to."""
        if conversation.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(conversation.pid, signal.SIGKILL)


def shut(conversation: Conversation, how: int) -> None:
    """shutdown(2) the connection of a conversation, if it has one."""
    if connection := conversation.connection:
        with contextlib.suppress(OSError):
            connection.shutdown(how)
