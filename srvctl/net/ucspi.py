"""UCSPI: the environment variables of a program, inherited ones and those that describe its conversation.

The names are those of ``tcpserver`` (TCP), ucspi-tcp6 (TCP6), s6-networking and ucspi-ipc (IPC), ucspi-unix (UNIX), and
systemd's REMOTE_ADDR and REMOTE_PORT. Addresses are numeric: no name is looked up. A client chooses only one of the
values, the path of its unix socket, which is passed only if it has no character that a shell interprets.
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

# What a program inherits from srvctl without --keep-env: search path, user, language and time zone.
INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR")
_INHERITED_PREFIX = "LC_"

CONNECTION_ID = "SRVCTL_CONNECTION_ID"

# The names that describe a connection, in srvctl and in the servers that it replaces. In srvctl's own environment they
# describe another connection and are never inherited. Host names (TCPREMOTEHOST) and ident (TCPREMOTEINFO) are not set.
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

_INET, _INET6, _UNIX = int(socket.AF_INET), int(socket.AF_INET6), int(socket.AF_UNIX)  # comparing enumerations is slow
_EVERY_INTERFACE = frozenset(("0.0.0.0", "::"))

# Characters without a meaning in any shell: no blanks, no quotes.
_PLAIN_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:,@")


def base_environment(environ: Mapping[str, str], keeps_all: bool, assignments: Assignments) -> dict[str, str]:
    """Return the variables that every program gets: those of `environ` in `INHERITED`, or all, and `assignments`.

    An assignment without a value takes the value of `environ`, if there is one. Variables for srvctl alone (systemd's,
    and srvctl's options) and those of another connection are left out.
    """
    variables = {
        name: value
        for name, value in environ.items()
        if (keeps_all or name in INHERITED or name.startswith(_INHERITED_PREFIX))
        and not is_reserved(name)
        and not name.startswith("SRVCTL_")
    }
    for name, value in assignments:
        text = environ.get(name) if value is None else value
        if text is not None:
            variables[name] = text
    return variables


def is_reserved(name: str) -> bool:
    """Tell whether `name` cannot be passed to a program by any option: it is systemd's, or describes a connection."""
    return name in CONNECTION_NAMES or is_private(name)


def fixed_local_address(listener: socket.socket) -> Any:
    """Return the local address that all connections to `listener` have, or None if they differ.

    It is the bound address, unless the listener is bound to every interface. Only for a listener that srvctl made: an
    inherited one may accept connections to other addresses, ip(7) IP_TRANSPARENT.
    """
    name = unmapped(listener.getsockname())
    if type(name) is tuple:
        is_ip = type(name[0]) is str
        return name if is_ip and name[0] not in _EVERY_INTERFACE else None
    return name or None


def of_connection(connection: socket.socket, family: int, local: Any, peer: Any) -> dict[str, str]:
    """Return the variables of a connection of `family` from `peer` to `local`, which is looked up if it is None.

    Addresses are in the form that `srvctl.net.address.unmapped` returns.
    """
    if local is None:
        local = unmapped(connection.getsockname())
    if family in (_INET, _INET6):
        return of_ip("TCP", local, peer)
    if family == _UNIX:
        return _of_unix(local, peer) | _of_credentials(connection)
    return _of_vsock(local, peer) if family == getattr(socket, "AF_VSOCK", None) else {}


def of_datagram(sock: socket.socket, local: str, peer: Any) -> dict[str, str]:
    """Return the variables of a datagram from `peer` (None: unnamed or unknown) to the address `local` of `sock`."""
    if sock.family == socket.AF_UNIX:
        return _of_unix(sock.getsockname(), peer)
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return {}
    name = sock.getsockname()
    return of_ip("UDP", unmapped((local, *name[1:]) if local else name), peer)


def of_ip(protocol: str, local: Any, peer: Any) -> dict[str, str]:
    """Return the variables of a conversation over IP. Those of IPv6 have two names each, as with TCP and TCP6."""
    if peer and ":" not in local[0]:
        return of_ipv4_local(protocol, local) | of_ipv4_peer(protocol, peer)
    values = {}
    for side, address in (("LOCAL", local), ("REMOTE", peer)):
        if address:
            values[side + "IP"], values[side + "PORT"] = address[0], str(address[1])
    variables = {protocol + name: value for name, value in values.items()}
    proto = protocol
    if ":" in local[0]:
        proto = protocol + "6"
        for side in ("LOCALIP", "REMOTEIP"):  # a link-local address ends in its interface: fe80::1%eth0
            if side in values:
                values[side], _, interface = values[side].partition("%")
                variables[protocol + side] = values[side]
                if interface:
                    variables[proto + "INTERFACE"] = interface
        variables |= {proto + name: value for name, value in values.items()}
    variables["PROTO"] = proto
    if peer:
        variables["REMOTE_ADDR"], variables["REMOTE_PORT"] = values["REMOTEIP"], values["REMOTEPORT"]
    return variables


def of_ipv4_local(protocol: str, local: Any) -> dict[str, str]:
    """Return the variables of a conversation over IPv4 that do not depend on the peer."""
    return {"PROTO": protocol, protocol + "LOCALIP": local[0], protocol + "LOCALPORT": str(local[1])}


def of_ipv4_peer(protocol: str, peer: Any) -> dict[str, str]:
    """Return the variables of a conversation over IPv4 that depend on the peer."""
    ip, port = peer[0], str(peer[1])
    return {protocol + "REMOTEIP": ip, protocol + "REMOTEPORT": port, "REMOTE_ADDR": ip, "REMOTE_PORT": port}


def _of_unix(local: Any, peer: Any) -> dict[str, str]:
    variables = {"PROTO": "IPC"}
    for name, path in (("LOCALPATH", _path(local)), ("REMOTEPATH", _plain(_path(peer)))):
        if path and "\0" not in path:
            variables["IPC" + name] = variables["UNIX" + name] = path
    return variables


def _of_credentials(connection: socket.socket) -> dict[str, str]:
    """Return the peer's process and user when it connected, as the kernel saw them: unix(7) SO_PEERCRED."""
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
    """Return the name of a unix socket as text, an abstract one as ``@name``, an unnamed one as an empty string."""
    text = str(os.fsdecode(name)) if name else ""
    return "@" + text[1:] if text[:1] == "\0" else text


def _plain(path: str) -> str:
    """Return `path` if it is safe for programs that pass it to a shell, otherwise an empty string."""
    return path if path[:1] in ("/", "@") and set(path) <= _PLAIN_CHARACTERS else ""
