"""Answers that unix peers have not read: no peer takes the room of the others.

Until it is read, an answer is charged to the socket that it was sent from, the server's (unix(7), SO_SNDBUF): one peer
that asks and never reads would silence the server for everybody. How much of the charge is whose the kernel does not
tell; it is estimated from what was sent, and from the whole. Each peer may have as much as is left free, as switches
share their memory among queues (dynamic thresholds, Choudhury and Hahne, 1998).
"""

from __future__ import annotations

import _thread
import fcntl
import socket
import termios
from time import monotonic

from srvctl.serving.admission import Verdict
from srvctl.serving.conversation import LOST, SENT, SENT_AT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from srvctl.serving.datagram import DatagramConversation

    Peer = str | bytes

# An answer waits for room for so long, socket(7) SO_SNDTIMEO; a peer that has had this is not waited for again until
# it has read something, and is tried once in a second.
SEND_SECONDS = 0.2
_STUCK_SECONDS = 1.0
_MAX_STUCK = 1024
# What the kernel charges besides the bytes: unix_dgram_sendmsg() in net/unix/af_unix.c, and struct sk_buff.
_BUFFER_BYTES, _HEAD_BYTES, _LINEAR_BYTES, _PAGE_BYTES = 256, 320, 16384, 4096


def charge_of(length: int) -> int:
    """Return about how much an answer of `length` bytes is charged, until it is read."""
    length += _HEAD_BYTES
    if length <= _LINEAR_BYTES:
        return _BUFFER_BYTES + (1 << (length - 1).bit_length())
    return _BUFFER_BYTES + _LINEAR_BYTES + -(-(length - _LINEAR_BYTES) // _PAGE_BYTES) * _PAGE_BYTES


class UnreadAnswers:
    """An admission check that refuses peers which do not read; `on_end` tells it what was sent. For any thread.

    Borrows the socket. Room for an answer like the last one is reserved for each conversation, until it has ended.
    """

    def __init__(self, sock: socket.socket, now: Callable[[], float] = monotonic) -> None:
        self._sock, self._now = sock, now
        self._charges: dict[Peer, int] = {}  # of each peer that may have something unread, estimated
        self._reserved: dict[Peer, int] = {}
        self._stuck: dict[Peer, float] = {}  # peers that an answer found no room for, and since when
        self._lock = _thread.allocate_lock()
        self._room = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        self._last_charge = charge_of(0)

    def __call__(self, conversation: DatagramConversation) -> Verdict:
        """Return whether an answer to this peer leaves room for others, and reserve it."""
        if conversation.peer is None:  # it cannot be answered
            return Verdict.ADMITTED
        with self._lock:
            return self._admit(conversation, conversation.peer)

    def _admit(self, conversation: DatagramConversation, peer: Peer) -> Verdict:
        free = self._room - self._settle(self._charged()) - sum(self._reserved.values())
        reserved = self._reserved.get(peer, 0)
        if (own := self._charges.get(peer, 0) + reserved) and own > free:
            return Verdict.UNREAD
        if (since := self._stuck.get(peer)) is not None:
            if self._now() - since < _STUCK_SECONDS:
                return Verdict.UNREAD
            self._stuck[peer] = self._now()
            conversation.waits_for_room = False
        conversation.reserved = self._last_charge
        self._reserved[peer] = reserved + conversation.reserved
        return Verdict.ADMITTED

    def on_end(self, conversation: DatagramConversation) -> None:
        """Note what was sent in a conversation that has ended or was refused, and whether there was room for it."""
        peer, meter = conversation.peer, conversation.meter
        if not conversation.reserved:
            return
        with self._lock:
            if left := self._reserved[peer] - conversation.reserved:
                self._reserved[peer] = left
            else:
                del self._reserved[peer]
            conversation.reserved = 0
            if meter[SENT_AT]:
                self._last_charge = charge_of(meter[SENT])
                self._charges[peer] = self._charges.get(peer, 0) + self._last_charge
            if meter[LOST]:
                if len(self._stuck) < _MAX_STUCK:
                    self._stuck.setdefault(peer, self._now())
            elif meter[SENT_AT]:
                self._stuck.pop(peer, None)

    def _charged(self) -> int:
        return int.from_bytes(fcntl.ioctl(self._sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"), "little")

    def _settle(self, charged: int) -> int:
        """Bring the estimates down to the sum that is known, those of peers with the least first; return the sum.

        Who reads has little unread.
        """
        if not charged:
            self._charges.clear()
            return 0
        if (excess := sum(self._charges.values()) - charged) > 0:
            for peer, charge in sorted(self._charges.items(), key=lambda item: item[1]):
                taken = min(charge, excess)
                excess -= taken
                if taken == charge:
                    del self._charges[peer]
                else:
                    self._charges[peer] = charge - taken
                if not excess:
                    break
        return charged
