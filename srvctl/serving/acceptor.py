"""The acceptor: takes conversations from the source, has them admitted, and gives them to the executor.

It is the first line of the path that each request goes::

    Acceptor -> Admission -> Executor (Establish -> handler) -> Closing

and the only place that knows why nothing is accepted at the moment.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from time import monotonic

from srvctl.runtime import log
from srvctl.runtime.loop import READ
from srvctl.runtime.rate_limit import RateLimiter
from srvctl.serving.admission import Verdict
from srvctl.serving.source import BATCH
from srvctl.socketserver.accept_errors import PAUSE_SECONDS, AcceptFailure, RequestDeferred, classify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from srvctl.runtime.loop import Loop
    from srvctl.serving.admission import Admission
    from srvctl.serving.closing import Closing
    from srvctl.serving.conversation import Conversation
    from srvctl.serving.deadlines import Deadlines
    from srvctl.serving.executor import Executor
    from srvctl.serving.shared_room import SharedRoom
    from srvctl.serving.source import SocketSource
    from srvctl.serving.table import ConversationTable


class PauseReason(Enum):
    """Why nothing is accepted at the moment. Each ends by itself: when there is room again, or after a moment."""

    FULL = "as many are served as may be"
    ALL_FULL = "as many are served by all workers as may be"
    ACCEPT_ERROR = "the system has no descriptor or memory"
    NOT_STARTED = "the system has no process or thread"
    TRIAL = "one request is tried after the system had no process for another"
    LEFT_DATAGRAM = "a program left the datagram that it was started for"

    __hash__ = object.__hash__


class Acceptor:
    """Accept while there is room. For the loop's thread, but for `accept_one` and `back_off`, which any may call.

    `pending` has the conversations that were admitted and could not be started yet, the oldest first. `waits_when_full`
    says that newcomers stay in the kernel's queue then, and are not accepted to be refused.
    """

    def __init__(
        self,
        source: SocketSource,
        admission: Admission | None,
        table: ConversationTable,
        deadlines: Deadlines,
        executor: Executor,
        closing: Closing,
        waits_when_full: bool,
    ) -> None:
        self.source, self._admission, self._table = source, admission, table
        self._deadlines, self._executor, self._closing = deadlines, executor, closing
        self.waits_when_full = waits_when_full
        self.accepted = 0  # how many there were
        self.pending: deque[Conversation] = deque()
        self.is_stopped = False
        self._pause_reasons: set[PauseReason] = set()
        self._accept_rate, self._start_rate = RateLimiter(), RateLimiter()
        self._last_error: tuple[int | None, int, float] = (None, 0, 0.0)
        self._loop: Loop | None = None
        self.run = executor.run  # what serves a conversation that was admitted
        self.on_accepted: Callable[[], None] | None = None  # called with each, before anything else is done with it
        self.room: SharedRoom | None = None  # over all workers

    # --- life

    def open(self, loop: Loop) -> None:
        """Begin to accept."""
        self._loop = loop
        if not self.is_stopped:
            self._executor.watch(loop, self.source.fileno(), self._on_readable)
        if self.pending:
            loop.call_soon(self.start_pending)
        self.pause_when_full()

    def close(self) -> None:
        """Forget the loop, which has ended."""
        self._loop = None
        self._pause_reasons.clear()

    def stop(self) -> None:
        """Accept nothing any more, for good; what is pending goes on."""
        self.is_stopped = True
        if self._loop and not self._pause_reasons:
            self._executor.unwatch(self._loop, self.source.fileno())

    # --- accepting

    def _on_readable(self, events: int) -> None:
        if events & ~READ:
            self.source.drop_reported_errors()
        self._executor.before_accepting()
        for _ in range(BATCH):
            if self._pause_reasons or self.is_stopped or not self.accept_one():
                return

    def accept_one(self) -> bool:
        """Accept a conversation and have it served; return whether to look for another. Raises a fatal OSError."""
        try:
            conversation = self.source.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            return self._on_accept_error(error)
        self.accepted += 1
        if self.on_accepted:
            self.on_accepted()
        if self._admission is None:
            self._table[id(conversation)] = conversation
        elif (verdict := self._admission.admit(conversation)) is not Verdict.ADMITTED:
            self._closing.refuse(conversation, verdict)
            return True
        if self._deadlines.is_active:
            self._deadlines.expect()
        if (room := self.room) and room.is_shared and not room.take(conversation):
            self.pending.append(conversation)
            room.await_others()
            return False
        try:
            self.run(conversation)
        except RequestDeferred as error:
            self.defer(conversation, error)
        return True

    def accept_first(self) -> None:
        """Accept and serve one conversation, of a source that cannot be waited for."""
        self.accept_one()

    def accept_backlog(self) -> bool:
        """Accept everything that the kernel has queued, to be started as room comes; return whether that was all.

        False means that the system has no descriptor for more at the moment.
        """
        while True:
            try:
                self.accept_next()
            except BlockingIOError:
                return True
            except OSError as error:
                failure = classify(error, repeated=True)
                if failure is AcceptFailure.CONNECTION:
                    continue
                return failure is not AcceptFailure.RESOURCES

    def accept_next(self) -> None:
        """Accept one conversation, to be started as room comes. Raises BlockingIOError and OSError."""
        conversation = self.source.accept()
        if self._admission is None:
            self._table[id(conversation)] = conversation
        elif (verdict := self._admission.admit(conversation)) is not Verdict.ADMITTED:
            self._closing.refuse(conversation, verdict)
            return
        self.pending.append(conversation)

    def is_busy(self) -> bool:
        """Tell whether anybody is being served, or waits for it."""
        return bool(self._table)

    def _on_accept_error(self, error: OSError) -> bool:
        """Outlive an error of accept(2); return whether to go on at once. Raises it where the socket is unusable."""
        if self.source.is_harmless(error):
            self._closing.counters.add("lost")
            return True
        failure = classify(error, repeated=self._is_repeated(error))
        if failure is AcceptFailure.FATAL:
            if self.is_stopped or self._loop is None or self._loop.stopping:  # closed by the one who stopped it
                return False
            raise error
        if failure is AcceptFailure.RESOURCES:
            if (suppressed := self._accept_rate.allow()) is not None:
                log.accept_failed(error, suppressed, PAUSE_SECONDS)
            self.back_off(PauseReason.ACCEPT_ERROR)
            return False
        self._closing.counters.add("lost")
        return True

    def _is_repeated(self, error: OSError) -> bool:
        """Return whether the same error came before the last pause, with nothing accepted since."""
        now = monotonic()
        number, accepted, when = self._last_error
        if (number, accepted) != (error.errno, self.accepted):
            self._last_error = (error.errno, self.accepted, now)
            return False
        return now - when >= PAUSE_SECONDS / 2  # otherwise another thread saw the same one at the same time

    # --- pausing

    @property
    def is_paused(self) -> bool:
        """Whether nothing is accepted or started at the moment."""
        return bool(self._pause_reasons)

    def pause(self, reason: PauseReason) -> None:
        """Leave new requests where they are until `resume` is called for the same reason."""
        if self._loop is None:
            return
        if reason is PauseReason.FULL and not (self.waits_when_full or self.is_stopped):
            return
        if not self._pause_reasons and not self.is_stopped:
            self._executor.unwatch(self._loop, self.source.fileno())
        self._pause_reasons.add(reason)

    def resume(self, reason: PauseReason) -> None:
        """Start what is pending and accept again, unless there are other reasons not to."""
        if reason in self._pause_reasons:
            self._pause_reasons.discard(reason)
            self.start_pending()
            if not self._pause_reasons and not self.is_stopped and self._loop:
                self._executor.watch(self._loop, self.source.fileno(), self._on_readable)

    def pause_when_full(self) -> None:
        """Pause if as many are served as may be."""
        if self._executor.is_full():
            self.pause(PauseReason.FULL)
            if not self._executor.is_full():  # one ended between the two
                self.resume(PauseReason.FULL)

    def on_resized(self) -> None:
        """Called when the executor may serve more, or less, than before."""
        self.resume(PauseReason.FULL)
        self.pause_when_full()

    def pause_at_once(self) -> bool:
        """Pause who accepts outside of the loop, if one of them calls; return whether the loop is to pause as well."""
        if self._loop is None or not self._executor.is_elsewhere():
            return False
        self._executor.unwatch(self._loop, self.source.fileno())  # the others must not try what failed
        return True

    def back_off(self, reason: PauseReason) -> None:
        """Pause for a moment. From any thread."""
        if (loop := self._loop) is None:
            return
        if self.pause_at_once():
            loop.call_soon(lambda: self.back_off(reason))
        elif reason not in self._pause_reasons:
            self.pause(reason)
            loop.call_at(monotonic() + PAUSE_SECONDS, lambda: self.resume(reason))

    def on_room(self) -> None:
        """Called in the loop's thread when a request ended: there is room again, and perhaps a descriptor."""
        if not self._pause_reasons:
            return
        for reason in (PauseReason.ACCEPT_ERROR, PauseReason.NOT_STARTED):
            self.resume(reason)
        if not self._executor.is_full():  # others may have come since that one ended
            self.resume(PauseReason.FULL)

    # --- what could not be started yet

    def defer(self, conversation: Conversation, error: BaseException) -> None:
        """Keep a conversation that the system has no process or thread for; it is tried again after a pause."""
        self.pending.appendleft(conversation)
        self.log_not_started(error.__cause__ or error)
        self.back_off(PauseReason.NOT_STARTED)

    def sort_pending(self) -> None:
        """Put the oldest first again, after others were put back."""
        self.pending = deque(sorted(self.pending, key=lambda conversation: conversation.began))

    def log_not_started(self, error: BaseException) -> None:
        """Log, once in a while, that the system has no process or thread for a request."""
        if (suppressed := self._start_rate.allow()) is not None:
            log.start_failed(error, suppressed, PAUSE_SECONDS)

    def start_pending(self) -> None:
        """Start what is pending, the oldest first, as far as there is room."""
        while self.pending and not self._pause_reasons and self._executor.can_start():
            conversation = self.pending.popleft()
            if (room := self.room) and room.is_shared and not room.take(conversation):
                self.pending.appendleft(conversation)
                room.await_others()
                return
            try:
                self.run(conversation)
            except RequestDeferred as error:
                self.defer(conversation, error)
