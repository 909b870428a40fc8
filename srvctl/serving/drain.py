"""The stop in order: what the kernel has queued is served, what runs is finished, the deadline cuts what is left."""

from __future__ import annotations

from time import monotonic

from srvctl.runtime import log
from srvctl.serving.conversation import Outcome
from srvctl.serving.deadlines import CUT_GRACE_SECONDS
from srvctl.socketserver.accept_errors import PAUSE_SECONDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from srvctl.runtime.loop import Loop
    from srvctl.serving.acceptor import Acceptor
    from srvctl.serving.closing import Closing
    from srvctl.serving.deadlines import Deadlines
    from srvctl.serving.executor import Executor
    from srvctl.serving.table import ConversationTable


class Drain:
    """Bring a server to its end. `deadline` is when, in seconds of `time.monotonic`, once `begin` was called.

    `on_give_up` is called when the deadline has passed and something still runs that nothing ends; it does not return.
    """

    def __init__(
        self, acceptor: Acceptor, table: ConversationTable, deadlines: Deadlines, executor: Executor, closing: Closing
    ) -> None:
        self._acceptor, self._table, self._deadlines = acceptor, table, deadlines
        self._executor, self._closing = executor, closing
        self._loop: Loop | None = None
        self._is_source_open = True
        self.deadline: float | None = None
        self.on_give_up: Callable[[], None] = lambda: None

    def begin(self, loop: Loop, seconds: float, *, takes_backlog: bool) -> None:
        """Accept what is queued if `takes_backlog`, let what runs finish for `seconds`, then cut it; stops `loop`.

        Does not block.
        """
        self._loop = loop
        self.deadline = monotonic() + seconds
        self._closing.on_closed = self.check_soon
        self._acceptor.stop()
        if takes_backlog:
            self._take_backlog()
        else:
            self._close_source()
        self._executor.set_draining()
        loop.call_at(self.deadline, self._cut_all)
        loop.call_soon(self._check)

    def stop_now(self) -> None:
        """Make the deadline now."""
        if self._loop and self.deadline is not None and self.deadline > monotonic():
            self.deadline = monotonic()
            self._loop.call_soon(self._cut_all)
            self._loop.wake()
        self._executor.stop_now()

    def check_soon(self) -> None:
        """See whether that was the last, in the loop's thread. From any thread."""
        if self._loop:
            self._loop.call_soon(self._check)

    def is_done(self) -> bool:
        """Tell whether nothing runs any more."""
        return (
            not (self._is_source_open or self._table or self._acceptor.pending)
            and self._closing.is_idle()
            and self._executor.is_idle()
        )

    def release_in_child(self) -> None:
        """Leave the stop to the parent."""
        self._loop = None

    def _take_backlog(self) -> None:
        if not self._is_source_open or self._loop is None:
            return
        if not self._executor.accept_backlog(self._acceptor):
            self._loop.call_at(monotonic() + PAUSE_SECONDS, self._take_backlog)  # no descriptor left at the moment
            return
        self._close_source()
        self._acceptor.start_pending()

    def _close_source(self) -> None:
        self._is_source_open = False
        self._acceptor.source.close()

    def _check(self) -> None:
        if self._loop and self.is_done():
            self._loop.stop()

    def _cut_all(self) -> None:
        """The deadline has come: name and cut each conversation that is left, then give it a moment to clean up."""
        if self._loop is None:
            return
        self._close_source()
        pending = self._acceptor.pending
        while pending:
            conversation = pending.popleft()
            why = "the deadline, before it was served"
            log.conversation_cut(conversation.name, conversation.age, why, conversation.id)
            conversation.outcome = Outcome.CUT
            self._closing.end(conversation, lingers=False)
        for conversation in self._table.snapshot():
            if conversation.outcome is not Outcome.CUT:
                log.conversation_cut(conversation.name, conversation.age, "the deadline", conversation.id)
                self._closing.forget(conversation)
                conversation.outcome = Outcome.CUT  # also of one that was cut for another reason, and has not ended yet
                self._deadlines.cut(conversation, Outcome.CUT)
        self._loop.call_at(monotonic() + CUT_GRACE_SECONDS, self._give_up)
        self._check()

    def _give_up(self) -> None:
        for conversation in self._table.snapshot():
            self._executor.kill(conversation)
        self._executor.abandon(self._abandon)

    def _abandon(self) -> None:
        self._closing.counters.add("cut", len(self._table))
        self.on_give_up()
