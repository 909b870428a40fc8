"""The table of conversations: each is entered when it is admitted, and leaves when it ends."""

from __future__ import annotations

import _thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvctl.serving.conversation import Conversation


class ConversationTable(dict[int, "Conversation"]):
    """The conversations that are being served, or wait for it, by `id`; the oldest first.

    A dict, since entering and leaving it are on the path of each request: `table[id(conversation)] = conversation`, and
    `table.pop`. Any thread may do so.
    """

    def __init__(self) -> None:
        self._entering = _thread.RLock()

    def enter_within(self, limit: int, conversation: Conversation) -> bool:
        """Enter a conversation if there are fewer than `limit`; return whether it was."""
        with self._entering:
            if len(self) >= limit:
                return False
            self[id(conversation)] = conversation
            return True

    def snapshot(self) -> list[Conversation]:
        """Return those that are there now, while others come and go."""
        return list(self.values())
