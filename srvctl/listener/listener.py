"""The listener: one bound socket, whether srvctl made it, and its file. Making one is `srvctl.listener.open`."""

from __future__ import annotations

import array
import contextlib
import os
import socket
import struct

from srvctl.listener import queue
from srvctl.net.address import format_bound
from srvctl.net.unix_path import BoundPath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# setsockopt(2), socket(7): not in the socket module.
_SO_ATTACH_FILTER = getattr(socket, "SO_ATTACH_FILTER", 26)


class Listener:
    """A bound socket, and its file if it is a unix socket with a path.

    `owns_socket` means that srvctl made the socket: an inherited one is never shut down, and its file never removed.
    `address` is the bound address as text. `close` closes this process's copy; `unlink` removes the file.
    """

    def __init__(self, sock: socket.socket, owns_socket: bool, path: BoundPath | None = None) -> None:
        """Take over `sock` and `path`."""
        self.socket = sock
        self.owns_socket = owns_socket
        self.is_stream = sock.type != socket.SOCK_DGRAM
        self.address = format_bound(sock)
        self._path = path

    def block_new_peers(self) -> None:
        """Let no new client into the kernel's accept queue, and keep those that are in it.

        Without this a client could enter the queue between the last accept and the close, and be reset by the close. A
        TCP listener drops the SYN of new clients with a socket filter. Their kernel sends it again after a second, and
        then the connection is refused, or accepted by the next server. A unix listener refuses new clients with
        shutdown(2). An inherited socket is left alone: its owner may start the next server on it.
        """
        if not self.owns_socket:
            return
        with contextlib.suppress(OSError):  # without it only the gap described above stays open
            if self.socket.family == socket.AF_UNIX:
                self.socket.shutdown(socket.SHUT_RD)
            elif self.socket.family in (socket.AF_INET, socket.AF_INET6) and self.is_stream:
                _drop_syns(self.socket)

    def waiting(self) -> int | None:
        """Return how many connections wait to be accepted, or None where that cannot be known."""
        return queue.waiting(self.socket)

    def hand_over(self) -> dict[str, Any]:
        """Return the arguments of `adopt` for the program that replaces this one by exec; the socket stays open.

        Another version of srvctl may read them: keys keep their names.
        """
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
        """Close this process's copy of the socket."""
        self.socket.close()

    def unlink(self) -> None:
        """Remove the socket's file if it is still ours."""
        if self._path:
            self._path.unlink()
            self._path = None


def _drop_syns(sock: socket.socket) -> None:
    # Classic BPF; net/core/filter.c runs a listener's filter on the TCP header. Drop the segment if flags & SYN.
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
