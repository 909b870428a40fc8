"""Guard of datagram services against forged senders: who is not answered, and how long an answer may be.

The sender of a UDP datagram can be forged. An attacker makes a service answer somebody else, with more than the
attacker has sent (amplification), or sets two services on each other that go on for ever (CVE-2024-2169).
"""

from __future__ import annotations

from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# Clients use ports above this one. A lower sender is forged, or is a service that an attacker made to answer us.
# OpenBSD's inetd has the same limit: dg_badinput() in inetd.c.
FIRST_CLIENT_PORT = 1024
# A datagram that two services answer each other with comes thousands of times a second; to drop it once ends that.
MOST_IN_A_SECOND = 100
# How many senders are counted at a time; an attacker forges as many as it likes.
_MOST_SENDERS = 4096
# An answer may be this many times as long as its request: the bound that QUIC has, RFC 9000, 8.1.
AMPLIFICATION = 3


class DatagramGuard:
    """Tell which senders are not to be answered. Counts in a table of bounded size, for one thread at a time."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._second = 0
        self._counts: dict[Any, int] = {}

    def allows(self, sender: Any) -> bool:
        """Count a datagram from `sender`, an address of IP; return whether it may be answered."""
        if sender[1] < FIRST_CLIENT_PORT:
            return False
        if (second := int(self._now())) != self._second:
            self._second, self._counts = second, {}
        counts = self._counts
        count = counts.get(sender, 0) + 1
        if count > MOST_IN_A_SECOND or (count == 1 and len(counts) >= _MOST_SENDERS):
            return count <= MOST_IN_A_SECOND
        counts[sender] = count
        return True


def longest_answer(request_bytes: int) -> int:
    """Return how long the answer to a request of that many bytes may be."""
    return request_bytes * AMPLIFICATION
