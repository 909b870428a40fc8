"""What supervisor and worker say to each other, over one socketpair.

A message is a word and plain values, one to a packet: a sequenced-packet socket keeps them whole, and its end of
file means that the other side is gone. Up: ``ready``, ``failed``, ``figures``, ``alive``, ``tired``, ``drained``. Down:
``setup``, ``share``, ``serve``, ``drain``, ``hurry``, ``report``, ``stacks``. `marshal` reads only what a worker of
ours, or its supervisor, wrote.
"""

from __future__ import annotations

import contextlib
import fcntl
import marshal
import os
import signal
import socket
from collections.abc import Iterator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Version 2 of marshal's format has been read by every Python since 2.5: an upgraded worker reads the setup
# that its older supervisor wrote.
_FORMAT = 2
# What a worker that is to be killed is sent first, for its stacks; on request they are asked for by SIGUSR2.
LAST_STACKS = signal.SIGQUIT

# The largest message is a failure with the frames of the user's module.
_MESSAGE_MAX = 256 * 1024


class ChannelClosed(Exception):
    """The other side is gone."""


class Channel:
    """One end. Owns its socket; never blocks but in `receive`."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        sock.setblocking(False)

    @classmethod
    def pair(cls) -> tuple[Channel, socket.socket]:
        """Return our end, and the socket that becomes the other process's."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for sock in (ours, theirs):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MESSAGE_MAX * 2)
        return cls(ours), theirs

    def fileno(self) -> int:
        return self.socket.fileno()

    def close(self) -> None:
        self.socket.close()

    def send(self, word: str, **values: Any) -> None:
        """Send a message; it is lost when the other side is gone or has stopped reading, which shows otherwise."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            self.socket.send(marshal.dumps((word, values), _FORMAT))

    def receive(self) -> tuple[str, dict[str, Any]]:
        """Return the next message; blocks. Raises `ChannelClosed`."""
        self.socket.setblocking(True)
        try:
            return self._take()
        finally:
            self.socket.setblocking(False)

    def pending(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the messages that have come. Raises `ChannelClosed` behind the last one when the other side is gone."""
        with contextlib.suppress(BlockingIOError):
            while True:
                yield self._take()

    def raise_signal(self, number: signal.Signals) -> None:
        """Have the kernel send this process `number` whenever a message comes, or the other side goes: fcntl(2).

        For a server without concurrency, whose loop stands still while its handler runs.
        """
        fd = self.socket.fileno()
        fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(fd, getattr(fcntl, "F_SETSIG", 10), number)
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)

    def _take(self) -> tuple[str, dict[str, Any]]:
        try:
            packet = self.socket.recv(_MESSAGE_MAX)
        except ConnectionError:
            packet = b""
        if not packet:
            raise ChannelClosed
        word, values = marshal.loads(packet)
        return word, values
