"""Relay between two connected sockets: what each of them sends goes to the other.

Each direction holds at most one piece of data. While the target accepts nothing, nothing is read from the source, so
that a slow receiver slows the sender down. The directions end independently: an end of file from the source becomes a
shutdown(2) of the target's writing side.

A direction begins with recv() and send(), which is the cheapest way for a few bytes and needs no descriptors. After
`BULK_BYTES` it opens a pipe and continues with splice(2), which moves pages instead of copying them and needs about
half of the processor time.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket

from ..shared.records import MAX_RECORD_BYTES
from .upstream import UpstreamReset

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PIECE_BYTES = 64 * 1024
# A pipe costs two descriptors and three system calls, which is little compared with moving this many bytes.
BULK_BYTES = 256 * 1024
PIPE_BYTES = 256 * 1024  # with the default of 64 KiB splice(2) saves much less
_F_SETPIPE_SZ = 1031  # fcntl(2)
# The other direction gets its turn after this many pieces, even if this one never has to wait.
MAX_PIECES_PER_TURN = 16
_GONE = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Direction:
    """One direction of a relay, from `source` to `target`. The caller owns both; `close` closes the pipe.

    `failure` is the error of `target` that ended the direction. If `source` is reset, `on_reset` is raised.
    """

    def __init__(
        self,
        source: socket.socket,
        target: socket.socket,
        may_splice: bool,
        on_reset: type[ConnectionResetError] = ConnectionResetError,
    ) -> None:
        self.source, self.target = source, target
        self._on_reset = on_reset
        self.is_open = True
        self.failure: OSError | None = None
        self._piece = MAX_RECORD_BYTES if source.type == socket.SOCK_SEQPACKET else PIECE_BYTES
        self._held: bytes | memoryview = b""
        self._may_splice = may_splice and _is_plain(source) and _is_plain(target)
        self._moved = self._in_pipe = 0
        self._pipe: tuple[int, int] | None = None
        self._received: Callable[[int], None] = getattr(source, "count_received", _ignore)
        self._sent: Callable[[int], None] = getattr(target, "count_sent", _ignore)

    @property
    def is_full(self) -> bool:
        """Whether it holds data that `target` has not accepted yet."""
        return bool(self._held or self._in_pipe)

    @property
    def waits_for(self) -> tuple[int, int]:
        """The descriptor to poll, and the event of poll(2)."""
        return (self.target.fileno(), select.POLLOUT) if self.is_full else (self.source.fileno(), select.POLLIN)

    def move(self) -> bool:
        """Move data without waiting; return whether there may be more to move at once."""
        for _ in range(MAX_PIECES_PER_TURN):
            if not self.is_full and not self._read():
                return False
            if not self._write():
                return False
        return True

    def stop(self) -> None:
        """End the direction, and discard the data that it holds."""
        self.is_open = False
        self._held, self._in_pipe = b"", 0

    def close(self) -> None:
        """Close the pipe."""
        if self._pipe:
            for fd in self._pipe:
                os.close(fd)
            self._pipe = None

    def _read(self) -> bool:
        try:
            count = self._splice_in() if self._pipe else self._receive()
        except BlockingIOError:
            return False
        except OSError as error:  # also TimeoutError: the peer acknowledges nothing any more
            raise self._on_reset(str(error)) from error
        if not count:
            self.is_open = False
            with contextlib.suppress(OSError):  # the target has disconnected; the next write to it fails
                self.target.shutdown(socket.SHUT_WR)
        return bool(count)

    def _receive(self) -> int:
        self._held = self.source.recv(self._piece)
        return len(self._held)

    def _splice_in(self) -> int:
        assert self._pipe
        try:
            self._in_pipe = os.splice(self.source.fileno(), self._pipe[1], PIPE_BYTES, flags=_SPLICE_FLAGS)
        except BlockingIOError:
            return self._receive()  # no data, or an urgent byte, which stops splice(2) but not recv()
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            self._give_up_splicing()
            return self._receive()
        self._received(self._in_pipe)
        return self._in_pipe

    def _write(self) -> bool:
        try:
            while self._in_pipe:
                self._splice_out()
            while self._held:
                sent = self.target.send(self._held)
                self._moved += sent
                self._held = memoryview(self._held)[sent:] if sent < len(self._held) else b""
        except BlockingIOError:
            return False
        except OSError as error:
            self.failure = error
            self.stop()
            return False
        if self._may_splice and not self._pipe and self._moved >= BULK_BYTES:
            self._begin_splicing()
        return True

    def _splice_out(self) -> None:
        assert self._pipe
        sent = os.splice(self._pipe[0], self.target.fileno(), self._in_pipe, flags=_SPLICE_FLAGS)
        self._in_pipe -= sent
        self._sent(sent)

    def _begin_splicing(self) -> None:
        import fcntl

        try:
            self._pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # no descriptors left: recv() and send() will do
            self._may_splice = False
            return
        with contextlib.suppress(OSError):  # over pipe-user-pages-soft, pipe(7): a smaller pipe will do
            fcntl.fcntl(self._pipe[1], _F_SETPIPE_SZ, PIPE_BYTES)

    def _give_up_splicing(self) -> None:
        """Return to recv() and send(): the kernel cannot splice from this kind of socket. The pipe is empty."""
        self._may_splice = False
        self.close()


_SPLICE_FLAGS = getattr(os, "SPLICE_F_MOVE", 0) | getattr(os, "SPLICE_F_NONBLOCK", 0)


def _ignore(count: int) -> None:
    pass


def _is_plain(sock: socket.socket) -> bool:
    """Tell whether splice(2) sees the bytes of the stream; under TLS it would see encrypted ones."""
    return (
        hasattr(os, "splice")
        and sock.type == socket.SOCK_STREAM
        and sock.family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
        and not hasattr(sock, "pending")
    )


def relay(client: socket.socket, upstream: socket.socket, may_splice: bool = True) -> None:
    """Relay between `client` and `upstream`, both non-blocking, until both have ended. Blocks; closes neither.

    Raises `UpstreamReset` or another ConnectionError if one of them is reset before it has ended.
    """
    out, back = Direction(client, upstream, may_splice), Direction(upstream, client, may_splice, UpstreamReset)
    poll = select.poll()
    ready: set[Direction] = set()
    try:
        while out.is_open or back.is_open:
            polled = _wait(poll, out, back, 0 if ready else None)
            _check_hangups(polled, out, back)
            ready = {
                direction
                for direction in (out, back)
                if direction.is_open and (direction in ready or direction.waits_for[0] in polled) and direction.move()
            }
            if back.failure:
                raise ConnectionResetError(f"the client accepts no more data: {back.failure}")
        if isinstance(out.failure, ConnectionResetError):
            # The upstream was reset. send(2) consumed the error, so that recv(2) reported an end of file that was none.
            raise UpstreamReset(str(out.failure))
    finally:
        out.close()
        back.close()


def _wait(poll: select.poll, out: Direction, back: Direction, timeout: int | None) -> dict[int, int]:
    """Wait for events of poll(2), `timeout` milliseconds at most; return them by descriptor."""
    wanted = {out.source.fileno(): 0, back.source.fileno(): 0}
    for direction in (out, back):
        if direction.is_open:
            fd, event = direction.waits_for
            wanted[fd] |= event
    for fd, events in wanted.items():
        incoming, outgoing = (out, back) if fd == out.source.fileno() else (back, out)
        # Poll a socket that has sent its end of file for a hang-up only. Do not poll a socket that is paused: if it
        # has hung up, the data that it sent must still be delivered.
        if events or (not incoming.is_open and outgoing.is_open):
            poll.register(fd, events)
        else:
            with contextlib.suppress(KeyError):
                poll.unregister(fd)
    polled = dict(poll.poll(timeout))
    return {fd: events if wanted[fd] else events | _IDLE for fd, events in polled.items()}


_IDLE = 1 << 30  # not an event of poll(2): marks a socket that is polled for a hang-up only


def _check_hangups(polled: dict[int, int], out: Direction, back: Direction) -> None:
    """End the directions to a socket that has hung up or was cut."""
    client, upstream = out.source, back.source
    events = polled.get(client.fileno(), 0)
    # TCP reports POLLHUP when both sides are shut down. We have not shut down ours, so a reset or a deadline did.
    was_cut = events & select.POLLHUP and client.family != socket.AF_UNIX and back.is_open
    if was_cut or (events & _IDLE and events & _GONE):
        raise ConnectionResetError("the client has disconnected")
    events = polled.get(upstream.fileno(), 0)
    if events & _IDLE and events & _GONE:
        out.stop()
