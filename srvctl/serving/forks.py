"""A process for each request: forked in batches, one ahead of time, and each with a meter that parent and child share.

What a fork costs is pages: behind it every page that parent or child writes to is a fault, 2 to 6 µs each, and Python
writes to whatever it looks at. A child that does nothing takes some 70 of them, the import of `threading` 110 more, a
call of `signal.signal` 90, and the way of a request through the parent 150, again after each fork. So the child does
little besides its handler, and the parent forks for all that have come in one go, with nothing done between.

A server that does nothing else than accept, fork and call the handler takes 220 pages in the child, ours 280, the
standard library's 290, where `threading` is in them; in the parent it is 80, 40 and 100.
"""

from __future__ import annotations

import _socket
import contextlib
import gc
import marshal
import os
import signal
import socket
import sys

from srvctl.conversation import CAME_AT, DONE, FAILED, OUTCOME, RECEIVED, SharedMeters
from srvctl.counting import Connection
from srvctl.serving.children import ChildServing
from srvctl.socketserver.accepting import RequestNotStarted
from srvctl.socketserver.forking import ForkingMixIn, flush_std_streams
from srvctl.socketserver.handlers import StreamRequestHandler
from srvctl.socketserver.loop import Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from srvctl.conversation import Meter
    from srvctl.socketserver.stream import StreamServer

    class Base(ForkingMixIn, StreamServer):  # or a datagram's, which has no `_lingering`
        """What it is mixed into."""
else:
    Base = object

# A datagram with its addresses, or what is known of a connection.
_MESSAGE_BYTES = 128 * 1024
_FD_SPACE = socket.CMSG_SPACE(4)

_SHUT_WR, _CMSG_CLOEXEC = int(socket.SHUT_WR), int(socket.MSG_CMSG_CLOEXEC)
_AF_UNIX, _SOCK_STREAM, _SOCK_SEQPACKET = int(socket.AF_UNIX), int(socket.SOCK_STREAM), int(socket.SOCK_SEQPACKET)
_close, _shutdown, _recvmsg = _socket.socket.close, _socket.socket.shutdown, _socket.socket.recvmsg
_socketpair = _socket.socketpair


class ForkServing(ChildServing, Base):
    """What a forking server has on top: the parent keeps each connection, and lingers and cuts for the child.

    One child waits: the next request finds it there, and has its answer in a third of the time that a fork takes.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._meters = SharedMeters(self.settings.max)
        self._to_fork: list[tuple[Any, Any]] = []
        self._is_stream = self.socket_type != socket.SOCK_DGRAM
        self._spare = 0  # the child that waits
        self._going: set[int] = set()  # those that were sent home
        self._spare_channel: socket.socket | None = None
        self._forks_soon = False
        super().__init__(*args, **kwargs)

    @property
    def draining(self) -> bool:
        """Whether the server was asked to stop; a child that was forked before learns of it too."""
        return self._meters.flag or super().draining

    def drain(self, seconds: float, *, keep_queue: bool = False) -> None:
        self._meters.raise_flag()
        super().drain(seconds, keep_queue=keep_queue)
        self._send_spare_home()

    def hurry(self) -> None:
        super().hurry()
        self._send_spare_home()

    def _serve(self, loop: Loop, poll_interval: float) -> None:
        # What there is now is never garbage. A collection in a child would write to every page of it.
        gc.collect()
        gc.freeze()
        try:
            loop.call_soon(self._fork_all)
            super()._serve(loop, poll_interval)
        finally:
            self._send_spare_home()

    def _is_full(self) -> bool:
        return len(self.active_children or ()) + len(self._to_fork) >= self.max_children

    # --- the parent

    def process_request(self, request: Any, client_address: Any) -> None:
        if id(request) not in self.conversations and not self._begin(request, client_address):
            return
        conversation = self.conversations[id(request)]
        if isinstance(conversation.meter, list) and (meter := self._meters.take()):
            meter[RECEIVED], meter[CAME_AT] = conversation.meter[RECEIVED], conversation.meter[CAME_AT]
            conversation.meter = meter
            self._set_meter(request, meter)
        if not self._give_to_spare(request, client_address):
            self._to_fork.append((request, client_address))
        self._fork_soon()
        self._hold_when_full()

    def _fork_soon(self) -> None:
        if not self._forks_soon and (loop := self._loop):
            self._forks_soon = True
            loop.call_soon(self._fork_all)

    def _fork_all(self) -> None:
        """Fork a child for each request that came, and one for the next."""
        self._forks_soon = False
        batch, self._to_fork = self._to_fork, []
        started, error = [], None
        flush_std_streams()  # or each process would write what is buffered
        for request, client_address in batch:
            try:
                pid = os.fork()
            except OSError as reason:
                error = reason
                break
            if pid == 0:
                self._run_child(self._serve_in_child, request, client_address)
            started.append(pid)
        else:
            self._fork_spare()
        for pid, (request, client_address) in zip(started, batch, strict=False):
            self._add_child(pid, request, client_address)
        for request, client_address in reversed(batch[len(started) :]):
            self._outlive(self._postpone, request, client_address, _not_started(error))

    def _child_ended(self, pid: int, status: int) -> None:
        request = self._by_pid.pop(pid)
        conversation = self.conversations[id(request)]
        if os.WIFSIGNALED(status) and not conversation.how:
            conversation.how = signal.Signals(os.WTERMSIG(status)).name
        elif os.waitstatus_to_exitcode(status) and conversation.meter[OUTCOME] == DONE:
            conversation.meter[OUTCOME] = FAILED
        meter = conversation.meter
        self.shutdown_request(request)
        self.tally.settle()
        self._meters.give_back(meter)
        self._fork_soon()

    def _reap(self, pid: int, flags: int) -> None:
        super()._reap(pid, flags)
        if pid in self._pidfds:
            return
        if pid == self._spare:  # somebody killed it; or it cannot live, so the next one comes with a request
            self._forget_spare()
        elif pid in self._going:
            self._going.discard(pid)
            self._check_soon()

    def _look_at_child(self, pid: int) -> None:
        super()._look_at_child(pid)
        if pid == self._spare or pid in self._going:
            self._watch_child(pid)

    def _is_drained(self) -> bool:
        return super()._is_drained() and not self._going

    def _wait_for_requests(self) -> None:
        for pid in self._going:
            os.waitpid(pid, 0)
        self._going.clear()
        super()._wait_for_requests()

    # --- the child that waits

    def _fork_spare(self) -> None:
        """Fork a child for the next request, if it may come; where that cannot be had, the request will see."""
        if self._spare or self._loop is None or self._is_full() or self.draining:
            return
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError:
            return
        with theirs:
            try:
                pid = os.fork()
            except OSError:
                ours.close()
                return
            if pid == 0:
                ours.close()
                self._run_child(self._serve_next_in_child, theirs)
        self._spare, self._spare_channel = pid, ours
        self._watch_child(pid)

    def _give_to_spare(self, request: Any, client_address: Any) -> bool:
        """Have the child that waits serve a request, if there is one; return whether it does."""
        channel, pid = self._spare_channel, self._spare
        if channel is None:
            return False
        slot = self._meters.slot_of(self.conversations[id(request)].meter)
        fd, parts = self._parts_of(request)
        handed = _rights(fd) if fd >= 0 else []
        try:
            channel.sendmsg([marshal.dumps((slot, client_address, parts))], handed, socket.MSG_DONTWAIT)
        except OSError:  # it was killed, or the message is too long
            self._send_spare_home()
            return False
        self._forget_spare()
        self._add_child(pid, request, client_address)
        return True

    def _forget_spare(self) -> None:
        if self._spare_channel:
            self._spare_channel.close()
        self._spare, self._spare_channel = 0, None

    def _send_spare_home(self) -> None:
        if self._spare_channel:
            with contextlib.suppress(OSError):
                self._spare_channel.shutdown(socket.SHUT_RDWR)  # others may have been forked with a copy of it
            self._going.add(self._spare)
            self._forget_spare()

    def _serve_next_in_child(self, channel: socket.socket) -> None:
        self._release_in_child(None)
        if self._is_stream:
            with contextlib.suppress(OSError):  # no descriptor for it
                self._rehearse()
        if found := self._receive_request(channel):
            self._work(*found)

    def _rehearse(self) -> None:
        """Go the way of a request once, with nobody.

        What that writes to is copied now, and not while a client waits.
        """
        channel, theirs = _socketpair(_AF_UNIX, _SOCK_SEQPACKET)
        connection, client = _socketpair(_AF_UNIX, _SOCK_STREAM)
        client.send(b"\n")
        theirs.sendmsg([marshal.dumps((-1, None, None))], _rights(connection.fileno()))
        if found := self._receive_request(channel):
            _Rehearsal(*found, self)
            self._end_in_child(found[0])
            self.close_request(found[0])
        self.conversations.clear()
        for end in (theirs, connection, client):
            end.close()

    def _receive_request(self, channel: _socket.socket) -> tuple[Any, Any] | None:
        """Return the request that comes, and its client's address; None when none will. Closes `channel`; blocks."""
        message, ancillary, _flags, _sender = _recvmsg(channel, _MESSAGE_BYTES, _FD_SPACE, _CMSG_CLOEXEC)
        _close(channel)
        if not message:
            return None
        slot, client_address, parts = marshal.loads(message)
        fd = int.from_bytes(ancillary[0][2], sys.byteorder) if ancillary else -1
        request = self._request_of(parts, fd, client_address, self._meters.at(slot))
        self.conversations[id(request)] = self._conversation_with(request, client_address)
        return request, client_address

    def _parts_of(self, request: Any) -> tuple[int, Any]:
        """Return the descriptor, or -1, and the plain values that make a request in another process."""
        raise NotImplementedError

    def _request_of(self, parts: Any, fd: int, client_address: Any, meter: Meter | None) -> Any:
        raise NotImplementedError

    def _set_meter(self, request: Any, meter: Meter) -> None:
        raise NotImplementedError

    # --- any child

    def _release_in_child(self, request: Any) -> None:
        """Close, in the child, every other conversation too: a copy here would keep it open after its end."""
        # Nothing here calls what is written in Python: each function is another five pages.
        for conversation in self.conversations.values():
            other = conversation.request
            if other is not request and isinstance(other, Connection):
                _close(other)
        if loop := self._loop:
            for close in loop.closers:
                close()
            self._loop = None
        self._settle()
        if self._is_stream:
            _close(self.socket)
            if len(self._lingering):
                self._lingering.abandon()

    def _end_in_child(self, request: Any) -> None:
        """Leave the close to the parent, which lingers without keeping a process."""
        if self._is_stream:
            try:  # noqa: SIM105 - a call more
                _shutdown(request, _SHUT_WR)
            except OSError:
                pass


class _Rehearsal(StreamRequestHandler):
    """What most handlers do."""

    def handle(self) -> None:
        self.wfile.write(self.rfile.readline())


def _rights(fd: int) -> list[tuple[int, int, bytes]]:
    """Return the ancillary data that hands `fd` to another process, unix(7)."""
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fd.to_bytes(4, sys.byteorder))]


def _not_started(cause: OSError | None) -> RequestNotStarted:
    error = RequestNotStarted()
    error.__cause__ = cause
    return error
