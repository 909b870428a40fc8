"""The end of a conversation, from the first step to the last; also of one that was never let in.

It leaves the table, is counted and logged, and its connection is half-closed and closed when the peer is done with it
(`srvctl.socketserver.lingering_close`).
"""

from __future__ import annotations

import socket
import termios

from srvctl.net.address import format_sockaddr
from srvctl.runtime import log
from srvctl.runtime.rate_limit import RateLimiter
from srvctl.serving.admission import Verdict
from srvctl.serving.conversation import CutState, Outcome, queued_bytes
from srvctl.socketserver.lingering_close import Lingering

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from srvctl.runtime.loop import Loop
    from srvctl.serving.conversation import Conversation
    from srvctl.serving.counters import Counters
    from srvctl.serving.recorder import Recorder
    from srvctl.serving.shared_limit import SharedLimit
    from srvctl.serving.table import ConversationTable

# In place of a connection that has been closed: an operation on it fails with EBADF. Of the one family that the unit of
# every server allows (RestrictAddressFamilies=).
_CLOSED = socket.socket(socket.AF_UNIX)
_CLOSED.close()


class Closing:
    """End conversations, from any thread. Owns their connections from `end` on.

    `on_end` is called behind each end, in whatever thread that was, and `on_closed` when the last step is done too.
    """

    def __init__(self, table: ConversationTable, counters: Counters) -> None:
        self._table, self.counters = table, counters
        self._lingering = Lingering(self._close_lingered)
        self._refused_rate = RateLimiter()
        self._logs = log.wants(log.INFO)
        self._loop: Loop | None = None
        self.on_end: Callable[[], None] | None = None
        self.on_closed: Callable[[], None] | None = None  # while somebody waits for the last of them
        self.shared_limit: SharedLimit | None = None
        self.recorder: Recorder | None = None
        self.on_over: Callable[[Any], None] | None = None  # with each conversation, also one that was not let in

    def open(self, loop: Loop) -> None:
        """Have `loop` wait for the peers of the connections that are being closed."""
        self._loop = loop
        self._lingering.watch(loop)

    def _note_unread(self, conversation: Conversation) -> None:
        """Count a conversation as cut that we have ended, and whose peer has sent something since.

        The close is a reset then: what the kernel has acknowledged, and nobody has read, must not look delivered.
        """
        if conversation.outcome is None and queued_bytes(conversation.connection, termios.FIONREAD):
            log.conversation_cut(
                conversation.name, conversation.age, "it sent something after its end", conversation.id
            )
            conversation.outcome = Outcome.CUT

    def resize(self, limit: int) -> None:
        """Let at most `limit` connections wait for their peers; the one that has waited longest makes room."""
        self._lingering.limit = limit

    def is_idle(self) -> bool:
        """Tell whether no connection is being closed."""
        return not len(self._lingering)

    def end(self, conversation: Conversation, *, lingers: bool = True) -> None:
        """End a conversation; never blocks. One that has ended already is left alone.

        Without `lingers` only this process' copy of the connection is closed: others go on with theirs.
        """
        if self._table.pop(id(conversation), None) is None:
            return
        if is_ended_by_us := conversation.half_closed or conversation.cut is not CutState.NOT_CUT:
            self._note_unread(conversation)
        outcome = conversation.final_outcome()
        self.counters.record(outcome, conversation.meter)
        if self.recorder and conversation.place >= 0:
            self.recorder.end(conversation.place, 0.0)
        if self.shared_limit and self.shared_limit.is_used:
            self.shared_limit.give_back(conversation)
        if self.on_over:
            self.on_over(conversation)
        if self.on_end:
            self.on_end()
        if self._logs:
            conversation.log_end(outcome)
        if (connection := conversation.connection) is not None:
            if lingers and not is_ended_by_us and not getattr(connection, "at_eof", False):
                self._lingering.close(connection, self._loop)
            else:  # nothing can come that would turn the close into a reset, or a reset is what the peer must get
                connection.close()
        if self.on_closed:
            self.on_closed()

    def release(self, conversation: Conversation) -> None:
        """Close the connection of a conversation that goes on without it; what came and went has been counted."""
        connection, conversation.connection = conversation.connection, _CLOSED
        self._lingering.close(connection, self._loop)

    def forget(self, conversation: Conversation) -> None:
        """Take a conversation out of the record: it is known to be cut, whatever becomes of this process."""
        if self.recorder and conversation.place >= 0:
            self.recorder.end(conversation.place, 0.0)
            conversation.place = -1

    def refuse(self, conversation: Conversation, verdict: Verdict) -> None:
        """Close a conversation that was not let in, count that, and log it once in a while."""
        self.forget(conversation)
        self.counters.add("refused" if verdict is Verdict.LIMIT else "rejected")
        if verdict is not Verdict.RULE_FAILED and (suppressed := self._refused_rate.allow()) is not None:
            log.refused(verdict.value, format_sockaddr(conversation.peer), suppressed)
        if (connection := conversation.connection) is None:
            if self.on_over:
                self.on_over(conversation)
            return
        if verdict is Verdict.LIMIT:
            connection.close()  # to spend more on it is what the limit is against
        else:
            self._lingering.close(connection, self._loop)

    def release_in_child(self) -> None:
        """Close a forked child's copies of connections that its parent is closing."""
        self._loop = None
        if len(self._lingering):
            self._lingering.close_all()

    def finish(self) -> None:
        """Wait for the peers of the connections that are being closed, a bounded time. Blocks."""
        self._loop = None
        self._lingering.finish()

    def _close_lingered(self, connection: Any) -> None:
        connection.close()
        if self.on_closed:
            self.on_closed()
