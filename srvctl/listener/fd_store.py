"""systemd's descriptor store: the listener that it kept open for us over a restart.

FileDescriptorStoreMax= in systemd.service(5). The supervisor puts the socket there; this module takes it back.
"""

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
    """Return the first stored socket for which `is_wanted` is true, or None. The caller owns it.

    Other sockets under our name are closed. If none is wanted, systemd is asked to close its copies too.
    """
    wanted = None
    stored = [number for number, name in systemd.listen_descriptors().items() if name == systemd.STORED]
    for number in stored:
        with contextlib.suppress(OSError):  # the descriptor is closed, or not a socket
            sock = socket.socket(fileno=number)
            if wanted is None and is_wanted(sock):
                os.set_inheritable(number, False)
                wanted = sock
            else:
                sock.close()
    if stored and wanted is None:
        systemd.drop(systemd.STORED)
    return wanted


def path_of(sock: socket.socket) -> BoundPath | None:
    """Return the file of a stored unix socket, or None if the file is gone or the socket never had one."""
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
