"""Who is let in: checks, asked once for each conversation before it is served; `Closing.refuse` refuses.

Nothing here waits, unless a rule of the user's (``verify_request``) does.
"""

from __future__ import annotations

from enum import Enum

from srvctl.net.address import format_sockaddr
from srvctl.runtime import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from srvctl.net.datagram_guard import DatagramGuard
    from srvctl.serving.conversation import Conversation
    from srvctl.serving.table import ConversationTable

    Check = Callable[[Conversation], "Verdict"]


class Verdict(Enum):
    """What admission says of a conversation; the value is the reason that the log has for a refusal."""

    ADMITTED = ""
    RULE = "rule"  # verify_request said no
    RULE_FAILED = "rule failed"  # verify_request raised, and a rule that fails must not let anyone in
    GUARD = "datagram guard"  # the sender may be forged
    UNREAD = "unread answers"  # the sender, a unix one, does not read
    LIMIT = "limit"  # --max-connections are being served, with --at-limit refuse

    __hash__ = object.__hash__


class Admission:
    """Ask each check in its order; the first that refuses decides. Whoever is admitted is in the table.

    With nothing to check there is no admission at all, and the acceptor enters conversations by itself.
    """

    def __init__(self, table: ConversationTable, checks: Sequence[Check]) -> None:
        self._table = table
        self._checks = tuple(checks)

    def admit(self, conversation: Conversation) -> Verdict:
        """Return whether a conversation is let in, and if not, why."""
        for check in self._checks:
            verdict = check(conversation)
            if verdict is not Verdict.ADMITTED:
                return verdict
        self._table[id(conversation)] = conversation  # a limit has entered it already; this is then the same
        return Verdict.ADMITTED


def rule(verify_request: Callable[[Any, Any], bool]) -> Check:
    """Return the check that asks a rule of the user's."""

    def check(conversation: Conversation) -> Verdict:
        try:
            is_admitted = verify_request(conversation.request, conversation.peer)
        except Exception as error:
            log.rule_failed(format_sockaddr(conversation.peer), error)
            return Verdict.RULE_FAILED
        return Verdict.ADMITTED if is_admitted else Verdict.RULE

    return check


def guard(datagram_guard: DatagramGuard) -> Check:
    """Return the check that refuses senders which are not to be answered."""

    def check(conversation: Conversation) -> Verdict:
        return Verdict.ADMITTED if datagram_guard.allows(conversation.peer) else Verdict.GUARD

    return check


class LimitCheck:
    """At most `limit` conversations in the table, and no limit any more once a stop has begun."""

    def __init__(self, table: ConversationTable, limit: int) -> None:
        self._table, self.limit = table, limit
        self.is_lifted = False

    def __call__(self, conversation: Conversation) -> Verdict:
        if self.is_lifted or self._table.enter_within(self.limit, conversation):
            return Verdict.ADMITTED
        return Verdict.LIMIT


def log_begin(conversation: Conversation) -> Verdict:
    """Log that a conversation begins: the last check, when somebody wants to read it."""
    log.conversation_began(conversation.name, conversation.id)
    return Verdict.ADMITTED
