"""Unix listeners: bound to a path or an abstract name, or taken from systemd's descriptor store."""

from __future__ import annotations

import contextlib
import os
import socket

from srvctl.listener.fd_store import path_of, take_from_fd_store
from srvctl.listener.listener import Listener
from srvctl.net.unix_owner import resolve_owner
from srvctl.net.unix_path import bind_path
from srvctl.runtime import log
from srvctl.systemd import protocol as systemd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvctl.config.settings import Settings
    from srvctl.net.address import Family, UnixAddress


def open_unix(family: Family, address: UnixAddress, settings: Settings) -> Listener:
    """Return a listener on `address`, whose file has the mode and owner asked for. Raises `UsageError` and OSError."""
    assert family.type is not None
    owner = resolve_owner(settings.socket_owner)
    if settings.fd_store and (stored := _stored_listener(family, address)):
        return stored
    mode = settings.socket_mode if settings.socket_mode >= 0 else 0o666 & ~_umask()
    with contextlib.ExitStack() as on_failure:
        sock = on_failure.enter_context(socket.socket(socket.AF_UNIX, family.type))
        listen = None if family.type == socket.SOCK_DGRAM else lambda: sock.listen(settings.backlog)
        path = bind_path(
            sock, address.sockaddr, mode=mode, owner=owner, listen=listen, on_stale=log.stale_socket_removed
        )
        on_failure.pop_all()
        return Listener(sock, True, path)


def _stored_listener(family: Family, address: UnixAddress) -> Listener | None:
    names = (address.sockaddr, os.fsencode(address.sockaddr))
    stored = take_from_fd_store(lambda sock: sock.type == family.type and sock.getsockname() in names)
    if stored is None:
        return None
    path = path_of(stored)
    if path or address.is_abstract:
        return Listener(stored, True, path)
    stored.close()  # its file was removed, so no client can reach it
    systemd.drop(systemd.STORED)
    return None


def _umask() -> int:
    umask = os.umask(0o077)
    os.umask(umask)
    return umask
