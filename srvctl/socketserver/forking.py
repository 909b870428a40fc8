"""`ForkingMixIn`: each request is handled by a process of its own.

The parent learns that a child ended from a pidfd that its loop watches, so there is no zombie that waits for
the next request, and it waits for its own children only: the handler's `subprocess` keeps its exit statuses.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from time import monotonic

from srvctl.runtime.loop import Loop
from srvctl.socketserver.accept_errors import PAUSE_SECONDS, RequestDeferred
from srvctl.socketserver.base import BaseServer, event_driven

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    Base = BaseServer
else:
    Base = object


class ForkingMixIn(Base):
    """Mix in before a server class to handle each request in a new process.

    At ``max_children`` the server takes no new request until one ends; the loop keeps turning. ``server_close``
    waits for the children when ``block_on_close`` is true. ``active_children`` are their process ids.
    """

    timeout: float | None = 300
    active_children: set[int] | None = None
    max_children = 40
    block_on_close = True
    _pidfds: dict[int, int] = {}  # of each active child, while the loop watches it

    def process_request(self, request: Any, client_address: Any) -> None:
        """Fork; the child handles the request and exits, the parent goes on."""
        flush_std_streams()  # or both processes would write what is buffered
        try:
            pid = os.fork()
        except OSError as error:
            raise RequestDeferred from error
        if pid == 0:
            self._run_child(self._serve_in_child, request, client_address)
        self._add_child(pid, request, client_address)
        self._pause_when_full()

    def _add_child(self, pid: int, request: Any, client_address: Any) -> None:
        """Enter a child that serves a request."""
        if self.active_children is None:
            self.active_children = set()
        self.active_children.add(pid)
        self._child_started(pid, request, client_address)

    def _is_full(self) -> bool:
        return self.active_children is not None and len(self.active_children) >= self.max_children

    def _serve(self, loop: Loop, poll_interval: float) -> None:
        self._pidfds = {}
        for pid in list(self.active_children or ()):  # of a serve_forever before this one
            self._watch_child(pid)
        try:
            super()._serve(loop, poll_interval)
        finally:
            for pidfd in self._pidfds.values():
                os.close(pidfd)
            self._pidfds.clear()

    def _run_child(self, work: Callable[..., None], *args: Any) -> NoReturn:
        """Do `work` in a forked child, and end it."""
        status = 1
        try:
            work(*args)
            status = 0
        finally:  # whatever it raised: no child returns into the parent's loop
            end_child(status)

    def _serve_in_child(self, request: Any, client_address: Any) -> None:
        self._release_in_child(request)
        self._work(request, client_address)

    def _work(self, request: Any, client_address: Any) -> None:
        """Serve a request, in its child. Raises what the handler raised, when that has been reported."""
        try:
            self.finish_request(request, client_address)
        except Exception:
            self.handle_error(request, client_address)
            raise
        finally:
            self._end_in_child(request)

    def _end_in_child(self, request: Any) -> None:
        """End the request in the child, which waits for the peer of a connection as long as it lingers."""
        self.shutdown_request(request)
        if lingering := getattr(self, "_lingering", None):
            lingering.finish()

    def _child_started(self, pid: int, request: Any, client_address: Any) -> None:
        """Called in the parent: give up its copy of the request, and wait for the child's end."""
        self.close_request(request)
        self._watch_child(pid)

    def _watch_child(self, pid: int) -> int:
        """Have the loop reap `pid` when it ends; return the pidfd, which stays the server's, or -1."""
        if self._loop is None:
            return -1
        try:
            pidfd = self._pidfds[pid] = os.pidfd_open(pid)
            self._loop.watch(pidfd, lambda events: self._reap(pid, os.WNOHANG))
        except (OSError, AttributeError):  # no descriptor or memory left, or no such system call: look now and then
            if (unwatched := self._pidfds.pop(pid, -1)) >= 0:
                os.close(unwatched)
            self._loop.call_at(monotonic() + PAUSE_SECONDS, lambda: self._look_at_child(pid))
            return -1
        return pidfd

    def _look_at_child(self, pid: int) -> None:
        self._reap(pid, os.WNOHANG)
        if self.active_children and pid in self.active_children:
            self._watch_child(pid)

    def _reap(self, pid: int, flags: int) -> None:
        try:
            reaped = os.waitpid(pid, flags)[0]
        except ChildProcessError:  # somebody else reaped it
            reaped = pid
        if not reaped:
            return
        if (pidfd := self._pidfds.pop(pid, -1)) >= 0:
            if self._loop:
                self._loop.unwatch(pidfd)
            os.close(pidfd)
        if self.active_children is not None and pid in self.active_children:
            self.active_children.discard(pid)
            self._request_ended()

    def collect_children(self, *, blocking: bool = False) -> None:
        """Reap the children that have ended; with `blocking` wait for all of them. Nobody else's are touched."""
        for pid in list(self.active_children or ()):
            self._reap(pid, 0 if blocking else os.WNOHANG)

    def _wait_for_room(self) -> None:
        self.collect_children()
        while self.active_children and self._is_full():
            _wait_for_any(self.active_children)
            self.collect_children()

    @event_driven
    def handle_timeout(self) -> None:
        """Reap children."""
        self.collect_children()

    def _wait_for_requests(self) -> None:
        """Wait for the children when ``block_on_close`` is true."""
        self.collect_children(blocking=self.block_on_close)
        super()._wait_for_requests()


def _wait_for_any(pids: set[int]) -> None:
    """Block until one of `pids` has ended."""
    if not hasattr(os, "pidfd_open"):
        os.waitid(os.P_PID, next(iter(pids)), os.WEXITED | os.WNOWAIT)
        return
    poll = select.poll()
    with contextlib.ExitStack() as opened:
        for pid in pids:
            pidfd = os.pidfd_open(pid)
            opened.callback(os.close, pidfd)
            poll.register(pidfd, select.POLLIN)
        poll.poll()


def flush_std_streams() -> None:
    """Write what is buffered on standard output and error, as far as that is possible."""
    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105 - suppress() touches ten more pages in a child
            stream.flush()
        except (AttributeError, ValueError, OSError):
            pass


def end_child(status: int) -> NoReturn:
    """End a forked child."""
    try:
        flush_std_streams()
        if logging := sys.modules.get("logging"):
            logging.shutdown()
    finally:  # whatever a stream or a log handler raises
        os._exit(status)


def kill(pid: int, number: signal.Signals) -> None:
    """Send a signal to a child of ours that may have ended meanwhile."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
