"""The environment of a program: what of srvctl's own it inherits, and what it is told of its conversation.

The names are those of UCSPI, which ``tcpserver`` (TCP), ucspi-tcp6 (TCP6), s6-networking and ucspi-ipc (IPC) and
ucspi-unix (UNIX) set, and systemd's REMOTE_ADDR and REMOTE_PORT. Addresses are numbers: no name is ever looked up. The
one text that a client chooses, the path it bound its unix socket to, is passed only when it is plain.
"""

from __future__ import annotations

import os
import socket
import struct

from srvctl.net.address import unmapped
from srvctl.systemd.protocol import is_private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Assignments = Sequence[tuple[str, str | None]]

# What a program gets of srvctl's own environment without --keep-env: where to find programs, who it is, how it speaks.
INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR")
_INHERITED_PREFIX = "LC_"

CONNECTION_ID = "SRVCTL_CONNECTION_ID"

# The names that describe a connection, ours and those of the servers whose place we take; one that srvctl finds in its
# own environment is about another one. No host name (TCPREMOTEHOST) and no answer of ident (TCPREMOTEINFO) is ever set.
_IP_NAMES = ("LOCALIP", "LOCALPORT", "REMOTEIP", "REMOTEPORT", "LOCALHOST", "REMOTEHOST", "REMOTEINFO", "INTERFACE")
_UNIX_NAMES = ("LOCALPATH", "REMOTEPATH", "REMOTEEUID", "REMOTEEGID", "REMOTEPID", "LOCALUID", "LOCALGID", "LOCALPID")
_VSOCK_NAMES = ("LOCALCID", "LOCALPORT", "REMOTECID", "REMOTEPORT")
CONNECTION_NAMES = frozenset(
    [
        *("PROTO", "REMOTE_ADDR", "REMOTE_PORT", "REMOTE_HOST", "TCPCONNNUM", "IPCCONNNUM", CONNECTION_ID),
        *(proto + name for proto in ("TCP", "TCP6", "UDP", "UDP6") for name in _IP_NAMES),
        *(proto + name for proto in ("IPC", "UNIX") for name in _UNIX_NAMES),
        *("VSOCK" + name for name in _VSOCK_NAMES),
    ]
)

_INET, _INET6, _UNIX = int(socket.AF_INET), int(socket.AF_INET6), int(socket.AF_UNIX)  # an enumeration compares slowly
_EVERY_INTERFACE = frozenset(("0.0.0.0", "::"))

# No blank, no quote, and nothing that any shell gives a meaning to.
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:,@")


def base_environment(environ: Mapping[str, str], keeps_all: bool, assignments: Assignments) -> dict[str, str]:
    """Return what every program gets: the allow-list of `environ`, or all of it, and `assignments`.

    An assignment without a value passes on the variable of `environ`, if there is one. What is about this process alone
    (systemd's variables, srvctl's options), or about another connection, is not passed on.
    """
    kept = {
        name: value
        for name, value in environ.items()
        if keeps_all or name in INHERITED or name.startswith(_INHERITED_PREFIX)
    }
    kept = {name: value for name, value in kept.items() if not is_reserved(name) and not name.startswith("SRVCTL_")}
    for name, value in assignments:
        given = environ.get(name) if value is None else value
        if given is not None:
            kept[name] = given
    return kept


def is_reserved(name: str) -> bool:
    """Tell whether no program gets `name` by whatever option: it is systemd's, or tells of a connection."""
    return name in CONNECTION_NAMES or is_private(name)


def fixed_local_address(listener: socket.socket) -> Any:
    """Return the local address of every connection that comes to `listener`, which is our own, or None.

    It is the one that the listener is bound to, but for one on every interface. What others have bound may be for
    addresses that are not this machine's, ip(7) IP_TRANSPARENT.
    """
    name = unmapped(listener.getsockname())
    if type(name) is tuple:
        is_ip = type(name[0]) is str
        return name if is_ip and name[0] not in _EVERY_INTERFACE else None
    return name or None


def of_connection(connection: socket.socket, family: int, local: Any, peer: Any) -> dict[str, str]:
    """Return the variables of a connection of `family` from `peer` to `local`, or, if that is None, to where it came.

    Addresses are as `srvctl.net.address.unmapped` returns them.
    """
    if local is None:
        local = unmapped(connection.getsockname())
    if family in (_INET, _INET6):
        return of_ip("TCP", local, peer)
    if family == _UNIX:
        return _of_unix(local, peer) | _of_credentials(connection)
    return _of_vsock(local, peer) if family == getattr(socket, "AF_VSOCK", None) else {}


def of_datagram(sock: socket.socket, local: str, peer: Any) -> dict[str, str]:
    """Return the variables of a datagram from `peer` (None: nobody, or not known) to the address `local` of `sock`."""
    if sock.family == socket.AF_UNIX:
        return _of_unix(sock.getsockname(), peer)
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return {}
    name = sock.getsockname()
    return of_ip("UDP", unmapped((local, *name[1:]) if local else name), peer)


def of_ip(protocol: str, local: Any, peer: Any) -> dict[str, str]:
    """Return the variables of a conversation over IP; with IPv6 under both names, which different programs look for."""
    if peer and ":" not in local[0]:
        return of_ipv4_local(protocol, local) | of_ipv4_peer(protocol, peer)
    found = {}
    for side, address in (("LOCAL", local), ("REMOTE", peer)):
        if address:
            found[side + "IP"], found[side + "PORT"] = address[0], str(address[1])
    known = {protocol + name: value for name, value in found.items()}
    proto = protocol
    if ":" in local[0]:
        proto = protocol + "6"
        for side in ("LOCALIP", "REMOTEIP"):  # a link-local address has its interface behind it
            if side in found:
                found[side], _, interface = found[side].partition("%")
                known[protocol + side] = found[side]
                if interface:
                    known[proto + "INTERFACE"] = interface
        known |= {proto + name: value for name, value in found.items()}
    known["PROTO"] = proto
    if peer:
        known["REMOTE_ADDR"], known["REMOTE_PORT"] = found["REMOTEIP"], found["REMOTEPORT"]
    return known


def of_ipv4_local(protocol: str, local: Any) -> dict[str, str]:
    """Return those of a conversation over IPv4 that are the same whoever it is with."""
    return {"PROTO": protocol, protocol + "LOCALIP": local[0], protocol + "LOCALPORT": str(local[1])}


def of_ipv4_peer(protocol: str, peer: Any) -> dict[str, str]:
    """Return the others."""
    ip, port = peer[0], str(peer[1])
    return {protocol + "REMOTEIP": ip, protocol + "REMOTEPORT": port, "REMOTE_ADDR": ip, "REMOTE_PORT": port}


def _of_unix(local: Any, peer: Any) -> dict[str, str]:
    known = {"PROTO": "IPC"}
    for name, path in (("LOCALPATH", _path(local)), ("REMOTEPATH", _plain(_path(peer)))):
        if path and "\0" not in path:
            known["IPC" + name] = known["UNIX" + name] = path
    return known


def _of_credentials(connection: socket.socket) -> dict[str, str]:
    """Return who the peer was when it connected, unix(7) SO_PEERCRED; the kernel's word, and not the peer's."""
    try:
        pid, uid, gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    except OSError:
        return {}
    values = {"REMOTEEUID": str(uid & 0xFFFFFFFF), "REMOTEEGID": str(gid & 0xFFFFFFFF), "REMOTEPID": str(pid)}
    return {proto + name: value for proto in ("IPC", "UNIX") for name, value in values.items()}


def _of_vsock(local: Any, peer: Any) -> dict[str, str]:
    words = zip(_VSOCK_NAMES, (*local, *peer), strict=True)
    return {"PROTO": "VSOCK"} | {"VSOCK" + name: str(number) for name, number in words}


def _path(name: Any) -> str:
    """Return a unix socket's name as text, an abstract one with ``@`` in front; empty when it has none."""
    text = os.fsdecode(name) if name else ""
    return "@" + text[1:] if text[:1] == "\0" else text


def _plain(path: str) -> str:
    """Return `path` if it can be nothing but a path, whatever reads it; otherwise nothing."""
    return path if path[:1] in ("/", "@") and set(path) <= _PLAIN else ""
