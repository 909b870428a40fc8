"""Length of a listener's queue: how many connections the kernel has made that nobody has accepted yet."""

from __future__ import annotations

import os
import socket
import struct

_TCP_INFO = struct.Struct("=24xI")  # struct tcp_info, linux/tcp.h: tcpi_unacked is the queue's length of a listener

# sock_diag(7): a request for one unix socket by its inode number, and the attribute with the lengths of its queues.
_NETLINK_SOCK_DIAG, _BY_FAMILY, _REQUEST = 4, 20, 1
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_UNIX_DIAG_REQUEST = struct.Struct("=BBxxIIIII")  # struct unix_diag_req
_UNIX_DIAG_MESSAGE_BYTES = 16  # struct unix_diag_msg
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr
_SHOW_QUEUES, _QUEUES, _ANY = 0x10, 4, 0xFFFFFFFF
_REPLY_BYTES = 4096


def waiting(listener: socket.socket) -> int | None:
    """Return how many connections wait to be accepted, or None where the kernel does not tell. Never blocks."""
    try:
        if listener.family == socket.AF_UNIX:
            return _unix_queue(os.fstat(listener.fileno()).st_ino)
        if listener.family in (socket.AF_INET, socket.AF_INET6) and listener.type == socket.SOCK_STREAM:
            (length,) = _TCP_INFO.unpack(listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size))
            return int(length)
    except (OSError, struct.error):
        pass
    return None


def _unix_queue(inode: int) -> int | None:
    body = _UNIX_DIAG_REQUEST.pack(socket.AF_UNIX, 0, _ANY, inode, _SHOW_QUEUES, _ANY, _ANY)
    header = _HEADER.pack(_HEADER.size + len(body), _BY_FAMILY, _REQUEST, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as kernel:
        kernel.send(header + body)
        reply = kernel.recv(_REPLY_BYTES, socket.MSG_DONTWAIT)
    _, kind, *_ = _HEADER.unpack_from(reply)
    if kind != _BY_FAMILY:  # an error
        return None
    at = _HEADER.size + _UNIX_DIAG_MESSAGE_BYTES
    while at < len(reply):
        length, name = _ATTRIBUTE.unpack_from(reply, at)
        if name == _QUEUES:
            return int.from_bytes(reply[at + 4 : at + 8], "little")
        at += (length + 3) & ~3
    return None
