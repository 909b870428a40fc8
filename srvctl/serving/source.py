"""Where conversations come from: what every socket has, listening or for datagrams."""

from __future__ import annotations

import contextlib
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from srvctl.serving.conversation import Conversation, Meter

# So many are accepted in one turn of the loop before timers and other descriptors get theirs.
BATCH = 64


class SocketSource:
    """A socket that conversations come from; the common parent of `StreamSource` and `DatagramSource`.

    `is_own` says that srvctl made the socket, and may empty its queue when it stops. Owns the socket.
    """

    is_stream: bool
    family: int
    address: Any  # what the socket is bound to
    _serving_timeout: float | None

    def __init__(self, sock: socket.socket, is_own: bool) -> None:
        self.socket, self.is_own = sock, is_own
        self.family, self.address = int(sock.family), sock.getsockname()
        self._timeout_before: float | None = None

    def open(self) -> None:
        """Make ready for `accept`."""
        self._timeout_before = self.socket.gettimeout()
        self.socket.settimeout(self._serving_timeout)

    def restore(self) -> None:
        """Leave the socket as it was before `open`: others may share it."""
        if self._timeout_before != self._serving_timeout:
            with contextlib.suppress(OSError):  # closed meanwhile
                self.socket.settimeout(self._timeout_before)

    def fileno(self) -> int:
        """Return the descriptor that is readable when a conversation is there; -1 when there is no such thing."""
        return self.socket.fileno()

    def accept(self) -> Conversation:
        """Return the next conversation. Raises BlockingIOError when there is none now, and OSError. Never blocks."""
        raise NotImplementedError

    def pack(self, conversation: Any) -> tuple[int, Any]:
        """Return a conversation as a descriptor, or -1, and plain values, for another process."""
        raise NotImplementedError

    def unpack(self, values: Any, fd: int, peer: Any, meter: Meter) -> Conversation:
        """Return the conversation that `pack` took apart."""
        raise NotImplementedError

    def is_harmless(self, error: OSError) -> bool:
        """Tell whether an error of `accept` is about what was sent before, and nothing that was to be accepted."""
        return False

    def drop_reported_errors(self) -> None:
        """Called when the descriptor has an error to tell, besides conversations."""

    def close(self) -> None:
        """Take no more; answers may still go out on a datagram socket."""
