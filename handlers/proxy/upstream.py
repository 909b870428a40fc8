"""The upstream of a proxy: its address as text and as a value, and a socket connected to it."""

from __future__ import annotations

import os
import socket
import struct
from collections import namedtuple
from time import monotonic

from srvctl.errors import UsageError
from srvctl.net.address import VMADDR_CID_ANY, Family, InternetAddress, UnixAddress, VsockAddress, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from srvctl.loader.builtin import SandboxNeeds

_SHAPE = "expected FAMILY://ADDRESS, such as tcp://127.0.0.1:80, udp://[::1]:53 or unix:///run/app.sock"


class UpstreamError(Exception):
    """The upstream cannot be reached or misbehaves. It is logged as a failure of the handler, not of the client."""


class UpstreamReset(ConnectionResetError):
    """The upstream reset the connection before its end."""


class Upstream(namedtuple("Upstream", "text family address")):
    """Where to connect to: the text it was parsed from, a `Family`, and an address of that family."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Upstream:
        """Parse ``tcp://127.0.0.1:80``, ``unix:///run/s``, ``unix:@name``, as --announce prints. Raises UsageError."""
        word, colon, rest = text.partition(":")
        families = {family.word: family for family in Family if family is not Family.FD}
        if not colon or word not in families:
            raise UsageError("set", f"to={text!r}", f"{_SHAPE}; the families are {', '.join(families)}")
        family = families[word]
        try:
            address = parse(family, rest.removeprefix("//"))
        except UsageError as error:
            raise UsageError("set", f"to={text!r}", error.why) from None
        if getattr(address, "port", 1) == 0:
            raise UsageError("set", f"to={text!r}", "nothing listens on port 0; expected 1 to 65535")
        if isinstance(address, VsockAddress) and address.cid == VMADDR_CID_ANY:
            raise UsageError("set", f"to={text!r}", "expected vsock://CID:PORT; the host's CID is 2")
        return cls(text, family, address)

    def needs(self) -> SandboxNeeds:
        """Return what a sandbox must allow, so that a handler can connect to it."""
        from srvctl.loader.builtin import SandboxNeeds

        if isinstance(self.address, UnixAddress) and not self.address.is_abstract:
            return SandboxNeeds(reads=(os.path.dirname(os.path.abspath(self.address.name)),), connects=(self.family,))
        is_name = isinstance(self.address, InternetAddress) and not _is_number(self.address.host)
        # Resolving a name needs UDP over both versions of IP, whatever the family is.
        return SandboxNeeds(connects=(self.family, Family.UDP) if is_name else (self.family,))

    def connect(self, timeout: float) -> socket.socket:
        """Return a socket connected within `timeout` seconds, to the first address of a name that accepts.

        The caller owns it. The time to resolve the name is not counted. Raises `UpstreamError`.
        """
        deadline = monotonic() + timeout
        failure = ""
        for domain, sockaddr in self._candidates():
            sock = socket.socket(domain, self.family.type)
            try:
                _connect(sock, sockaddr, max(0.001, deadline - monotonic()))
            except OSError as error:
                sock.close()
                failure = error.strerror or str(error)
                if isinstance(error, TimeoutError | BlockingIOError):
                    failure = f"no connection within {timeout:g} seconds"
            else:
                return sock
        raise UpstreamError(f"cannot connect to {self.text}: {failure}")

    def _candidates(self) -> Iterator[tuple[int, Any]]:
        address = self.address
        if isinstance(address, UnixAddress):
            yield socket.AF_UNIX, address.sockaddr
        elif isinstance(address, InternetAddress):
            version = {0: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}[self.family.version]
            try:
                # Without a host: the loopback address, as in Go's net.Dial.
                infos = socket.getaddrinfo(address.host or None, address.port, version, self.family.type)
            except (OSError, UnicodeError) as error:
                raise UpstreamError(f"cannot resolve {self.text}: {getattr(error, 'strerror', error)}") from None
            for domain, _, _, _, sockaddr in infos:
                yield domain, sockaddr
        else:
            yield socket.AF_VSOCK, (address.cid, address.port)


def _is_number(host: str) -> bool:
    try:
        socket.getaddrinfo(host or None, 0, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return False
    return True


def _connect(sock: socket.socket, sockaddr: Any, timeout: float) -> None:
    if sock.family == socket.AF_UNIX:
        # If the accept queue is full, a non-blocking socket fails with EAGAIN, connect(2). A blocking one waits, for
        # at most SO_SNDTIMEO.
        seconds = struct.pack("@ll", int(timeout), int(timeout % 1 * 1e6))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)
        if sock.type == socket.SOCK_DGRAM:
            sock.bind("")  # the kernel chooses a name, unix(7): without one the upstream cannot answer
    else:
        sock.settimeout(timeout)
    sock.connect(sockaddr)


def tune(sock: socket.socket) -> None:
    """Set the options that a relayed connection needs: non-blocking, TCP_NODELAY, SO_KEEPALIVE, SO_OOBINLINE.

    Small writes are not delayed, a peer that vanished is detected, and urgent data keeps its place in the stream.
    """
    sock.setblocking(False)
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)


def abort(sock: socket.socket) -> None:
    """Reset a TCP connection, even if other processes have it open; do nothing with other sockets.

    An end of file would tell the peer that it has received everything. SO_LINGER resets a connection when it is closed,
    but the server closes this one. connect(2) to AF_UNSPEC "dissolves the association" at once; the socket module has
    no such address.
    """
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    try:
        import ctypes

        unspecified = bytes(16)
        ctypes.CDLL(None, use_errno=True).connect(sock.fileno(), unspecified, len(unspecified))
    except (ImportError, OSError, AttributeError, MemoryError):
        return  # no ctypes, or the system forbids it: the peer sees an end of file


def close_with_reset(sock: socket.socket) -> None:
    """Close a connection with a reset, so that its peer does not mistake this for the end of the data."""
    if sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
