"""`BaseServer`: get a request, verify it, process it, for ever; whatever a request is.

Nothing in here knows of sockets. A request comes from `get_request`, which a subclass supplies: a socket
that accepts, a table whose rows are work to be done. What a subclass, a handler or a rule raises ends that
request and never the loop.
"""

from __future__ import annotations

import _thread
import select
from collections import deque
from time import monotonic

from srvctl.runtime.error_text import describe
from srvctl.runtime.lifecycle import Event, Lifecycle, LifecycleError, State
from srvctl.runtime.loop import Loop
from srvctl.runtime.rate_limit import RateLimiter
from srvctl.socketserver.accept_errors import PAUSE_SECONDS, RequestDeferred
from srvctl.socketserver.request_hooks import RequestHooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, Self, TypeVar

    from srvctl.socketserver.protocols import Handler

    F = TypeVar("F", bound=Callable[..., Any])

# So many requests are taken in one turn of the loop before timers and other descriptors get theirs.
BATCH = 64


def event_driven(method: F) -> F:
    """Mark a hook of our own that the loop need not call in vain, and `get_request`s that never block.

    The original calls ``service_actions`` every ``poll_interval``, and a program's own one still is. Ours do
    nothing by the clock, and an idle server is to make no system call.
    """
    method.event_driven = True  # type: ignore[attr-defined]
    return method


def _is_overridden(server: BaseServer, hook: str) -> bool:
    return not hasattr(getattr(type(server), hook), "event_driven")


class BaseServer(RequestHooks):
    """Serve requests, one way or another.

    For the caller: `serve_forever`, `handle_request`, `shutdown`, `server_close`, `stop`, and the server as a
    context manager. To be supplied: `get_request`, and ``fileno()`` where a descriptor tells that a request is
    there. May be overridden: `server_activate`, `verify_request`, `process_request`, `finish_request`,
    `shutdown_request`, `close_request`, `handle_error`, `handle_timeout`, `service_actions`.

    ``timeout``, in seconds, is how long `handle_request` waits before it calls `handle_timeout`; `serve_forever`
    calls that too, after so long without a request, when it has been overridden.
    """

    timeout: float | None = None
    state: Any = None  # for handlers; srvctl(1) puts there what `service_start` returned

    def __init__(self, server_address: Any, RequestHandlerClass: Handler) -> None:
        """Keep the address and the handler; extend, do not override."""
        self.server_address = server_address
        self.RequestHandlerClass = RequestHandlerClass
        self._life = Lifecycle()
        self._loop: Loop | None = None
        self._serving = _thread.allocate_lock()  # held while serve_forever runs: what shutdown() waits for
        self._serving_thread = 0
        self._pause_reasons: set[str] = set()  # why no requests are taken at the moment
        self._pending: deque[tuple[Any, Any]] = deque()  # taken, but not started yet
        self._accept_rate, self._start_rate = RateLimiter(), RateLimiter()
        self._last_request: float | None = None  # when it was, if anybody wants to know
        self._accepted = 0  # how many there were

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, frames: TracebackType | None) -> None:
        self.server_close()

    # --- life

    @property
    def draining(self) -> bool:
        """Whether the server was asked to stop: no new requests come, and those that run should come to an end."""
        return self._life.state in (State.DRAINING, State.STOPPED)

    def server_activate(self) -> None:
        """Make the server ready for requests; called by constructors. Does nothing here."""

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Handle requests until `shutdown`; blocks.

        Nothing is polled. ``poll_interval``, in seconds, is how often a ``service_actions`` that a program
        overrode is called, and how long a server that has no ``fileno()`` waits when there was no request.
        """
        with self._serving, Loop() as loop:
            self._loop, self._serving_thread = loop, _thread.get_ident()
            try:
                try:
                    self._revive()
                    self._life.on(Event.SERVE)
                except LifecycleError:  # asked to stop before it began
                    return
                self._serve(loop, poll_interval)
            finally:
                self._loop, self._serving_thread = None, 0
                self._pause_reasons.clear()
                if self._life.allows(Event.REST):
                    self._life.on(Event.REST)

    def _revive(self) -> None:
        """Begin another life if the server was closed and has a source again: the original has no life that ends."""

    def shutdown(self) -> None:
        """End `serve_forever` and wait until it has returned; one that has not begun will return at once.

        May be called at any time and from anywhere. Where waiting would be for itself (from a handler of a
        server without concurrency, from a signal handler) it only asks.
        """
        if self._life.allows(Event.DRAIN):
            self._life.on(Event.DRAIN)
        if loop := self._loop:
            loop.stop()
        if loop and self._serving_thread != _thread.get_ident():
            with self._serving:
                pass

    def stop(self) -> None:
        """End `serve_forever`, wait for what runs, and close: `shutdown` and `server_close` in one."""
        self.shutdown()
        self.server_close()

    def server_close(self) -> None:
        """Close the server, and wait for what runs; the last thing in its life. Closing twice is not an error."""
        if loop := self._loop:  # first, so that nobody takes the closed source for a fault
            loop.stop()
        self._close_source()
        self._end_pending()
        self._wait_for_requests()
        self._life.on(Event.STOP)

    def _close_source(self) -> None:
        """Close what requests come from."""
        if self._life.allows(Event.DRAIN):
            self._life.on(Event.DRAIN)

    def _wait_for_requests(self) -> None:
        """Wait for the requests that still run; the mix-ins know of some."""

    def _serve(self, loop: Loop, poll_interval: float) -> None:
        if self._fileno() >= 0:
            self._watch_source(loop)
        else:
            loop.call_soon(lambda: self._look_for_request(loop, poll_interval))
        if _is_overridden(self, "service_actions"):
            self._tick(loop, poll_interval)
        if self.timeout is not None and _is_overridden(self, "handle_timeout"):
            self._last_request = monotonic()
            self._watch_for_idleness(loop, self.timeout)
        if self._pending:
            loop.call_soon(self._start_pending)
        self._pause_when_full()
        loop.run(self._after_turn if _is_overridden(self, "service_actions") else None)

    def _tick(self, loop: Loop, interval: float) -> None:
        loop.call_at(monotonic() + interval, lambda: self._tick(loop, interval))

    def _after_turn(self) -> None:
        self._call_safely(self.service_actions)

    def _watch_for_idleness(self, loop: Loop, timeout: float) -> None:
        # One timer that looks when the last request was: a timer for each request would be memory for each.
        if self._last_request is None or self._last_request + timeout <= monotonic():
            self._call_safely(self.handle_timeout)
            self._last_request = monotonic()
        loop.call_at(self._last_request + timeout, lambda: self._watch_for_idleness(loop, timeout))

    # --- where requests come from

    def get_request(self) -> tuple[Any, Any]:
        """Return the next request and where it comes from. To be supplied.

        Raise BlockingIOError when there is none now. `serve_forever` outlives anything else that is raised.
        """
        raise NotImplementedError(f"{type(self).__name__} has no get_request()")

    def _fileno(self) -> int:
        """Return the descriptor that is readable when a request is there, or -1 when there is no such thing."""
        fileno: Callable[[], int] | None = getattr(self, "fileno", None)
        return fileno() if fileno else -1

    def _watch_source(self, loop: Loop) -> None:
        """Have requests taken as they come, until `_unwatch_source`."""
        loop.watch(self._fileno(), self._on_readable)

    def _unwatch_source(self, loop: Loop) -> None:
        if (fd := self._fileno()) >= 0:
            loop.unwatch(fd)

    def _on_readable(self, events: int) -> None:
        batch = 1 if _is_overridden(self, "get_request") else BATCH
        for _ in range(batch):
            if not self._accept_one() or self._pause_reasons or self._stops():
                return

    def _look_for_request(self, loop: Loop, poll_interval: float) -> None:
        """Take requests from a source without a descriptor, and look again later when it has none."""
        found = not self._pause_reasons and self._accept_one()
        delay = 0.0 if found else poll_interval
        loop.call_at(monotonic() + delay, lambda: self._look_for_request(loop, poll_interval))

    def _stops(self) -> bool:
        return self._loop is None or self._loop.stopping

    def _accept_one(self) -> bool:
        """Handle a request if one is there, whatever it raises; return whether to look for another."""
        try:
            request, client_address = self.get_request()
        except BlockingIOError:
            return False
        except Exception as error:
            return self._on_request_error(error)
        self._accepted += 1
        if self._last_request is not None:
            self._last_request = monotonic()
        try:
            self._dispatch(request, client_address)
        except BaseException as error:
            self._contain(error)
        return True

    def _call_safely(self, action: Callable[..., None], *args: Any) -> None:
        """Call `action`, and go on whatever it raises, but for a person's Ctrl-C."""
        try:
            action(*args)
        except BaseException as error:
            self._contain(error)

    def _contain(self, error: BaseException) -> None:
        if isinstance(error, KeyboardInterrupt):
            raise error
        if isinstance(error, Exception):  # a hook of the program's own, such as a handle_error that raises
            self._warn(f"a hook raised {describe(error)}")
        # And a handler's SystemExit ends that request, as it does in a thread or a child.

    def _on_request_error(self, error: Exception) -> bool:
        """Outlive a `get_request` or a hook that raises; return whether to go on at once."""
        suppressed = self._accept_rate.allow()
        if suppressed is not None:
            self.accept_failed(error, suppressed, PAUSE_SECONDS)
        self._back_off("error")
        return False

    # --- the life of a request

    def handle_request(self) -> None:
        """Wait for one request and handle it; blocks, for ``timeout`` seconds at most.

        What a handler raises that is not an `Exception` (SystemExit) goes to the caller.
        """
        timeout = self._request_timeout()
        deadline = None if timeout is None else monotonic() + timeout
        self._wait_for_room()
        if self._fileno() < 0:
            self._handle_request_noblock()
            return
        poll = select.poll()
        poll.register(self._fileno(), select.POLLIN)
        while not poll.poll(None if deadline is None else max(0.0, deadline - monotonic()) * 1000):
            if deadline is not None and monotonic() >= deadline:
                self.handle_timeout()
                return
        self._handle_request_noblock()

    def _request_timeout(self) -> float | None:
        return self.timeout

    def _wait_for_room(self) -> None:
        """Block until one more request may be served at the same time."""

    def _handle_request_noblock(self) -> None:
        """Take one request and process it. What `get_request` raises that is not an OSError goes to the caller."""
        try:
            request, client_address = self.get_request()
        except OSError:
            return
        self._dispatch(request, client_address)

    # --- holding back

    def _pause_accepting(self, reason: str) -> None:
        """Have the loop leave new requests where they are until `_resume_accepting`d for the same reason."""
        if self._loop is None:
            return
        if not self._pause_reasons:
            self._unwatch_source(self._loop)
        self._pause_reasons.add(reason)

    def _resume_accepting(self, reason: str) -> None:
        if reason in self._pause_reasons:
            self._pause_reasons.discard(reason)
            self._start_pending()
            if not self._pause_reasons and self._loop and self._fileno() >= 0:
                self._watch_source(self._loop)

    def _is_full(self) -> bool:
        """Return whether no more requests may be served at the same time; the mix-ins know of some."""
        return False

    def _pause_when_full(self) -> None:
        if self._is_full():
            self._pause_accepting("full")
            if not self._is_full():  # one ended between the two
                self._resume_accepting("full")

    def _back_off(self, reason: str) -> None:
        if self._loop and reason not in self._pause_reasons:
            self._pause_accepting(reason)
            self._loop.call_at(monotonic() + PAUSE_SECONDS, lambda: self._resume_accepting(reason))

    def _defer(self, request: Any, client_address: Any, error: RequestDeferred) -> None:
        """Keep a request that the system has no process or thread for, and try again after a pause."""
        if self._loop is None:
            self.handle_error(request, client_address)
            self.shutdown_request(request)
            return
        self._pending.appendleft((request, client_address))
        suppressed = self._start_rate.allow()
        if suppressed is not None:
            self.start_failed(error.__cause__ or error, suppressed, PAUSE_SECONDS)
        self._back_off("start")

    def _start_pending(self) -> None:
        """Start the requests that wait, oldest first, as far as there is room."""
        while self._pending and not self._pause_reasons:
            self._call_safely(self._start, *self._pending.popleft())

    def _end_pending(self) -> None:
        """Try the requests that wait once more, when no loop will; those that still cannot start are ended."""
        while self._pending:
            self._wait_for_room()
            self._call_safely(self._start, *self._pending.popleft())

    def _release_in_child(self, request: Any) -> None:
        """Close what belongs to the parent alone; called first in a forked child, which serves `request`."""
        if self._loop:
            self._loop.release_in_child()
            self._loop = None

    def _request_ended(self) -> None:
        """Called in the loop's thread when a request ended: there is room again, and perhaps a descriptor."""
        if not self._pause_reasons:
            return
        for reason in ("error", "start"):
            self._resume_accepting(reason)
        if not self._is_full():  # others may have come since that one ended
            self._resume_accepting("full")


for _hook in (BaseServer.service_actions, BaseServer.handle_timeout, BaseServer.get_request):
    event_driven(_hook)
