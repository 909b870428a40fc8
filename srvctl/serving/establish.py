"""What must happen on a connection before its handler may have it, and may wait for the peer.

A PROXY header, a TLS handshake and an authentication are steps of this kind. They run where the handler will run: in
the loop of a server without concurrency, in the thread, in the forked child; with a program, in a thread of the worker.
"""

from __future__ import annotations

from time import monotonic

from srvctl.runtime import log
from srvctl.runtime.rate_limit import RateLimiter
from srvctl.serving.conversation import HANDLER_OUTCOME, REFUSED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from srvctl.serving.conversation import Conversation


class NotEstablished(Exception):
    """A step refuses the peer; the text says why, for the log."""


class Deadline:
    """The time until which a step must be done with its peer, however slowly that sends."""

    def __init__(self, seconds: float, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._at = now() + seconds

    def remaining(self) -> float:
        """Return the seconds that are left, above 0. Raises TimeoutError when none is."""
        if (left := self._at - self._now()) <= 0:
            raise TimeoutError("timed out")
        return left


class Step:
    """One thing to be done on a new connection; `name` is for the log, `seconds` is its deadline."""

    name = "step"
    seconds = 10.0

    def run(self, connection: Any, deadline: Deadline) -> Any:
        """Return the connection to go on with: the same, or another object in its place. To be supplied; may block.

        Before each call that waits for the peer it is to set the connection's timeout to `deadline.remaining()`. Raises
        `NotEstablished` to refuse the peer, and OSError, of which TimeoutError is one, as the connection does.
        """
        raise NotImplementedError


class Establish:
    """Take a connection through the steps, in their order. With no steps there is no such stage."""

    def __init__(self, steps: Sequence[Step], now: Callable[[], float] = monotonic) -> None:
        self._steps = tuple(steps)
        self._now = now
        self._rate = RateLimiter()

    def run(self, conversation: Conversation) -> bool:
        """Take the connection of a conversation through the steps; return whether its handler may have it. Blocks.

        Each has its own deadline. Whatever one of them raises refuses that peer alone, and is logged.
        """
        for step in self._steps:
            try:
                deadline = Deadline(step.seconds, self._now)
                conversation.connection.settimeout(deadline.remaining())
                connection = step.run(conversation.connection, deadline)
                connection.settimeout(None)
                if connection is not conversation.connection:
                    conversation.replace(connection)
            except Exception as error:
                self._refuse(conversation, step, error)
                return False
        return True

    def _refuse(self, conversation: Conversation, step: Step, error: Exception) -> None:
        conversation.meter[HANDLER_OUTCOME] = REFUSED
        if (suppressed := self._rate.allow()) is not None:
            log.not_established(conversation.name, step.name, error, suppressed)
