"""The listening socket: resolved, made and bound as the command line says, or inherited; and given up in order.

Names are resolved here, once. The supervisor owns what this module makes.
"""

from __future__ import annotations

import array
import contextlib
import errno
import grp
import os
import pwd
import socket
import struct

from srvctl.config.settings import Settings
from srvctl.errors import AddressError, LaunchError, NoPermission, UsageError, from_os_error
from srvctl.listener.fd_store import path_of, take_from_fd_store
from srvctl.listener.port_owner import port_owner
from srvctl.net.address import (
    Descriptor,
    Family,
    InternetAddress,
    UnixAddress,
    VsockAddress,
    format_bound,
    parse,
)
from srvctl.net.unix_path import BoundPath, bind_path
from srvctl.runtime import log
from srvctl.systemd import protocol as systemd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

# setsockopt(2), socket(7): not in the socket module.
_SO_ATTACH_FILTER = getattr(socket, "SO_ATTACH_FILTER", 26)
_IP_RECVERR, _IPV6_RECVERR = 11, 25  # ip(7), ipv6(7)


class Listener:
    """A socket that requests come from, and whose it is.

    `owns_socket` says that srvctl made it: only then is it ever shut down, and its file removed. `address` is its text
    for people and scripts. `close` gives up this process's copy; `unlink` removes the file.
    """

    def __init__(self, sock: socket.socket, owns_socket: bool, path: BoundPath | None = None) -> None:
        self.socket = sock
        self.owns_socket = owns_socket
        self.is_stream = sock.type != socket.SOCK_DGRAM
        self.address = format_bound(sock)
        self._path = path

    def block_new_peers(self) -> None:
        """Let nobody new into the kernel's queue, and leave those who are in it.

        Between the last accept and the close a client could still get in, to be reset by the close. A TCP listener
        drops the SYN of newcomers with a filter instead, so that their next try, a second later, is refused or answered
        by whoever listens then; a unix one refuses them, shutdown(2).
        """
        if not self.owns_socket:
            return
        with contextlib.suppress(OSError):  # nothing is lost but that window
            if self.socket.family == socket.AF_UNIX:
                self.socket.shutdown(socket.SHUT_RD)
            elif self.socket.family in (socket.AF_INET, socket.AF_INET6) and self.is_stream:
                _drop_newcomers(self.socket)

    def hand_over(self) -> dict[str, Any]:
        """Return what `adopt` needs in the program that takes this one's place, with the socket left open."""
        os.set_inheritable(self.socket.fileno(), True)
        path = self._path
        if path:
            os.set_inheritable(path.pin, True)
        return {"fd": self.socket.fileno(), "is_own": self.owns_socket, "path": (path.path, path.pin) if path else None}

    @classmethod
    def adopt(cls, state: dict[str, Any]) -> Listener:
        """Return the listener that `hand_over` described."""
        os.set_inheritable(state["fd"], False)
        path = BoundPath(*state["path"]) if state["path"] else None
        if path:
            os.set_inheritable(path.pin, False)
        return cls(socket.socket(fileno=state["fd"]), state["is_own"], path)

    def close(self) -> None:
        """Give up this process's copy."""
        self.socket.close()

    def unlink(self) -> None:
        """Remove the socket's file if it is still ours."""
        if self._path:
            self._path.unlink()
            self._path = None


def _drop_newcomers(sock: socket.socket) -> None:
    # Classic BPF on the TCP header (net/core/filter.c runs a listener's filter there): flags & SYN ? drop : keep.
    program = b"".join(
        struct.pack("HBBI", *instruction)
        for instruction in (
            (0x30, 0, 0, 13),  # ldb [13]          the flags
            (0x45, 0, 1, 0x02),  # jset #SYN
            (0x06, 0, 0, 0),  # ret 0             drop
            (0x06, 0, 0, 0xFFFFFFFF),  # ret -1            keep
        )
    )
    code = array.array("B", program)
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(code) // 8, code.buffer_info()[0]))


def open_listener(settings: Settings) -> Listener:
    """Make the socket that `settings` ask for, bound and listening, or take the one that was inherited.

    The caller owns it. May block for the resolver. Raises `LaunchError`.
    """
    family = Family.named(settings.family)
    address = parse(family, settings.address)
    what = f"{settings.family} {settings.address}"
    has_file = isinstance(address, UnixAddress) and not address.is_abstract
    if not has_file and (settings.socket_mode >= 0 or settings.socket_owner):
        raise UsageError("use", "--socket-mode or --socket-owner", f"{what} has no file")
    try:
        if isinstance(address, InternetAddress):
            return _open_internet(family, address, settings, what)
        if isinstance(address, UnixAddress):
            return _open_unix(family, address, settings)
        if isinstance(address, VsockAddress):
            return _open_vsock(address, settings)
        return _inherit(address)
    except OSError as error:
        if isinstance(address, Descriptor):
            raise from_os_error("serve", what, error) from error
        raise from_os_error("bind", what, error) from error


def _open_internet(family: Family, address: InternetAddress, settings: Settings, what: str) -> Listener:
    assert family.type is not None
    port = _resolve_port(family, address.port, what)
    candidates = _resolve_host(family, address.host)
    if settings.fd_store and (kept := take_from_fd_store(lambda sock: _is_one_of(sock, family, candidates, port))):
        return Listener(kept, True)
    for attempt, (domain, sockaddr, dual) in enumerate(candidates, 1):
        host, _, *scope = sockaddr
        try:
            sock = _bound_internet(family, domain, (host, port, *scope), dual, settings)
        except OSError as error:
            no_ipv6 = error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
            if no_ipv6 and attempt < len(candidates):
                continue
            raise _cannot_bind(family, port, what, error) from error
        listener = Listener(sock, True)
        if address.host and address.host != host:
            log.resolved(address.host, listener.address)
        return listener
    raise AssertionError("a name resolves to at least one address")


def _is_one_of(
    sock: socket.socket, family: Family, candidates: Sequence[tuple[int, tuple[Any, ...], bool]], port: int
) -> bool:
    """Tell whether `sock` is bound to one of `candidates` and `port`."""
    if sock.type != family.type or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    host, bound, *_ = sock.getsockname()
    is_dual = sock.family == socket.AF_INET6 and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    names = [(domain, name[0], dual) for domain, name, dual in candidates]
    return (sock.family, host, is_dual) in names and port in (0, bound)


def _cannot_bind(family: Family, port: int, what: str, error: OSError) -> LaunchError:
    """Say who holds the port, or what would help."""
    failure = from_os_error("bind", what, error)
    if error.errno == errno.EADDRINUSE and (holder := port_owner(family.type == socket.SOCK_STREAM, port)):
        return AddressError("bind", what, f"{failure.why} ({holder})")
    if isinstance(failure, NoPermission):
        return NoPermission("bind", what, f"{failure.why}; a port below 1024 needs CAP_NET_BIND_SERVICE")
    return failure


def _resolve_port(family: Family, port: int | str, what: str) -> int:
    if isinstance(port, int):
        return port
    try:
        return socket.getservbyname(port, "tcp" if family.type == socket.SOCK_STREAM else "udp")
    except (OSError, UnicodeError):
        raise UsageError("parse", f"address {what!r}", f"{port!r} is not a port and not a known service") from None


def _resolve_host(family: Family, host: str) -> Sequence[tuple[int, tuple[Any, ...], bool]]:
    """Return (address family, socket address with port 0, dual-stack) to be tried in order."""
    if not host:
        every4, every6 = (socket.AF_INET, ("0.0.0.0", 0), False), (socket.AF_INET6, ("::", 0), family.version == 0)
        return {4: [every4], 6: [every6], 0: [every6, every4]}[family.version]
    domains = {0: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}
    # As bytes where it can be: a text would go through the codec of international names, 4 ms of a start to import.
    name = host.encode() if host.isascii() else host
    try:
        found = socket.getaddrinfo(name, None, domains[family.version], family.type or 0, 0, socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise AddressError("resolve", f"{host!r}", f"{why[:1].lower()}{why[1:]}") from None
    # One address, IPv4 preferred, as Go's net.Listen.
    found.sort(key=lambda info: info[0] != socket.AF_INET)
    domain, _, _, _, sockaddr = found[0]
    return [(domain, sockaddr, sockaddr[0] == "::" and family.version == 0)]


def _bound_internet(
    family: Family, domain: int, sockaddr: tuple[Any, ...], dual: bool, settings: Settings
) -> socket.socket:
    assert family.type is not None
    with contextlib.ExitStack() as on_failure:
        sock = on_failure.enter_context(socket.socket(domain, family.type))
        if domain == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual else 1)
        if family.type == socket.SOCK_STREAM:
            # A port whose last connections are in TIME_WAIT can be had again, socket(7). Never on UDP, where it
            # lets another process take half of the datagrams.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(sockaddr)
            sock.listen(settings.backlog)
        else:
            _ask_for_icmp(sock, domain)
            sock.bind(sockaddr)
        on_failure.pop_all()
        return sock


def _ask_for_icmp(sock: socket.socket, domain: int) -> None:
    """Have ICMP errors reported, so that they can be counted; an unconnected socket hears of none otherwise."""
    with contextlib.suppress(OSError):
        if domain == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)


def _open_unix(family: Family, address: UnixAddress, settings: Settings) -> Listener:
    assert family.type is not None
    owner = _resolve_owner(settings.socket_owner)
    if settings.fd_store:
        names = (address.sockaddr, os.fsencode(address.sockaddr))
        kept = take_from_fd_store(lambda sock: sock.type == family.type and sock.getsockname() in names)
        if kept:
            path = path_of(kept)
            if path or address.is_abstract:
                return Listener(kept, True, path)
            kept.close()  # somebody has removed its file: nobody finds it any more
            systemd.drop(systemd.STORED)
    mode = settings.socket_mode if settings.socket_mode >= 0 else 0o666 & ~_umask()
    with contextlib.ExitStack() as on_failure:
        sock = on_failure.enter_context(socket.socket(socket.AF_UNIX, family.type))
        listen = None if family.type == socket.SOCK_DGRAM else lambda: sock.listen(settings.backlog)
        path = bind_path(
            sock, address.sockaddr, mode=mode, owner=owner, listen=listen, on_stale=log.stale_socket_removed
        )
        on_failure.pop_all()
        return Listener(sock, True, path)


def _umask() -> int:
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def _resolve_owner(text: str) -> tuple[int, int]:
    if not text:
        return -1, -1
    user, _, group = text.partition(":")
    try:
        uid = int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid
    except KeyError:
        raise UsageError("use", f"--socket-owner {text!r}", f"there is no user {user!r}") from None
    try:
        gid = -1 if not group else int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
    except KeyError:
        raise UsageError("use", f"--socket-owner {text!r}", f"there is no group {group!r}") from None
    return uid, gid


def _open_vsock(address: VsockAddress, settings: Settings) -> Listener:
    if not hasattr(socket, "AF_VSOCK"):
        raise AddressError("serve", "vsock", "this system has no such sockets; expected Linux")
    if settings.fd_store and (kept := take_from_fd_store(lambda sock: _is_at(sock, address))):
        return Listener(kept, True)
    with contextlib.ExitStack() as on_failure:
        sock = on_failure.enter_context(socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM))
        # Port 0 lets the kernel choose on TCP; vsock(7) spells that VMADDR_PORT_ANY.
        sock.bind((address.cid, address.port or socket.VMADDR_PORT_ANY))
        sock.listen(settings.backlog)
        on_failure.pop_all()
        return Listener(sock, True)


def _is_at(sock: socket.socket, address: VsockAddress) -> bool:
    """Tell whether `sock` is bound to `address`."""
    if (sock.family, sock.type) != (socket.AF_VSOCK, socket.SOCK_STREAM):
        return False
    cid, bound = sock.getsockname()
    return cid == address.cid and address.port in (0, bound)


def _inherit(address: Descriptor) -> Listener:
    passed = systemd.listen_descriptors()
    number = address.number
    if address.name:
        numbers = [fd for fd, name in passed.items() if name == address.name]
        if not numbers:
            known = ", ".join(sorted(set(passed.values()))) or "none was passed"
            raise AddressError("serve", f"fd {address.name}", f"no such name in LISTEN_FDNAMES ({known})")
        number = numbers[0]
    what = f"fd {address.name or number}"
    try:
        sock = socket.socket(fileno=number)
    except OSError as error:
        why = "it is not open" if error.errno == errno.EBADF else "it is not a socket"
        raise AddressError("serve", what, why) from None
    try:
        if sock.type != socket.SOCK_DGRAM and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise AddressError("serve", what, f"it is a {sock.type.name} socket that does not listen")
        if sock.type not in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
            raise AddressError("serve", what, "it is neither a stream, a datagram nor a sequenced-packet socket")
        os.set_inheritable(number, False)
        return Listener(sock, False)
    except BaseException:
        sock.detach()  # not ours to close
        raise
