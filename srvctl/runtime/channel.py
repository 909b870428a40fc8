"""Message channel between two processes of srvctl, over one socketpair.

A message is a word and plain values, one to a packet: a sequenced-packet socket keeps packets whole, and its end of
file means that the other process is gone. Which messages there are is in `srvctl.worker.protocol`.
"""

from __future__ import annotations

import contextlib
import fcntl
import marshal
import os
import signal
import socket
from enum import Enum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

# Version 2 of marshal's format has been read by every Python since 2.5: an upgraded worker reads the setup
# that its older supervisor wrote.
_FORMAT = 2
# What a worker that is to be killed is sent first, for its stacks; on request they are asked for by SIGUSR2.
LAST_STACKS = signal.SIGQUIT

# The largest message is a failure with the frames of the user's module.
_MESSAGE_MAX = 256 * 1024


class ChannelClosed(Exception):
    """The other process is gone."""


class Message(Enum):
    """Base of enumerations of messages: a word, and the names of the values that come with it."""

    fields: frozenset[str]

    def __new__(cls, word: str, *fields: str) -> Message:
        message = object.__new__(cls)
        message._value_ = word
        message.fields = frozenset(fields)
        return message


class Channel:
    """One end of a channel that reads the messages of `incoming`. Owns its socket; only `receive` blocks.

    A packet that is no such message is skipped: it is another version's, or user code wrote to the descriptor by
    mistake. `encode` and `decode` translate words for a process of another version.
    """

    def __init__(
        self,
        sock: socket.socket,
        incoming: type[Message],
        encode: Callable[[Message], str] | None = None,
        decode: Callable[[str, dict[str, Any]], tuple[str, dict[str, Any]]] | None = None,
    ) -> None:
        self.socket = sock
        self._incoming, self._encode, self._decode = incoming, encode, decode
        sock.setblocking(False)

    @classmethod
    def pair(cls, incoming: type[Message]) -> tuple[Channel, socket.socket]:
        """Return our end, and the socket that becomes the other process's."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for sock in (ours, theirs):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MESSAGE_MAX * 2)
        return cls(ours, incoming), theirs

    def fileno(self) -> int:
        return self.socket.fileno()

    def close(self) -> None:
        self.socket.close()

    def send(self, message: Message, **values: Any) -> None:
        """Send a message; it is lost when the other process is gone or has stopped reading, which shows otherwise.

        Raises TypeError when `values` are not what the message carries.
        """
        if values.keys() != message.fields:
            raise TypeError(f"{message.value} carries {sorted(message.fields)}, not {sorted(values)}")
        word = self._encode(message) if self._encode else message.value
        with contextlib.suppress(BlockingIOError, ConnectionError):
            self.socket.send(marshal.dumps((word, values), _FORMAT))

    def receive(self) -> tuple[Message, dict[str, Any]]:
        """Return the next message; blocks. Raises `ChannelClosed`."""
        self.socket.setblocking(True)
        try:
            return self._take()
        finally:
            self.socket.setblocking(False)

    def pending(self) -> Iterator[tuple[Message, dict[str, Any]]]:
        """Yield the messages that have come; raise `ChannelClosed` after the last one if the other process is gone."""
        with contextlib.suppress(BlockingIOError):
            while True:
                yield self._take()

    def raise_signal(self, number: signal.Signals) -> None:
        """Have the kernel send this process `number` whenever a message comes, or the other process ends: fcntl(2).

        For a server without concurrency, whose loop stands still while its handler runs.
        """
        fd = self.socket.fileno()
        fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(fd, getattr(fcntl, "F_SETSIG", 10), number)
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)

    def _take(self) -> tuple[Message, dict[str, Any]]:
        while True:
            try:
                packet = self.socket.recv(_MESSAGE_MAX)
            except ConnectionError:
                packet = b""
            if not packet:
                raise ChannelClosed
            with contextlib.suppress(EOFError, LookupError, TypeError, ValueError):
                return self._parse(packet)

    def _parse(self, packet: bytes) -> tuple[Message, dict[str, Any]]:
        """Return the message in `packet`. Raises ValueError, TypeError, EOFError or LookupError when there is none."""
        word, values = marshal.loads(packet)
        if self._decode:
            word, values = self._decode(word, values)
        message = self._incoming(word)
        return message, {name: values[name] for name in message.fields}
