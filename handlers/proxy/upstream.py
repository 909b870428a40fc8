"""The other end of a proxy: an address as srvctl writes it, and a socket that is connected to it.

No handler lives here, only what those of `srvctl.handlers.proxy` connect with.
"""

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
    """The upstream cannot be had or does not behave: not the client's fault, so it is logged as the handler's."""


class UpstreamReset(ConnectionResetError):
    """The upstream ended a connection in the middle."""


class Upstream(namedtuple("Upstream", "text family address")):
    """Where to connect to: the text it was made of, a `Family`, and an address of that family."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Upstream:
        """Read ``tcp://127.0.0.1:80``, ``unix:///run/s``, ``unix:@name``: what --announce prints. Raises UsageError."""
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
            raise UsageError("set", f"to={text!r}", "nothing listens on port 0")
        if isinstance(address, VsockAddress) and address.cid == VMADDR_CID_ANY:
            raise UsageError("set", f"to={text!r}", "expected vsock://CID:PORT; the host's CID is 2")
        return cls(text, family, address)

    def needs(self) -> SandboxNeeds:
        """Return what a sandbox must leave whoever connects to it."""
        from srvctl.loader.builtin import SandboxNeeds

        if isinstance(self.address, UnixAddress) and not self.address.is_abstract:
            return SandboxNeeds(reads=(os.path.dirname(os.path.abspath(self.address.name)),), connects=(self.family,))
        is_name = isinstance(self.address, InternetAddress) and not _is_number(self.address.host)
        # The name's servers may be asked over either version of IP, whichever the family is.
        return SandboxNeeds(connects=(self.family, Family.UDP) if is_name else (self.family,))

    def connect(self, timeout: float) -> socket.socket:
        """Return a socket that is connected, within `timeout` seconds; a name's addresses are tried in turn.

        The caller owns it. Resolving a name is not part of those seconds. Raises `UpstreamError`.
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
                # Without a host it is this machine's loopback, as for Go's net.Dial.
                found = socket.getaddrinfo(address.host or None, address.port, version, self.family.type)
            except (OSError, UnicodeError) as error:
                raise UpstreamError(f"cannot resolve {self.text}: {getattr(error, 'strerror', error)}") from None
            for domain, _, _, _, sockaddr in found:
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
        # One that does not block says EAGAIN where the queue is full, connect(2); one that does waits for so long.
        seconds = struct.pack("@ll", int(timeout), int(timeout % 1 * 1e6))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)
        if sock.type == socket.SOCK_DGRAM:
            sock.bind("")  # a name of the kernel's choice, unix(7): without one nobody can answer
    else:
        sock.settimeout(timeout)
    sock.connect(sockaddr)


def tune(sock: socket.socket) -> None:
    """Prepare a connection to be one half of a relay.

    Nobody's small write waits for an acknowledgement of the one before it, a peer that vanished without a word is
    found out some time, and a byte of urgent data keeps its place in the stream.
    """
    sock.setblocking(False)
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)


def abort(sock: socket.socket) -> None:
    """End a TCP connection with a reset, in whatever process its descriptor is open too; otherwise do nothing.

    An end of file would say that what came is complete. SO_LINGER would do it at the close, but the connection is not
    ours to close. connect(2) to AF_UNSPEC "dissolves the association", and the socket module cannot spell that.
    """
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    try:
        import ctypes

        unspecified = bytes(16)
        ctypes.CDLL(None, use_errno=True).connect(sock.fileno(), unspecified, len(unspecified))
    except (ImportError, OSError, AttributeError, MemoryError):
        return  # an interpreter without ctypes, or a system that forbids it: the peer sees an end of file


def close_with_reset(sock: socket.socket) -> None:
    """Close a connection of one's own; its peer learns that it was not the end of what was to come."""
    if sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
