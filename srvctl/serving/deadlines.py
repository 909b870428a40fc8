"""Conversations that last too long: found by one look at the whole table, when the first of them can be due."""

from __future__ import annotations

import socket
from _thread import get_ident
from time import monotonic

from srvctl.runtime import log
from srvctl.serving.conversation import CutState, Outcome
from srvctl.serving.executor import shutdown_connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvctl.config.settings import Settings
    from srvctl.runtime.loop import Loop, Timer
    from srvctl.serving.conversation import Conversation
    from srvctl.serving.executor import Executor
    from srvctl.serving.table import ConversationTable

# Between the cut at a deadline and the end: time for a handler to see the end of its connection and clean up.
CUT_GRACE_SECONDS = 0.2
# The table is looked at no more often than this, so that 10,000 conversations with as many deadlines cost little.
# A conversation ends at its deadline and this at most.
SWEEP_SECONDS = 0.05

NEVER = float("inf")


class Deadlines:
    """Hold conversations to ``--max-duration`` and ``--idle-timeout``, and during a stop to ``--drain-idle-timeout``.

    Acts on the table, through the executor. No timer runs while there is nothing to hold to a limit: `is_active` says
    whether `expect` is to be called for each conversation that is entered.
    """

    def __init__(self, settings: Settings, table: ConversationTable, executor: Executor) -> None:
        self._table, self._executor = table, executor
        self._max_duration, self._idle_timeout = settings.max_duration, settings.idle_timeout
        self._drain_idle_timeout: float | None = None  # while the server drains
        self._shortest = min(self._max_duration or NEVER, self._idle_timeout or NEVER)
        self.is_active = self._shortest < NEVER
        self._loop: Loop | None = None
        self._loop_thread = 0
        self._timer: Timer | None = None

    def open(self, loop: Loop) -> None:
        """Have `loop` tell when the first deadline can have come."""
        self._loop, self._loop_thread = loop, get_ident()
        self._timer = None

    def release_in_child(self) -> None:
        """Leave all deadlines to the parent."""
        self._loop = None

    def hold_idle_to(self, seconds: float) -> None:
        """From now on, half-close a connection on which nothing has come for so long; for a stop."""
        self._drain_idle_timeout = seconds
        # First, for a thread that enters a conversation now: it looks at this behind the entry, and we at the table.
        self._shortest = min(self._shortest, seconds)
        self.is_active = True
        self._arm_next()

    def expect(self) -> None:
        """Have the table looked at when a conversation that was entered just now can reach a limit. From any thread."""
        when = monotonic() + self._shortest
        if (timer := self._timer) and timer.when <= when:
            return
        if get_ident() == self._loop_thread:
            self._arm(when)
        elif loop := self._loop:
            loop.call_soon(lambda: self._arm(when))

    def cut(self, conversation: Conversation, outcome: Outcome) -> None:
        """End a conversation from outside, and kill what serves it if it does not take the hint."""
        conversation.outcome = conversation.outcome or outcome
        self._executor.cut(conversation)
        if conversation.cut is CutState.CUT:
            self._arm(conversation.cut_at + CUT_GRACE_SECONDS)

    def _arm(self, when: float) -> None:
        """Have the table looked at `when` at the latest, but not at once."""
        when = max(when, monotonic() + SWEEP_SECONDS)
        if self._loop is None or (self._timer and self._timer.when <= when):
            return
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._sweep)

    def _arm_next(self) -> None:
        """Have the table looked at when the first of its deadlines can have come."""
        due = min((self._due(conversation) for conversation in self._table.snapshot()), default=NEVER)
        if due < NEVER:
            self._arm(due)

    def _sweep(self) -> None:
        self._timer = None
        self._executor.before_sweep()
        now = monotonic()
        for conversation in self._table.snapshot():
            self._check(conversation, now)
        self._arm_next()

    def _due(self, conversation: Conversation) -> float:
        if conversation.cut is not CutState.NOT_CUT:
            return conversation.cut_at + CUT_GRACE_SECONDS if conversation.cut is CutState.CUT else NEVER
        due = NEVER
        if self._max_duration:
            due = conversation.began + self._max_duration
        if self._idle_timeout:
            due = min(due, conversation.last_activity_at() + self._idle_timeout)
        return min(due, self._half_close_due(conversation))

    def _half_close_due(self, conversation: Conversation) -> float:
        if self._drain_idle_timeout is None or conversation.half_closed or conversation.connection is None:
            return NEVER
        return conversation.last_received_at() + self._drain_idle_timeout

    def _check(self, conversation: Conversation, now: float) -> None:
        """Do what is due with a conversation."""
        if conversation.cut is not CutState.NOT_CUT:
            if conversation.cut is CutState.CUT and now >= conversation.cut_at + CUT_GRACE_SECONDS:
                conversation.cut = CutState.KILLED
                self._executor.kill(conversation)
        elif self._max_duration and conversation.began + self._max_duration <= now:
            self._on_limit(conversation, Outcome.MAX_DURATION)
        elif self._idle_timeout and conversation.last_activity_at() + self._idle_timeout <= now:
            self._on_limit(conversation, Outcome.IDLE)
        elif self._half_close_due(conversation) <= now:
            # Its handler waits for a request that need not come any more.
            conversation.half_closed = True
            shutdown_connection(conversation, socket.SHUT_RD)

    def _on_limit(self, conversation: Conversation, outcome: Outcome) -> None:
        log.conversation_cut(conversation.name, conversation.age, outcome.value, conversation.id)
        self.cut(conversation, outcome)
