"""Message channel between two processes of srvctl, over one socketpair.

A message is a word and plain values, one to a packet: a sequenced-packet socket keeps packets whole, and its end of
file means that the other process is gone. Which messages there are is in `srvctl.worker.protocol`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
from enum import Enum

from srvctl.runtime import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

# What a worker that is to be killed is sent first, for its stacks; on request they are asked for by SIGUSR2.
LAST_STACKS = signal.SIGQUIT

# The largest message is a failure with the frames of the user's module.
_MESSAGE_MAX = 256 * 1024


# How many are read in one turn of the loop: a process that sends without end must not keep it from signals.
_BATCH = 64


class ChannelClosed(Exception):
    """The other process is gone."""


class BadMessage(Exception):
    """The other process has sent what is no message of anybody's; the text says why."""


class Message(Enum):
    """Base of enumerations of messages: a word, and the names of the values that come with it.

    An enumeration says in `is_valid`, by name, what a value must be; one that is not in it may be anything.
    """

    fields: frozenset[str]

    def __new__(cls, word: str, *fields: str) -> Message:
        message = object.__new__(cls)
        message._value_ = word
        message.fields = frozenset(fields)
        return message

    @classmethod
    def is_valid(cls, name: str, value: Any) -> bool:
        """Tell whether `value` may stand for the field `name`."""
        return True

    def check(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the values of this message's fields. Raises ValueError when one is missing or is not valid."""
        for name in self.fields:
            if name not in values or not self.is_valid(name, values[name]):
                raise ValueError(f"{self.value} without a valid {name}")
        return {name: values[name] for name in self.fields}


class Channel:
    """One end of a channel that reads the messages of `incoming`. Owns its socket; only `receive` blocks.

    A message that is not among them is skipped: it is another version's. `encode` and `decode` translate words for a
    process of another version.
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
            self.socket.send(wire.dumps((word, values)))

    def receive(self) -> tuple[Message, dict[str, Any]]:
        """Return the next message; blocks. Raises `ChannelClosed` and `BadMessage`."""
        self.socket.setblocking(True)
        try:
            while not (found := self._take()):
                pass
            return found
        finally:
            self.socket.setblocking(False)

    def pending(self) -> Iterator[tuple[Message, dict[str, Any]]]:
        """Yield the messages that have come, a bounded number of them; more are there for the next call.

        Raises `ChannelClosed` after the last one if the other process is gone, and `BadMessage`.
        """
        with contextlib.suppress(BlockingIOError):
            for _ in range(_BATCH):
                if found := self._take():
                    yield found

    def raise_signal(self, number: signal.Signals) -> None:
        """Have the kernel send this process `number` whenever a message comes, or the other process ends: fcntl(2).

        For a server without concurrency, whose loop stands still while its handler runs.
        """
        fd = self.socket.fileno()
        fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(fd, getattr(fcntl, "F_SETSIG", 10), number)
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)

    def _take(self) -> tuple[Message, dict[str, Any]] | None:
        """Return the next message, or None for one that is not ours."""
        try:
            packet = self.socket.recv(_MESSAGE_MAX)
        except ConnectionError:
            packet = b""
        if not packet:
            raise ChannelClosed
        return self._parse(packet)

    def _parse(self, packet: bytes) -> tuple[Message, dict[str, Any]] | None:
        """Return the message in `packet`, or None if it is not one of ours. Raises `BadMessage`."""
        try:
            word, values = wire.loads(packet)
            if not (isinstance(word, str) and isinstance(values, dict)):
                raise ValueError("not a word with values")
            if self._decode:
                word, values = self._decode(word, values)
            try:
                message = self._incoming(word)
            except ValueError:
                return None
            return message, message.check(values)
        except (ValueError, TypeError, LookupError) as error:
            raise BadMessage(f"{error}") from None
