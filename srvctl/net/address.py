"""Addresses, as text and as values. Pure: nothing here opens, resolves or looks anything up.

The syntax is that of Go (``net.Listen``) and systemd (``ListenStream=``), which many people know. Names of hosts and
services are not resolved here but in `srvctl.listener.inet`.
"""

from __future__ import annotations

import os
import socket
from collections import namedtuple
from enum import Enum

from srvctl.errors import UsageError, did_you_mean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

# sizeof(sun_path), unix(7). A name in the file system also needs its terminating null byte.
UNIX_PATH_MAX = 108
PORT_MAX = 65535
VMADDR_CID_ANY = 0xFFFFFFFF  # vsock(7)


class Family(Enum):
    """The first word of the command line: an address family with a socket type."""

    TCP = "tcp", "ip", 0, socket.SOCK_STREAM
    TCP4 = "tcp4", "ip", 4, socket.SOCK_STREAM
    TCP6 = "tcp6", "ip", 6, socket.SOCK_STREAM
    UDP = "udp", "ip", 0, socket.SOCK_DGRAM
    UDP4 = "udp4", "ip", 4, socket.SOCK_DGRAM
    UDP6 = "udp6", "ip", 6, socket.SOCK_DGRAM
    UNIX = "unix", "unix", 0, socket.SOCK_STREAM
    UNIX_DGRAM = "unix-dgram", "unix", 0, socket.SOCK_DGRAM
    UNIX_SEQPACKET = "unix-seqpacket", "unix", 0, socket.SOCK_SEQPACKET
    VSOCK = "vsock", "vsock", 0, socket.SOCK_STREAM
    FD = "fd", "fd", 0, None

    def __init__(self, word: str, domain: str, version: int, type: socket.SocketKind | None) -> None:
        self.word = word
        self.domain = domain  # the syntax of the address: ip, unix, vsock or fd
        self.version = version  # of IP: 4, 6, or 0 for both
        self.type = type  # None: read from the inherited descriptor

    @classmethod
    def named(cls, word: str) -> Family:
        """Return the family whose word is `word`. Raises `UsageError`."""
        for family in cls:
            if family.word == word:
                return family
        words = [family.word for family in cls]
        hint = did_you_mean(word, words) or f"; expected {', '.join(words)}"
        raise UsageError("serve", repr(word), f"no such family{hint}")


class InternetAddress(namedtuple("InternetAddress", "host port")):
    """A host (name, number, or empty for every interface) and a port (number or service name)."""

    __slots__ = ()


class UnixAddress(namedtuple("UnixAddress", "name")):
    """A path, or ``@name`` in the abstract namespace."""

    __slots__ = ()

    @property
    def is_abstract(self) -> bool:
        return bool(self.name.startswith("@"))

    @property
    def sockaddr(self) -> str:
        """The address for bind(2), where the abstract namespace has a leading null byte."""
        name: str = self.name
        return "\0" + name[1:] if self.is_abstract else name


class VsockAddress(namedtuple("VsockAddress", "cid port")):
    """A context id and a port, vsock(7)."""

    __slots__ = ()


class Descriptor(namedtuple("Descriptor", "number name")):
    """An inherited descriptor, by its number, or by its name in LISTEN_FDNAMES (then the number is -1)."""

    __slots__ = ()


if TYPE_CHECKING:
    Address = InternetAddress | UnixAddress | VsockAddress | Descriptor


_SYNTAX = {
    "ip": "HOST:PORT or :PORT",
    "unix": "@NAME or a path",
    "vsock": "CID:PORT or :PORT",
    "fd": "a number, or a name in LISTEN_FDNAMES",
}


def parse(family: Family, text: str) -> Address:
    """Parse `text` as an address of `family`. Raises `UsageError` with the value and what was expected."""
    if not text or "\0" in text:
        why = "it has a null byte in it" if text else f"it is empty; expected {_SYNTAX[family.domain]}"
        raise _wrong(family, text, why)
    return {"ip": _parse_ip, "unix": _parse_unix, "vsock": _parse_vsock, "fd": _parse_fd}[family.domain](family, text)


def _wrong(family: Family, text: str, why: str) -> UsageError:
    return UsageError("parse", f"{family.word} address {text!r}", why)


def _parse_ip(family: Family, text: str) -> Address:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or not rest.startswith(":") or not host:
            raise _wrong(family, text, "expected [HOST]:PORT")
        port = rest[1:]
    elif ":" in text:
        host, _, port = text.rpartition(":")
        if ":" in host:
            raise _wrong(family, text, "an IPv6 address is written in brackets, [::1]:9000")
    else:
        host, port = "", text
        if not port.isdecimal():
            raise _wrong(family, text, f"expected {_SYNTAX['ip']}")
    if not port:
        raise _wrong(family, text, "the port is missing")
    if port.lstrip("+-").isdecimal():
        return InternetAddress(host, _number(family, text, "port", port, PORT_MAX))
    return InternetAddress(host, port)


def _parse_unix(family: Family, text: str) -> Address:
    size = len(os.fsencode(text))
    limit = UNIX_PATH_MAX if text.startswith("@") else UNIX_PATH_MAX - 1
    if size > limit:
        raise _wrong(family, text, f"it has {size} bytes; the limit is {limit}")
    if text == "@":
        raise _wrong(family, text, f"expected {_SYNTAX['unix']}")
    return UnixAddress(text)


def _parse_vsock(family: Family, text: str) -> Address:
    cid, colon, port = text.rpartition(":")
    if not colon:
        raise _wrong(family, text, f"expected {_SYNTAX['vsock']}")
    return VsockAddress(
        _number(family, text, "CID", cid, 0xFFFFFFFF) if cid else VMADDR_CID_ANY,
        _number(family, text, "port", port, 0xFFFFFFFF),
    )


def _parse_fd(family: Family, text: str) -> Address:
    if text.lstrip("+-").isdecimal():
        return Descriptor(_number(family, text, "descriptor", text, 2**31 - 1), "")
    return Descriptor(-1, text)


def _number(family: Family, text: str, part: str, digits: str, limit: int) -> int:
    try:
        value = int(digits)
    except ValueError:
        raise _wrong(family, text, f"{part} {digits!r} is not a number") from None
    if not 0 <= value <= limit:
        raise _wrong(family, text, f"{part} {digits} is not between 0 and {limit}")
    return value


def unmapped(sockaddr: Any) -> Any:
    """Return `sockaddr` with an IPv4-mapped IPv6 address (``::ffff:192.0.2.1``) replaced by the IPv4 address.

    A dual-stack socket reports IPv4 peers in the mapped form. After this a handler and an access rule see the same pair
    of host and port on ``tcp`` as on ``tcp4``.
    """
    if type(sockaddr) is tuple and len(sockaddr) == 4 and sockaddr[0][:7].lower() == "::ffff:":
        return (sockaddr[0][7:], sockaddr[1]) if "." in sockaddr[0] else sockaddr
    return sockaddr


def mapped(sockaddr: Any) -> Any:
    """Undo `unmapped`: return the form that sendto(2) on an AF_INET6 socket needs."""
    if type(sockaddr) is tuple and len(sockaddr) == 2 and type(sockaddr[0]) is str and ":" not in sockaddr[0]:
        return ("::ffff:" + sockaddr[0], sockaddr[1], 0, 0)
    return sockaddr


class UnixPeer(str):
    """The name of a unix peer, which is empty as a rule; as an index shows it, a pair of that name and port 0.

    It is equal to the name, as the standard library's ``client_address`` is. Handlers that were written for IP, such as
    those of `http.server`, ask for the host by ``client_address[0]``.
    """

    __slots__ = ()

    def __getitem__(self, index: Any) -> Any:
        return (str(self), 0)[index]

    def __iter__(self) -> Iterator[Any]:
        return iter((str(self), 0))


def format_sockaddr(sockaddr: Any) -> str:
    """Return the text of an address of the socket module: ``192.0.2.1:9``, ``[::1]:9``, ``/tmp/s``, ``@name``.

    An unnamed unix peer is ``-``.
    """
    if type(sockaddr) is tuple:
        host, port = sockaddr[0], sockaddr[1]
        return f"[{host}]:{port}" if type(host) is str and ":" in host else f"{host}:{port}"
    if type(sockaddr) is bytes:
        sockaddr = os.fsdecode(sockaddr)
    sockaddr = str(sockaddr or "")
    if not sockaddr:
        return "-"
    return "@" + sockaddr[1:] if sockaddr[0] == "\0" else str(sockaddr)


_SCHEMES = {
    (socket.AF_INET, socket.SOCK_STREAM): "tcp://",
    (socket.AF_INET, socket.SOCK_DGRAM): "udp://",
    (socket.AF_INET6, socket.SOCK_STREAM): "tcp://",
    (socket.AF_INET6, socket.SOCK_DGRAM): "udp://",
    (socket.AF_UNIX, socket.SOCK_STREAM): "unix://",
    (socket.AF_UNIX, socket.SOCK_DGRAM): "unix-dgram://",
    (socket.AF_UNIX, socket.SOCK_SEQPACKET): "unix-seqpacket://",
}


def format_bound(sock: socket.socket) -> str:
    """Return the bound address of `sock` as ``--announce`` prints it: ``tcp://127.0.0.1:41234``, ``unix:///tmp/s``."""
    domain, type_, name = sock.family, sock.type, sock.getsockname()
    vsock = getattr(socket, "AF_VSOCK", None)
    if domain == vsock:
        return f"vsock://{'' if name[0] == VMADDR_CID_ANY else name[0]}:{name[1]}"
    text = format_sockaddr(name)
    if domain == socket.AF_UNIX and text[:1] not in ("-", "@"):
        text = os.path.abspath(text)  # a reader elsewhere has another current directory
    return _SCHEMES.get((domain, type_), f"{int(domain)}/{int(type_)}://") + text
