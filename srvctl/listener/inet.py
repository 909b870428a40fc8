"""TCP and UDP listeners: host and service resolved, the socket bound, or taken from systemd's descriptor store."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections import namedtuple

from srvctl.errors import AddressError, AddressInUse, LaunchError, NoPermission, UsageError, from_os_error
from srvctl.listener.fd_store import take_from_fd_store
from srvctl.listener.listener import Listener
from srvctl.listener.port_owner import port_owner
from srvctl.runtime import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from srvctl.config.settings import Settings
    from srvctl.net.address import Family, InternetAddress

_IP_RECVERR, _IPV6_RECVERR = 11, 25  # ip(7), ipv6(7): not in the socket module


class _Candidate(namedtuple("_Candidate", "domain sockaddr is_dual")):
    """An address to try: AF_INET or AF_INET6, a socket address whose port is ignored, and whether it takes IPv4 too."""

    __slots__ = ()


def open_internet(family: Family, address: InternetAddress, settings: Settings) -> Listener:
    """Return a listener on `address`: the IPv6 one or, without IPv6, the IPv4 one. Raises `LaunchError`."""
    text = f"{settings.family} {settings.address}"
    port = _resolve_port(family, address.port, text)
    candidates = _resolve_host(family, address.host)
    if settings.fd_store:
        stored = take_from_fd_store(lambda sock: _is_bound_to(sock, family, candidates, port))
        if stored:
            return Listener(stored, True)
    for attempt, candidate in enumerate(candidates, 1):
        try:
            sock = _bind(family, candidate, port, settings)
        except OSError as error:
            no_ipv6 = error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
            if no_ipv6 and attempt < len(candidates):
                continue
            raise _cannot_bind(family, port, text, error) from error
        listener = Listener(sock, True)
        if address.host and address.host != candidate.sockaddr[0]:
            log.resolved(address.host, listener.address)
        return listener
    raise AssertionError("a name resolves to at least one address")


def _is_bound_to(sock: socket.socket, family: Family, candidates: Sequence[_Candidate], port: int) -> bool:
    """Tell whether `sock` is bound to one of `candidates`, and to `port` unless that is 0."""
    if sock.type != family.type or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    host, bound_port, *_ = sock.getsockname()
    is_dual = sock.family == socket.AF_INET6 and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    hosts = [(domain, sockaddr[0], dual) for domain, sockaddr, dual in candidates]
    return (sock.family, host, is_dual) in hosts and port in (0, bound_port)


def _cannot_bind(family: Family, port: int, text: str, error: OSError) -> LaunchError:
    """Return the error for a failed bind, with the process that has the port or the capability that is missing."""
    failure = from_os_error("bind", text, error)
    if error.errno == errno.EADDRINUSE and (owner := port_owner(family.type == socket.SOCK_STREAM, port)):
        return AddressInUse("bind", text, f"{failure.why} ({owner})")
    if isinstance(failure, NoPermission):
        return NoPermission("bind", text, f"{failure.why}; a port below 1024 needs CAP_NET_BIND_SERVICE")
    return failure


def _resolve_port(family: Family, port: int | str, text: str) -> int:
    if isinstance(port, int):
        return port
    try:
        return socket.getservbyname(port, "tcp" if family.type == socket.SOCK_STREAM else "udp")
    except (OSError, UnicodeError):
        raise UsageError("parse", f"address {text!r}", f"{port!r} is not a port and not a known service") from None


def _resolve_host(family: Family, host: str) -> Sequence[_Candidate]:
    """Return the addresses to try, in this order."""
    if not host:
        any4 = _Candidate(socket.AF_INET, ("0.0.0.0", 0), False)
        any6 = _Candidate(socket.AF_INET6, ("::", 0), family.version == 0)
        return {4: [any4], 6: [any6], 0: [any6, any4]}[family.version]
    domains = {0: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}
    # Bytes where possible: for str, getaddrinfo() imports the IDNA codec, which takes milliseconds of the start.
    name = host.encode() if host.isascii() else host
    try:
        infos = socket.getaddrinfo(name, None, domains[family.version], family.type or 0, 0, socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise AddressError("resolve", f"{host!r}", f"{why[:1].lower()}{why[1:]}") from None
    # One address, IPv4 preferred, as Go's net.Listen.
    infos.sort(key=lambda info: info[0] != socket.AF_INET)
    domain, _, _, _, sockaddr = infos[0]
    return [_Candidate(domain, sockaddr, sockaddr[0] == "::" and family.version == 0)]


def _bind(family: Family, candidate: _Candidate, port: int, settings: Settings) -> socket.socket:
    assert family.type is not None
    host, _, *scope = candidate.sockaddr
    with contextlib.ExitStack() as on_failure:
        sock = on_failure.enter_context(socket.socket(candidate.domain, family.type))
        if candidate.domain == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if candidate.is_dual else 1)
        if family.type == socket.SOCK_STREAM:
            # Lets a restart bind the port while old connections are in TIME_WAIT, socket(7). Never set on UDP, where
            # another process could then bind the same port and receive half of the datagrams.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port, *scope))
            sock.listen(settings.backlog)
        else:
            _enable_icmp_errors(sock, candidate.domain)
            sock.bind((host, port, *scope))
        on_failure.pop_all()
        return sock


def _enable_icmp_errors(sock: socket.socket, domain: int) -> None:
    """Have ICMP errors reported, so that they can be counted; by default an unconnected socket gets none."""
    with contextlib.suppress(OSError):
        if domain == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
