"""Our own listening socket, kept by the service manager over a restart: FileDescriptorStoreMax=, systemd.service(5)."""

from __future__ import annotations

import contextlib
import os
import socket
import stat

from srvctl.net.unix_path import BoundPath, pin
from srvctl.systemd import protocol as systemd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def take_from_fd_store(is_wanted: Callable[[socket.socket], bool]) -> socket.socket | None:
    """Return the stored socket that `is_wanted`, or None; the caller owns it. Any other is given up for good."""
    wanted = None
    kept = [number for number, name in systemd.listen_descriptors().items() if name == systemd.STORED]
    for number in kept:
        with contextlib.suppress(OSError):  # it is closed, or is not a socket
            sock = socket.socket(fileno=number)
            if wanted is None and is_wanted(sock):
                os.set_inheritable(number, False)
                wanted = sock
            else:
                sock.close()
    if kept and wanted is None:
        systemd.drop(systemd.STORED)
    return wanted


def path_of(sock: socket.socket) -> BoundPath | None:
    """Return the file of a stored unix socket, or None where it has none any more."""
    name = sock.getsockname()
    if not isinstance(name, str) or not name:
        return None
    try:
        inode = pin(name)
    except OSError:
        return None
    if stat.S_ISSOCK(os.fstat(inode).st_mode):
        return BoundPath(name, inode)
    os.close(inode)
    return None
