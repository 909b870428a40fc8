"""Servers whose requests are datagrams: `DatagramServer`, and what a handler gets to answer with."""

from __future__ import annotations

import errno
import socket
import struct
import warnings

from srvctl.runtime.rate_limit import RateLimiter
from srvctl.socketserver.base import BATCH, event_driven
from srvctl.socketserver.socket_server import SocketServer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from srvctl.socketserver.protocols import Handler

# What the kernel says on an unconnected socket of a datagram that was sent before: an ICMP message came back
# (udp(7), icmp(7); RFC 1122, 4.1.3.3). It is about that peer, and never about the server.
ICMP_ERRNOS = frozenset(
    (
        errno.ECONNREFUSED,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.ENETDOWN,
        errno.ENOPROTOOPT,
        errno.EPROTO,
        errno.EACCES,
        errno.ECONNRESET,
    )
)
# The other end of a unix datagram went away, or is not reading.
PEER_GONE_ERRNOS = ICMP_ERRNOS | {errno.ENOENT, errno.EPIPE, errno.ENOTCONN}

# ip(7), ipv6(7). The socket module has the names from Python 3.14 on for the first.
IP_PKTINFO = getattr(socket, "IP_PKTINFO", 8)
IPV6_RECVPKTINFO = getattr(socket, "IPV6_RECVPKTINFO", 49)
IPV6_PKTINFO = getattr(socket, "IPV6_PKTINFO", 50)
_DESTINATIONS = frozenset(((socket.IPPROTO_IP, IP_PKTINFO), (socket.IPPROTO_IPV6, IPV6_PKTINFO)))
_DONTWAIT, _TRUNC = int(socket.MSG_DONTWAIT), int(socket.MSG_TRUNC)
_ANCILLARY_BYTES = socket.CMSG_SPACE(20)  # in6_pktinfo, the larger of the two


class Reply:
    """How a handler answers a datagram: ``sendto`` and ``send`` go out from the address that it was sent to.

    ``settimeout``, ``setblocking``, ``shutdown`` and ``close`` are for a socket of one's own, and do nothing here.
    """

    sent = 0
    client_address: Any
    _sock: socket.socket
    ancillary: Sequence[tuple[int, int, bytes]]

    def sendto(self, data: Any, *flags_and_address: Any) -> int:
        """Send `data` to an address; return the number of bytes. Raises OSError as sendto(2) does."""
        if not self.ancillary:
            sent = self._sock.sendto(data, *flags_and_address)
        else:
            *flags, address = flags_and_address
            sent = self._sock.sendmsg((data,), self.ancillary, flags[0] if flags else 0, address)
        self.sent += sent
        return sent

    def send(self, data: Any, flags: int = 0) -> int:
        """Send `data` to the peer that sent the datagram."""
        return self.sendto(data, flags, self.client_address)

    def settimeout(self, value: float | None) -> None:
        """Do nothing: the socket is every handler's."""

    def setblocking(self, flag: bool) -> None:
        """Do nothing: the socket is every handler's."""

    def shutdown(self, how: int) -> None:
        """Do nothing: the socket is every handler's."""

    def close(self) -> None:
        """Do nothing: the socket is every handler's."""


class ReplySocket(Reply):
    """What a handler answers a datagram with: the server's socket, less what would harm the other handlers.

    Everything that `Reply` does not have is the socket's.
    """

    def __init__(self, sock: socket.socket, client_address: Any, ancillary: Sequence[tuple[int, int, bytes]]) -> None:
        self._sock = sock
        self.ancillary = ancillary
        self.client_address = client_address

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class DatagramServer(SocketServer):
    """A server whose requests are pairs of a datagram and the `ReplySocket` to answer it with.

    ``max_packet_size``, in bytes, is the longest that is taken; a longer one is dropped and told to
    `datagram_truncated`, since a part of a datagram is no datagram.
    """

    socket_type = socket.SOCK_DGRAM
    max_packet_size = 65535
    # Receiving never blocks (MSG_DONTWAIT), and a handler's answer waits for room, as on any socket.
    _serving_timeout = None
    _tells_destination = False

    def __init__(
        self,
        server_address: Any,
        RequestHandlerClass: Handler,
        bind_and_activate: bool = True,
        *,
        sock: socket.socket | None = None,
    ) -> None:
        self._truncated_rate = RateLimiter()
        super().__init__(server_address, RequestHandlerClass, bind_and_activate, sock=sock)
        if sock is not None:
            self._ask_for_destination()

    def _set_reuse(self) -> None:
        if self.allow_reuse_address and self.socket.family != socket.AF_UNIX:
            # On UDP it would let another process take the port, and half of the datagrams with it.
            warnings.warn(
                f"{type(self).__name__}.allow_reuse_address has no place on a datagram socket and is ignored",
                RuntimeWarning,
                stacklevel=4,
            )
        if self.allow_reuse_port and hasattr(socket, "SO_REUSEPORT"):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)

    def server_bind(self) -> None:
        """Bind the socket; where it is bound to every interface, ask for the address each datagram was sent to."""
        super().server_bind()
        self._ask_for_destination()

    def _ask_for_destination(self) -> None:
        self._tells_destination = ask_for_destination(self.socket)

    @event_driven
    def get_request(self) -> tuple[tuple[bytes, Reply], Any]:
        """Receive a datagram; return it with what answers it, and its sender (None: a unix peer without a name)."""
        size = self.max_packet_size
        ancillary: list[tuple[int, int, bytes]] = []
        for _ in range(BATCH):  # a flood of them must not keep the loop from its other work
            if self._tells_destination:
                data, ancillary, flags, sender = self.socket.recvmsg(size, _ANCILLARY_BYTES, _DONTWAIT)
                is_truncated = flags & _TRUNC
            else:  # a third cheaper; one byte more shows that there was more
                data, sender = self.socket.recvfrom(size + 1, _DONTWAIT)
                is_truncated = len(data) > size
            if is_truncated:
                self._drop_truncated(sender)
                continue
            # Linux says '' or None for no name, by version.
            client_address = self._address_of(sender or None)
            return (data, self._reply_socket(client_address, ancillary)), client_address
        raise BlockingIOError

    def _drop_truncated(self, sender: Any) -> None:
        suppressed = self._truncated_rate.allow()
        self.datagram_truncated(sender, -1 if suppressed is None else suppressed)

    def _address_of(self, sender: Any) -> Any:
        return sender

    def _reply_socket(self, client_address: Any, ancillary: Sequence[tuple[int, int, bytes]]) -> Reply:
        return ReplySocket(
            self.socket, client_address, [answer_from(item) for item in ancillary if item[:2] in _DESTINATIONS]
        )

    def datagram_truncated(self, client_address: Any, suppressed: int) -> None:
        """Called when a datagram was longer than ``max_packet_size`` and was dropped.

        `suppressed` is how many were since the last one that is worth a line, or -1 when this one is not.
        """

    def _on_request_error(self, error: Exception) -> bool:
        if isinstance(error, OSError) and error.errno in ICMP_ERRNOS:
            self.connection_lost(error)
            return True
        return super()._on_request_error(error)


def ask_for_destination(sock: socket.socket) -> bool:
    """Have `sock` tell where each datagram was sent to, if it is bound to every interface; return whether it does."""
    family, name = sock.family, sock.getsockname()
    if family == socket.AF_INET and name[0] == "0.0.0.0":
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    elif family == socket.AF_INET6 and name[0] == "::":
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
    else:
        return False
    return True


def answer_from(item: tuple[int, int, bytes]) -> tuple[int, int, bytes]:
    """Turn the ancillary data that says where a datagram went into that which sends from there, ip(7)."""
    level, kind, data = item
    if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
        # in_pktinfo: interface, ipi_spec_dst, ipi_addr. Only the source address is fixed; routing stays free.
        _interface, destination, _header = struct.unpack("=i4s4s", data[:12])
        return level, kind, struct.pack("=i4s4s", 0, destination, b"\0\0\0\0")
    if (level, kind) == (socket.IPPROTO_IPV6, IPV6_PKTINFO):
        address, interface = struct.unpack("=16si", data[:20])
        # A link-local address means nothing without its interface.
        scoped = address[0] == 0xFE and address[1] & 0xC0 == 0x80
        return level, kind, struct.pack("=16si", address, interface if scoped else 0)
    return item


class UDPServer(DatagramServer):
    """A server on UDP."""

    address_family = socket.AF_INET


class UnixDatagramServer(DatagramServer):
    """A server on a unix datagram socket; a stale file at its path is replaced, its own is removed at the end."""

    address_family = socket.AF_UNIX
