"""What keeps a service that answers datagrams from being turned against others.

The sender of a datagram can be forged. Two services that answer whatever comes can be set on each other with one
datagram and never stop (CVE-2024-2169), and an answer that is longer than its request makes one attacker into
several. No handler of its own lives here: only what those of `srvctl.handlers` have in common.
"""

from __future__ import annotations

from srvctl import DatagramRequestHandler

# Services live below, clients above: what comes from down there is a forgery, or a service that was set on us.
# OpenBSD's inetd draws its line here too, dg_badinput() in inetd.c.
FIRST_CLIENT_PORT = 1024


class GuardedDatagramHandler(DatagramRequestHandler):
    """Handle a datagram, and send what was written to ``wfile`` only where that can harm nobody.

    On UDP nothing is sent to a port below 1024, and nothing that is longer than the datagram that came: a part of
    an answer would be no answer, so it is all or nothing. ``guard`` set to false sends everything. The sender of a
    unix datagram cannot be forged, and always gets its answer.

    A loop between two services on high ports is not prevented.
    """

    guard: bool = True

    def finish(self) -> None:
        """Send the answer, or hold it back."""
        if not self.guard or self._is_harmless():
            super().finish()

    def _is_harmless(self) -> bool:
        if not isinstance(self.client_address, tuple):  # a unix socket's name, or none
            return True
        from_client = self.client_address[1] >= FIRST_CLIENT_PORT
        return from_client and len(self.wfile.getvalue()) <= len(self.packet)
