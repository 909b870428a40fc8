"""Inherited listeners: a descriptor that systemd or another parent process passed on, found by number or name."""

from __future__ import annotations

import errno
import os
import socket

from srvctl.errors import AddressError
from srvctl.listener.listener import Listener
from srvctl.systemd import protocol as systemd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvctl.config.settings import Settings
    from srvctl.net.address import Descriptor, Family


def open_inherited(family: Family, address: Descriptor, settings: Settings) -> Listener:
    """Return a listener on the descriptor `address`, which stays open if that fails. Raises `AddressError`."""
    number = _number_of(address)
    text = f"fd {address.name or number}"
    try:
        sock = socket.socket(fileno=number)
    except OSError as error:
        why = "it is not open" if error.errno == errno.EBADF else "it is not a socket"
        raise AddressError("serve", text, why) from None
    try:
        _check(sock, text)
        os.set_inheritable(number, False)
        return Listener(sock, False)
    except BaseException:
        sock.detach()  # srvctl did not open it, so it must not close it
        raise


def _number_of(address: Descriptor) -> int:
    number: int = address.number
    if not address.name:
        return number
    passed = systemd.listen_descriptors()
    numbers = [fd for fd, name in passed.items() if name == address.name]
    if not numbers:
        known = ", ".join(sorted(set(passed.values()))) or "none was passed"
        raise AddressError("serve", f"fd {address.name}", f"no such name in LISTEN_FDNAMES ({known})")
    return numbers[0]


def _check(sock: socket.socket, text: str) -> None:
    if sock.type != socket.SOCK_DGRAM and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise AddressError("serve", text, f"it is a {sock.type.name} socket that does not listen")
    if sock.type not in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        raise AddressError("serve", text, "it is neither a stream, a datagram nor a sequenced-packet socket")
