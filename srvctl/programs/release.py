"""Release of connections that programs have closed while they go on: the peer must see that end when it comes.

This process keeps a connection for its counters, its time limits and the close in the end, so the peer would wait for
the end of the program. No event tells that a program has closed it; so each that runs for longer is looked at.
"""

from __future__ import annotations

import os
from time import monotonic

from srvctl.programs.holders import has_open

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from srvctl.programs.conversation import ProgramConversation
    from srvctl.programs.holders import Orphans
    from srvctl.runtime.loop import Loop

# Programs that close their connection do so soon, before they go on in the background.
_SOON_SECONDS, _LATER_SECONDS = 0.25, 2.0
_YOUNG_SECONDS = 5.0
# So many are looked at in a turn: two system calls each, 10 us together.
_BATCH = 200


class ReleaseCheck:
    """Look at the conversations that `running` returns; `release` gets one whose program has closed its connection.

    One look is not enough: a descendant may be made, and its parent end, while others are looked at.
    """

    def __init__(
        self,
        running: Callable[[], dict[int, ProgramConversation]],
        orphans: Orphans,
        release: Callable[[ProgramConversation], None],
    ) -> None:
        self._running, self._orphans, self._release = running, orphans, release
        self._waiting: list[int] = []  # process ids that are still to be looked at in this round
        self._suspects: set[int] = set()
        self.is_armed = False

    def arm(self, loop: Loop) -> None:
        """Have `loop` look in a moment, and from time to time while a program runs."""
        self.is_armed = True
        loop.call_at(monotonic() + _SOON_SECONDS, lambda: self._turn(loop))

    def _turn(self, loop: Loop) -> None:
        running = self._running()
        if not running:
            self.is_armed = False
            self._suspects.clear()
            return
        self._waiting = self._waiting or list(running)
        batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
        youngest = _LATER_SECONDS + _YOUNG_SECONDS
        for pid in batch:
            if (conversation := running.get(pid)) is not None:
                youngest = min(youngest, conversation.age)
                self._look(pid, conversation)
        is_soon = self._waiting or self._suspects or youngest < _YOUNG_SECONDS
        loop.call_at(monotonic() + (_SOON_SECONDS if is_soon else _LATER_SECONDS), lambda: self._turn(loop))

    def _look(self, pid: int, conversation: ProgramConversation) -> None:
        connection = conversation.connection
        fd = -1 if connection is None else connection.fileno()
        if fd < 0:  # a datagram, or one that has been released
            return
        if has_open(pid, os.fstat(fd).st_ino) or self._orphans.have_open(fd):
            self._suspects.discard(pid)
        elif pid in self._suspects:
            self._suspects.discard(pid)
            conversation.remember_connection()
            self._release(conversation)
        else:
            self._suspects.add(pid)
