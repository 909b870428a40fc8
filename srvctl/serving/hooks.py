"""Hooks: a server that calls those hooks of `BaseServer` which a mix-in of the user's overrides.

Each stands where the original calls it. A hook that no class overrides is not called at all.
"""

from __future__ import annotations

import _thread
from time import monotonic

from srvctl.runtime import log
from srvctl.runtime.rate_limit import RateLimiter
from srvctl.serving.admission import rule
from srvctl.serving.closing import Closing
from srvctl.serving.conversation import METER_ITEMS, Conversation
from srvctl.serving.facade import BoundSocket, is_of_library
from srvctl.serving.handling import Handling
from srvctl.serving.server import Server
from srvctl.socketserver.accept_errors import RequestDeferred

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from srvctl.config.settings import Settings
    from srvctl.runtime.loop import Loop
    from srvctl.serving.admission import Check
    from srvctl.serving.establish import Establish, Step
    from srvctl.serving.facade import Facade
    from srvctl.serving.server import MakeExecutor, MakeSource
    from srvctl.serving.shared_limit import SharedLimit

# What `serve_forever` of the standard library has for its `poll_interval`.
POLL_SECONDS = 0.5


class HookedServer(Server):
    """A server that calls the hooks of its facade, of those classes that override them.

    `make_facade` is called with the server when its socket is known, and returns the object. `get_request` and
    `verify_request` are called by one thread at a time, as by the server of the standard library; with ``--threads``
    the others in the thread of the request.
    """

    def __init__(
        self,
        make_facade: Callable[[HookedServer, Any], Facade],
        settings: Settings,
        handler: Callable[[Any, Any, Any], Any],
        make_source: MakeSource,
        make_executor: MakeExecutor,
        limit: int,
        name: str = "Server",
        steps: Sequence[Step] = (),
        shared_limit: SharedLimit | None = None,
    ) -> None:
        self._make_facade = make_facade
        self._one_at_a_time = _thread.RLock()
        self._accepted: dict[int, Conversation] = {}  # by thread: what its `get_request` has accepted
        self._accepted_before = 0
        self._get_request_rate = RateLimiter()
        super().__init__(settings, handler, make_source, make_executor, limit, name, steps, shared_limit)
        user_classes = [c.__name__ for c in type(self._facade).__mro__ if not is_of_library(c) and c is not object]
        self.name = " -> ".join([*user_classes, name])
        if self.overrides("process_request"):
            self.acceptor.run = self._process

    # --- the parts, with their hooks

    @property
    def facade(self) -> Facade:
        """The object of the user's classes."""
        return self._facade

    def _make_ends(
        self, handler: Callable[[Any, Any, Any], Any], establish: Establish | None
    ) -> tuple[Closing, Handling]:
        self.served_socket = BoundSocket(self, self.socket)
        self._facade = self._make_facade(self, handler)
        self._source_accept = self.source.accept
        if self.overrides("get_request"):
            self.source.accept = self._get_request  # type: ignore[method-assign]
            self.can_pass_connections = False  # it may put another object in place of one, such as an `SSLSocket`
        ends = self.overrides("shutdown_request") or self.overrides("close_request")
        closing = HookedClosing(self) if ends else Closing(self.table, self.counters)
        handling = HookedHandling if self.overrides("handle_error") else Handling
        return closing, handling(self._finish_or_handler(), self._facade, establish)

    def _finish_or_handler(self) -> Callable[[Any, Any, Any], Any]:
        if not self.overrides("finish_request"):
            return self._facade.RequestHandlerClass
        finish = self._facade.finish_request
        return lambda request, client_address, server: finish(request, client_address)

    def _checks(self) -> list[Check]:
        checks = super()._checks()
        return [rule(self._verify), *checks] if self.overrides("verify_request") else checks

    def overrides(self, hook: str) -> bool:
        """Tell whether a class of the user's overrides `hook`."""
        return not is_of_library(getattr(type(self._facade), hook))

    # --- life

    def _begin(self, loop: Loop) -> None:
        if self.overrides("service_actions"):
            self._after_turn = self._act
            self._tick(loop)
        if self._facade.timeout is not None and self.overrides("handle_timeout"):
            loop.call_at(monotonic() + self._facade.timeout, lambda: self._look_for_idleness(loop))

    def _tick(self, loop: Loop) -> None:
        loop.call_at(monotonic() + POLL_SECONDS, lambda: self._tick(loop))

    def _act(self) -> None:
        self._call_safely(self._facade.service_actions)

    def _look_for_idleness(self, loop: Loop) -> None:
        timeout = self._facade.timeout
        if timeout is None:
            return
        if self.acceptor.accepted == self._accepted_before and not self.draining:
            self._call_safely(self._facade.handle_timeout)
        self._accepted_before = self.acceptor.accepted
        loop.call_at(monotonic() + timeout, lambda: self._look_for_idleness(loop))

    def server_close(self) -> None:
        super().server_close()
        if self.overrides("server_close"):
            self._call_safely(self._facade.server_close)

    def _call_safely(self, hook: Callable[..., Any], *args: Any) -> None:
        try:
            hook(*args)
        except BaseException as error:
            log.hook_failed(getattr(hook, "__name__", "hook"), error)

    # --- what the hooks do, and how they are called

    def accept(self) -> tuple[Any, Any]:
        """Accept a request for a `get_request` of the user's; what that returns in its place is served."""
        try:
            conversation = self._source_accept()
        except OSError as error:
            error.is_of_accept = True  # type: ignore[attr-defined]
            raise
        self._accepted[_thread.get_ident()] = conversation
        return conversation.request, conversation.peer

    def _get_request(self) -> Conversation:
        """Return the conversation that `get_request` has for us. Any error of the user's code ends that request."""
        with self._one_at_a_time:
            try:
                request, client_address = self._facade.get_request()
            except BaseException as error:
                refused = self._accepted.pop(_thread.get_ident(), None)
                if isinstance(error, BlockingIOError) or getattr(error, "is_of_accept", False):
                    raise
                if (suppressed := self._get_request_rate.allow()) is not None:
                    log.hook_failed("get_request", error, suppressed)  # a peer may bring it about as it likes
                if refused is not None and refused.connection is not None:
                    refused.connection.close()
                raise ConnectionAbortedError("get_request failed") from error
            accepted = self._accepted.pop(_thread.get_ident(), None)
        return _conversation_with(accepted, request, client_address)

    def _verify(self, request: Any, client_address: Any) -> bool:
        with self._one_at_a_time:
            return self._facade.verify_request(request, client_address)

    def _process(self, conversation: Conversation) -> None:
        try:
            self._facade.process_request(conversation.request, conversation.peer)
        except RequestDeferred:
            raise
        except BaseException as error:
            self.handling.on_error(conversation, error)
            self.closing.end(conversation)

    def execute(self, request: Any) -> None:
        """Serve a request as the model says. Raises `RequestDeferred`."""
        if conversation := self._conversation_of(request):
            self.executor.run(conversation)

    def end(self, request: Any) -> None:
        """End the conversation of a request; nothing happens when it has ended."""
        if conversation := self._conversation_of(request):
            Closing.end(self.closing, conversation)

    def _conversation_of(self, request: Any) -> Conversation | None:
        for conversation in self.table.snapshot():
            if conversation.serves(request):
                return conversation
        return None


def _conversation_with(accepted: Any, request: Any, client_address: Any) -> Conversation:
    """Return what was accepted as the conversation about `request`, or one that has no connection of ours below it."""
    if accepted is None:
        accepted = Conversation(request, client_address, [0] * METER_ITEMS)
        if not hasattr(request, "shutdown"):  # a row of a table, say
            accepted.connection = None
    elif accepted.request is not request:
        accepted.replace(request)
    accepted.peer = client_address
    return accepted  # type: ignore[no-any-return]


class HookedHandling(Handling):
    """Give the exception of a handler to `handle_error`."""

    def report(self, conversation: Conversation, error: BaseException) -> None:
        try:
            self.server.handle_error(conversation.request, conversation.peer)
        except BaseException as another:
            log.hook_failed("handle_error", another)


class HookedClosing(Closing):
    """End a conversation by `shutdown_request` and `close_request`."""

    def __init__(self, server: HookedServer) -> None:
        super().__init__(server.table, server.counters)
        self._server = server
        self._ending: set[int] = set()

    def end(self, conversation: Conversation, *, lingers: bool = True) -> None:
        number = id(conversation)
        if number in self._table and number not in self._ending:
            self._ending.add(number)
            try:
                self._server.facade.shutdown_request(conversation.request)
            except BaseException as error:
                log.hook_failed("shutdown_request", error)
            finally:
                self._ending.discard(number)
        super().end(conversation, lingers=lingers)
