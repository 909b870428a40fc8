"""By what a request is: connections, and datagrams."""

from __future__ import annotations

import contextlib
import socket
import struct

from srvctl import log
from srvctl.address import format_sockaddr, unmapped
from srvctl.conversation import RECEIVED, Connection, CountingReply, new_meter
from srvctl.serving.draining import Draining
from srvctl.socketserver.base import event_driven
from srvctl.socketserver.datagram import DatagramServer, answer_from
from srvctl.socketserver.stream import StreamServer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from srvctl.conversation import Meter

    StreamBase = StreamServer
    DatagramBase = DatagramServer
else:
    StreamBase = DatagramBase = object


# A unix peer that does not read holds the answer to it for so long, and not for ever: socket(7), a struct timeval.
_SEND_TIMEOUT = struct.pack("@ll", 1, 0)


class StreamServing(Draining, StreamBase):
    """Serve connections that count what comes and goes."""

    @event_driven
    def get_request(self) -> tuple[Any, Any]:
        listener = self.socket
        # What socket.accept itself calls: the connection is made once, as what it is to be.
        fd, peer = listener._accept()  # type: ignore[attr-defined]
        connection = Connection(listener.family, listener.type, listener.proto, fileno=fd)
        connection.meter = new_meter()
        return connection, unmapped(peer)

    def _meter_of(self, request: Any) -> Meter:
        meter: Meter = request.meter
        return meter

    def _set_meter(self, request: Any, meter: Meter) -> None:
        request.meter = meter

    def _close_lingered(self, request: Any) -> None:
        super()._close_lingered(request)
        if self._deadline is not None and self._loop:
            self._loop.call_soon(self._check_drained)

    def _close_drained_source(self) -> None:
        super()._close_drained_source()
        self.socket.close()

    def _is_drained(self) -> bool:
        return super()._is_drained() and not len(self._lingering)


class DatagramServing(Draining, DatagramBase):
    """Serve datagrams, and count those that could not be."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.is_own:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _SEND_TIMEOUT)

    def _meter_of(self, request: Any) -> Meter:
        data, reply = request
        meter: Meter = reply.meter
        meter[RECEIVED] = len(data)
        return meter

    def _set_meter(self, request: Any, meter: Meter) -> None:
        request[1].meter = meter

    def _address_of(self, sender: Any) -> Any:
        return unmapped(sender)

    def _reply_socket(self, client_address: Any, ancillary: list[tuple[int, int, bytes]]) -> CountingReply:
        reply = CountingReply(self.socket, client_address, [answer_from(item) for item in ancillary])
        reply.meter = new_meter()
        return reply

    def datagram_truncated(self, client_address: Any, suppressed: int) -> None:
        self.counters["truncated"] += 1
        if suppressed >= 0:
            log.datagram_truncated(format_sockaddr(client_address), self.max_packet_size, suppressed)

    def connection_lost(self, error: OSError) -> None:
        super().connection_lost(error)
        self._drop_reported_errors()

    def _on_readable(self, events: int) -> None:
        super()._on_readable(events)
        if events & ~1:  # EPOLLERR: reports wait on the error queue, ip(7) IP_RECVERR
            self._drop_reported_errors()

    def _drop_reported_errors(self) -> None:
        """Count the ICMP errors that the kernel keeps for us, and let go of them."""
        with contextlib.suppress(OSError):
            while True:
                self.socket.recvmsg(1, 0, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
                self.counters["lost"] += 1
