"""Amplification guard: keeps a service that answers datagrams from being used against others.

An attacker can forge the sender of a datagram. With one forged datagram two services that answer everything can be
made to answer each other for ever (CVE-2024-2169). A service whose answers are longer than the requests multiplies an
attacker's traffic.
"""

from __future__ import annotations

from srvctl import DatagramRequestHandler
from srvctl.net.address import format_sockaddr
from srvctl.net.datagram_guard import FIRST_CLIENT_PORT
from srvctl.runtime import log
from srvctl.runtime.rate_limit import RateLimiter

_rate = RateLimiter()


class GuardedDatagramHandler(DatagramRequestHandler):
    """Base of a datagram handler whose answer, written to ``wfile``, is sent only where it can do no harm.

    On UDP no answer goes to a port below 1024, and no answer is longer than the request: a longer one is dropped, not
    cut. The sender of a unix datagram cannot be forged and always gets its answer. ``guard`` set to false sends every
    answer.

    The server, which sees all datagrams, refuses senders that come too often (`srvctl.net.datagram_guard`): so a loop
    between two services on high ports ends, too.
    """

    guard: bool = True

    def finish(self) -> None:
        """Send the answer, or drop it, and say so in the log once in a while."""
        if not self.guard or self._is_harmless():
            super().finish()
        elif (suppressed := _rate.allow()) is not None:
            why = "it is longer than the request, or goes to a port below 1024; --set guard=no sends it"
            log.answer_dropped(format_sockaddr(self.client_address), why, suppressed)

    def _is_harmless(self) -> bool:
        if not isinstance(self.client_address, tuple):  # a unix socket, with or without a name
            return True
        from_client = self.client_address[1] >= FIRST_CLIENT_PORT
        return from_client and len(self.wfile.getvalue()) <= len(self.packet)
