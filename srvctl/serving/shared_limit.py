"""Shared limit: ``--max-connections`` over all workers of a service, as a semaphore that they have in common.

It is on with ``--at-limit refuse``, so that room anywhere is room, and while workers are being replaced, so that the
old and the new ones together serve no more than the limit. Otherwise each worker has its share, which costs nothing.

Both descriptors are of eventfd(2), with EFD_SEMAPHORE. `pool` has as many as may still be served; `taken` those that
this worker serves, which its supervisor gives back when the worker dies.
"""

from __future__ import annotations

import _thread
import os
from io import FileIO

from srvctl.serving.admission import Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from srvctl.serving.conversation import Conversation
    from srvctl.serving.table import ConversationTable


class SharedLimit:
    """This worker's use of the semaphore. From any thread; owns both descriptors, until the process ends."""

    def __init__(self, pool: int, taken: int) -> None:
        self._pool, self._taken = pool, taken
        # Closed once: the numbers may be another file's when a child of a child is forked.
        self._pool_file, self._taken_file = FileIO(pool, "rb"), FileIO(taken, "rb")
        self._lock = _thread.allocate_lock()
        self.is_on = self.is_used = False  # `is_used` stays true: conversations may have places still

    @property
    def closers(self) -> tuple[Callable[[], None], ...]:
        """What a forked child calls, which serves one conversation and counts none."""
        return self._pool_file.close, self._taken_file.close

    def fileno(self) -> int:
        """Return the descriptor that is readable while there is room."""
        return self._pool

    def turn_on(self, table: ConversationTable) -> None:
        """Count each conversation from now on, and those that run already."""
        self.is_on = self.is_used = True
        for conversation in table.snapshot():
            with self._lock:  # who ends it at this moment has taken it out of the table, and comes to `give_back` then
                if id(conversation) in table:
                    self._acquire(conversation)

    def turn_off(self) -> None:
        """Count no more conversations; those that were counted still give back their place."""
        self.is_on = False

    def acquire(self, conversation: Conversation) -> bool:
        """Count a conversation, if there is room for one more; return whether it is counted."""
        with self._lock:
            return self._acquire(conversation)

    def _acquire(self, conversation: Conversation) -> bool:
        if conversation.is_counted_by_all:
            return True
        try:
            os.eventfd_read(self._pool)
        except BlockingIOError:
            return False
        os.eventfd_write(self._taken, 1)  # a kill between the two loses a place, and lets nobody in
        conversation.is_counted_by_all = True
        return True

    def give_back(self, conversation: Conversation) -> None:
        """Give back the place of a conversation that is over."""
        with self._lock:
            if conversation.is_counted_by_all:
                conversation.is_counted_by_all = False
                os.eventfd_read(self._taken)
                os.eventfd_write(self._pool, 1)


class SharedLimitCheck:
    """An admission check: refuse a conversation when there is no room, unless a stop has begun."""

    def __init__(self, shared: SharedLimit) -> None:
        self._shared = shared
        self.is_lifted = False

    def __call__(self, conversation: Conversation) -> Verdict:
        """Return whether there is room; the place is the conversation's then."""
        return Verdict.ADMITTED if self.is_lifted or self._shared.acquire(conversation) else Verdict.LIMIT
