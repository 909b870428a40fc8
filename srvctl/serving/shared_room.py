"""Shared room: what holds the acceptor back while all workers of a service together serve as many as may be."""

from __future__ import annotations

from srvctl.serving.acceptor import PauseReason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvctl.runtime.loop import Loop
    from srvctl.serving.acceptor import Acceptor
    from srvctl.serving.conversation import Conversation
    from srvctl.serving.shared_limit import SharedLimit


class SharedRoom:
    """Room for conversations under `limit`; pauses `acceptor` without any. The loop that `open` gets waits for room."""

    def __init__(self, limit: SharedLimit, acceptor: Acceptor) -> None:
        self._limit, self._acceptor = limit, acceptor
        self._loop: Loop | None = None
        self._is_waiting = False

    def open(self, loop: Loop) -> None:
        """Begin; called before anything is accepted."""
        self._loop, self._is_waiting = loop, False

    @property
    def is_shared(self) -> bool:
        """Whether the workers count together what they serve."""
        return self._limit.is_on

    def take(self, conversation: Conversation) -> bool:
        """Take the room for a conversation; return whether there was any. From any thread."""
        return self._limit.acquire(conversation)

    def await_others(self) -> None:
        """Have nothing accepted until one of any worker has ended. From any thread."""
        if loop := self._loop:
            if self._acceptor.pause_at_once():
                loop.call_soon(self._pause)
            else:
                self._pause()

    def _pause(self) -> None:
        if not self._is_waiting and self._loop:
            self._is_waiting = True
            self._acceptor.pause(PauseReason.ALL_FULL)
            self._loop.watch(self._limit.fileno(), lambda events: self.look())

    def look(self) -> None:
        """Go on: there may be room, or nobody asks for it any more."""
        if self._is_waiting and self._loop:
            self._is_waiting = False
            self._loop.unwatch(self._limit.fileno())
            self._acceptor.resume(PauseReason.ALL_FULL)
