"""Datagrams: what receives them, and what a handler answers with, which notes on a meter what it sends."""

from __future__ import annotations

import contextlib
import socket
import struct
from time import monotonic, monotonic_ns, sleep

from srvctl.net.address import format_sockaddr, mapped, unmapped
from srvctl.runtime import log
from srvctl.runtime.current import numbers
from srvctl.runtime.rate_limit import RateLimiter
from srvctl.serving.conversation import LOST, METER_ITEMS, RECEIVED, SENT, SENT_AT, Conversation
from srvctl.serving.source import BATCH, SocketSource
from srvctl.serving.unread_answers import SEND_SECONDS
from srvctl.socketserver.datagram import ICMP_ERRNOS, DatagramServer, Reply, answer_from, ask_for_destination

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from srvctl.serving.conversation import Meter
    from srvctl.serving.counters import Counters

_AF_INET6, _AF_UNIX = int(socket.AF_INET6), int(socket.AF_UNIX)
_DONTWAIT, _TRUNC = int(socket.MSG_DONTWAIT), int(socket.MSG_TRUNC)
_ANCILLARY_BYTES = socket.CMSG_SPACE(20)  # in6_pktinfo, the larger of the two

# An answer waits for room for so long, and not for ever: socket(7) SO_SNDTIMEO, a struct timeval.
_SEND_TIMEOUT = struct.pack("@ll", 1, 0)
_FIRST_PAUSE_SECONDS = 0.0005


class DatagramConversation(Conversation, Reply):
    """A datagram, and what its handler answers it with; it notes what was sent, and outlives ICMP errors.

    One object for both, since there is one for each datagram. `class_for` makes the class for a socket; whoever makes
    one sets its `data`, `peer`, `meter`, `number` and `began`.
    """

    data: bytes
    ancillary: Sequence[tuple[int, int, bytes]] = ()  # what the answer is sent with
    reserved = 0  # of the room for answers, by `UnreadAnswers`
    waits_for_room = True  # for a moment, when an answer cannot be sent at once

    @classmethod
    def class_for(cls, sock: socket.socket) -> Callable[[], DatagramConversation]:
        """Return a class of conversations on `sock`, whose constructor takes and sets nothing.

        What else a socket has is on the class: `__getattr__` costs every other attribute, too.
        """
        send, is_ipv6, is_unix = sock.sendto, sock.family == _AF_INET6, sock.family == _AF_UNIX

        def sendto(self: DatagramConversation, data: Any, flags: Any, address: Any = None) -> int:
            if address is None:
                flags, address = 0, flags
            if is_ipv6:
                address = mapped(address)
            elif is_unix:
                if flags & _DONTWAIT:
                    self.waits_for_room = False
                flags |= _DONTWAIT
            try:
                sent = send(data, flags, address) if not self.ancillary else Reply.sendto(self, data, flags, address)
            except OSError as error:
                if is_unix:
                    return self._send_late(data, flags, address, error)
                if error.errno not in ICMP_ERRNOS:
                    raise
                # An error that came back for an earlier datagram, to whomever; asking took it off the socket.
                self.meter[LOST] += 1
                sent = Reply.sendto(self, data, flags, address)
            meter = self.meter
            meter[SENT] += sent
            meter[SENT_AT] = monotonic_ns()
            return sent

        others = {name: _delegate(name) for name in dir(sock) if name[0] != "_" and not hasattr(cls, name)}
        own = {"_sock": sock, "sendto": sendto, "__init__": object.__init__}
        return type(cls.__name__, (cls,), others | own)

    def _send_late(self, data: Any, flags: int, address: Any, error: OSError) -> int:
        """Wait a moment for room for an answer to a unix peer. Raises `error` when there is none.

        Not by SO_SNDTIMEO, since a socket that was handed over is others' too, nor by poll(2), which does not know of
        the room that the peer has, unix(7).
        """
        pause = _FIRST_PAUSE_SECONDS
        until = monotonic() + SEND_SECONDS
        while isinstance(error, BlockingIOError) and self.waits_for_room and monotonic() < until:
            sleep(pause)
            pause *= 2
            try:
                sent = self._sock.sendto(data, flags, address)
            except BlockingIOError:
                continue
            self.meter[SENT] += sent
            self.meter[SENT_AT] = monotonic_ns()
            return sent
        if isinstance(error, BlockingIOError):
            self.meter[LOST] += 1
        raise error

    @property
    def request(self) -> tuple[bytes, DatagramConversation]:
        """What the handler gets; not kept, or it would be a cycle for the garbage collector."""
        return self.data, self

    def replace(self, request: Any) -> None:
        """Go on with the data of another request; the answer goes the same way."""
        self.data = request[0]

    def serves(self, request: Any) -> bool:
        """Tell whether `request` is about this datagram; the pair is made each time."""
        return isinstance(request, tuple) and request[1:] == (self,)

    @property
    def client_address(self) -> Any:
        """Where the datagram came from."""
        return self.peer


def _delegate(name: str) -> property:
    return property(lambda reply: getattr(reply._sock, name))


class DatagramSource(SocketSource):
    """A datagram socket, which all its conversations answer on. The server owns it."""

    is_stream = False
    max_packet_size = DatagramServer.max_packet_size
    _serving_timeout = None  # receiving never blocks (MSG_DONTWAIT), and an answer waits for room, as on any socket

    def __init__(
        self,
        sock: socket.socket,
        is_own: bool,
        counters: Counters,
        conversation_class: type[DatagramConversation] = DatagramConversation,
    ) -> None:
        super().__init__(sock, is_own)
        self._counters = counters
        self._truncated_rate = RateLimiter()
        self._new_conversation = conversation_class.class_for(sock)
        self._receive_bytes = self.max_packet_size + 1  # one more shows that there was more
        self._may_be_mapped = sock.family == socket.AF_INET6
        self._tells_destination = ask_for_destination(sock)
        self._is_plain = not (self._tells_destination or self._may_be_mapped)
        if is_own and sock.family != _AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _SEND_TIMEOUT)

    def accept(self) -> DatagramConversation:
        """Return the next datagram as a conversation. Raises BlockingIOError when there is none, and OSError."""
        if not self._is_plain:
            return self._accept_message()
        data, sender = self.socket.recvfrom(self._receive_bytes, _DONTWAIT)  # a third cheaper than recvmsg
        if len(data) == self._receive_bytes:
            self._drop_truncated(sender)
            return self._accept_message()
        conversation = self._new_conversation()
        conversation.data = data
        conversation.peer = sender or None  # Linux says '' or None for a unix peer without a name, by version
        conversation.began = monotonic()
        conversation.number = next(numbers)
        conversation.meter = meter = [0] * METER_ITEMS
        meter[RECEIVED] = len(data)
        return conversation

    def _accept_message(self) -> DatagramConversation:
        for _ in range(BATCH):  # a flood of long ones must not keep the loop from its other work
            data, ancillary, flags, sender = self.socket.recvmsg(self.max_packet_size, _ANCILLARY_BYTES, _DONTWAIT)
            if not flags & _TRUNC:
                meter = [0] * METER_ITEMS
                meter[RECEIVED] = len(data)
                answers = [answer_from(item) for item in ancillary]
                return self.conversation_with(data, self.peer_of(sender), meter, answers)
            self._drop_truncated(sender)
        raise BlockingIOError

    def peer_of(self, sender: Any) -> Any:
        """Return a sender as handlers know it: an IPv4 address as such, and None for a unix peer without a name."""
        return unmapped(sender) if self._may_be_mapped and sender else sender or None

    def conversation_with(
        self, data: bytes, peer: Any, meter: Meter | None = None, ancillary: Sequence[tuple[int, int, bytes]] = ()
    ) -> DatagramConversation:
        """Return the conversation that a datagram begins; `ancillary` is what its answer is sent with."""
        conversation = self._new_conversation()
        conversation.data, conversation.peer = data, peer
        conversation.meter = [0] * METER_ITEMS if meter is None else meter
        conversation.number = next(numbers)
        conversation.began = monotonic()
        if ancillary:
            conversation.ancillary = ancillary
        return conversation

    def pack(self, conversation: Any) -> tuple[int, Any]:
        """Return a conversation as a descriptor, which here is none, and plain values, for another process."""
        return -1, (conversation.data, list(conversation.ancillary), conversation.number)

    def unpack(self, values: Any, fd: int, peer: Any, meter: Meter) -> DatagramConversation:
        """Return the conversation that `pack` took apart."""
        data, ancillary, number = values
        conversation = self.conversation_with(data, peer, meter, ancillary)
        conversation.number = number
        return conversation

    def is_harmless(self, error: OSError) -> bool:
        """Tell whether an error is about an earlier answer of ours, and not about the socket."""
        if error.errno not in ICMP_ERRNOS:
            return False
        self.drop_reported_errors()
        return True

    def drop_reported_errors(self) -> None:
        """Count the ICMP errors that the kernel keeps for us, ip(7) IP_RECVERR, and let go of them."""
        with contextlib.suppress(OSError):
            while True:
                self.socket.recvmsg(1, 0, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
                self._counters.add("lost")

    def _drop_truncated(self, sender: Any) -> None:
        self._counters.add("truncated")
        if (suppressed := self._truncated_rate.allow()) is not None:
            log.datagram_truncated(format_sockaddr(sender), self.max_packet_size, suppressed)
