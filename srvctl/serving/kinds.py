"""By what a request is: connections, and datagrams."""

from __future__ import annotations

import contextlib
import socket
import struct
from time import monotonic

from srvctl.net.address import format_sockaddr, unmapped
from srvctl.runtime import log
from srvctl.serving.connection import Connection, CountingReply
from srvctl.serving.conversation import RECEIVED, Conversation, new_meter
from srvctl.serving.drain import Draining
from srvctl.socketserver.base import event_driven
from srvctl.socketserver.datagram import DatagramServer, answer_from
from srvctl.socketserver.stream import StreamServer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from srvctl.serving.conversation import Meter

    StreamBase = StreamServer
    DatagramBase = DatagramServer
else:
    StreamBase = DatagramBase = object


_DONTWAIT = int(socket.MSG_DONTWAIT)

# A unix peer that does not read holds the answer to it for so long, and not for ever: socket(7), a struct timeval.
_SEND_TIMEOUT = struct.pack("@ll", 1, 0)


class StreamServing(Draining, StreamBase):
    """Serve connections that count what comes and goes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        listener = self.socket
        # As plain numbers: the attributes of a socket make an enumeration's member of them each time.
        self._kind = (int(listener.family), int(listener.type), listener.proto)
        self._may_be_mapped = listener.family == socket.AF_INET6

    @event_driven
    def get_request(self) -> tuple[Any, Any]:
        # What socket.accept itself calls: the connection is made once, as what it is to be.
        fd, peer = self.socket._accept()  # type: ignore[attr-defined]
        connection = Connection(*self._kind, fd)
        connection.meter = new_meter()
        return connection, unmapped(peer) if self._may_be_mapped else peer

    def shutdown_request(self, request: Any) -> None:
        if request.is_at_end:  # nothing can come that would turn the close into a reset: no need to linger
            self._end(request)
            self.close_request(request)
            self._check_soon()
        else:
            super().shutdown_request(request)

    def _conversation_with(self, request: Any, client_address: Any) -> Conversation:
        return Conversation(request, client_address, request.meter)

    def _set_meter(self, request: Any, meter: Meter) -> None:
        request.meter = meter

    def _parts_of(self, request: Any) -> tuple[int, Any]:
        return request.fileno(), None

    def _request_of(self, parts: Any, fd: int, client_address: Any, meter: Meter | None) -> Any:
        connection = Connection(*self._kind, fd)
        connection.meter = meter or new_meter()
        return connection

    def _close_lingered(self, request: Any) -> None:
        super()._close_lingered(request)
        self._check_soon()

    def _close_drained_source(self) -> None:
        super()._close_drained_source()
        self.socket.close()

    def _is_drained(self) -> bool:
        return super()._is_drained() and not len(self._lingering)


class DatagramServing(Draining, DatagramBase):
    """Serve datagrams, and count those that could not be."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._new_reply = CountingReply.on(self.socket)
        self._receive_bytes = self.max_packet_size + 1  # one more shows that there was more
        self._may_be_mapped = self.socket.family == socket.AF_INET6
        if self.is_own:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _SEND_TIMEOUT)

    def _conversation_with(self, request: Any, client_address: Any) -> Conversation:
        data, reply = request
        reply.meter[RECEIVED] = len(data)
        conversation: Conversation = reply
        return conversation

    def _set_meter(self, request: Any, meter: Meter) -> None:
        request[1].meter = meter

    def _parts_of(self, request: Any) -> tuple[int, Any]:
        data, reply = request
        return -1, (data, list(reply._ancillary))

    def _request_of(self, parts: Any, fd: int, client_address: Any, meter: Meter | None) -> Any:
        data, ancillary = parts
        reply = self._reply_socket(client_address, [])
        reply._ancillary = ancillary
        reply.meter = meter or reply.meter
        return data, reply

    def _address_of(self, sender: Any) -> Any:
        return unmapped(sender) if self._may_be_mapped else sender

    def _reply_socket(self, client_address: Any, ancillary: Sequence[tuple[int, int, bytes]]) -> CountingReply:
        reply = self._new_reply()
        reply.peer = client_address
        reply.meter = new_meter()
        reply.began = monotonic()
        if ancillary:
            reply._ancillary = [answer_from(item) for item in ancillary]
        return reply

    def shutdown_request(self, request: Any) -> None:
        self._end(request)

    def _take_one(self) -> bool:
        # All that is between the kernel and the handler in one: with `get_request`, `_process` and what they call, a
        # datagram takes 45,800 instructions, so 37,200, of which 16,800 are its client and the two system calls.
        if self._tells_destination or self._may_be_mapped or not self._begins_simply:
            return super()._take_one()
        try:
            data, sender = self.socket.recvfrom(self._receive_bytes, _DONTWAIT)
        except BlockingIOError:
            return False
        except Exception as error:
            return self._on_request_error(error)
        if len(data) == self._receive_bytes:
            self._drop_truncated(sender)
            return True
        self._taken += 1
        self._on_taken()
        reply = self._new_reply()
        reply.peer = sender = sender or None
        reply.began = monotonic()
        reply.meter = meter = new_meter()
        meter[RECEIVED] = len(data)
        request = data, reply
        self.conversations[id(request)] = reply
        try:
            self._handle(request, sender)  # type: ignore[attr-defined]  # who begins simply also serves in place
        except BaseException as error:
            self._bear(error)
        return True

    def datagram_truncated(self, client_address: Any, suppressed: int) -> None:
        self.tally.add("truncated")
        if suppressed >= 0:
            log.datagram_truncated(format_sockaddr(client_address), self.max_packet_size, suppressed)

    def connection_lost(self, error: OSError) -> None:
        super().connection_lost(error)
        self._drop_reported_errors()

    def _on_source_error(self) -> None:
        self._drop_reported_errors()  # reports wait on the error queue, ip(7) IP_RECVERR

    def _drop_reported_errors(self) -> None:
        """Count the ICMP errors that the kernel keeps for us, and let go of them."""
        with contextlib.suppress(OSError):
            while True:
                self.socket.recvmsg(1, 0, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
                self.tally.add("lost")
