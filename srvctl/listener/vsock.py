"""Vsock listeners: bound to a context id and port, vsock(7), or taken from systemd's descriptor store."""

from __future__ import annotations

import contextlib
import socket

from srvctl.errors import AddressError
from srvctl.listener.fd_store import take_from_fd_store
from srvctl.listener.listener import Listener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvctl.config.settings import Settings
    from srvctl.net.address import Family, VsockAddress


def open_vsock(family: Family, address: VsockAddress, settings: Settings) -> Listener:
    """Return a listener on `address`. Raises `AddressError` where the system has no vsock, and OSError."""
    if not hasattr(socket, "AF_VSOCK"):
        raise AddressError("serve", "vsock", "this system has no vsock sockets; they need Linux")
    if settings.fd_store and (stored := take_from_fd_store(lambda sock: _is_bound_to(sock, address))):
        return Listener(stored, True)
    with contextlib.ExitStack() as on_failure:
        sock = on_failure.enter_context(socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM))
        # On the command line port 0 lets the kernel choose, as for TCP; vsock(7) has VMADDR_PORT_ANY for that.
        sock.bind((address.cid, address.port or socket.VMADDR_PORT_ANY))
        sock.listen(settings.backlog)
        on_failure.pop_all()
        return Listener(sock, True)


def _is_bound_to(sock: socket.socket, address: VsockAddress) -> bool:
    if (sock.family, sock.type) != (socket.AF_VSOCK, socket.SOCK_STREAM):
        return False
    cid, port = sock.getsockname()
    return cid == address.cid and address.port in (0, port)
