"""The table of conversations: each is entered when it is accepted and leaves with one line in the log."""

from __future__ import annotations

import _thread
import contextlib
import os
import sys
from functools import partial

from srvctl.net.address import format_sockaddr
from srvctl.runtime import log
from srvctl.runtime.loop import Loop
from srvctl.runtime.rate_limit import Throttle
from srvctl.serving.conversation import EXITED, FAILED, OUTCOME, OUTCOMES, RECEIVED, RESET, SENT, Conversation
from srvctl.serving.counters import Tally
from srvctl.socketserver.base import BaseServer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from srvctl.config.settings import Settings

    Base = BaseServer
else:
    Base = object

_SRVCTL = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# What a peer can bring about by going away, by keeping quiet, and, of datagrams, by not reading.
_PEERS_ERRORS = (ConnectionError, TimeoutError, BlockingIOError)

# One item for each fork between the process that imported this module and this one; no code of ours counts them, since
# what a child runs costs it pages (`srvctl.serving.fork`).
forks: list[None] = []
os.register_at_fork(after_in_child=partial(forks.append, None))


class Conversations(Base):
    """Keep the table and the counters, refuse who is too many, and catch what handlers and rules raise.

    `settings`, `most` (how many it may serve at a time), and `is_own` (whether the socket is srvctl's own, and its
    queue ours to empty) are class attributes that are set when the class is assembled. `on_loop` is called with the
    loop when that begins, `on_change` when a conversation has ended, in whatever thread that was.
    """

    settings: Settings
    most = 1
    is_own = True
    _begins_simply = False  # whether a request is begun by its entry in the table and nothing else; a model may know

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.conversations: dict[int, Conversation] = {}
        self.tally = Tally()
        self.on_loop: Callable[[Loop], None] = lambda loop: None
        self.on_change: Callable[[], None] | None = None
        self._on_end: Callable[[], None] | None = None  # while it drains
        self._refuses = self.settings.at_limit == "refuse"
        self._refused_throttle = Throttle()
        self._entering = _thread.RLock()
        self._settle()
        super().__init__(*args, **kwargs)

    def _settle(self) -> None:
        """Make this process the one that serves: one that a handler forks from it must not come back to the loop."""
        self._home = len(forks)

    def _end_stray(self) -> None:
        """End a process that a handler forked and that came back from it: the server is its parent's."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, ValueError, OSError):
                stream.flush()
        os._exit(0)

    def resize(self, most: int) -> None:
        """Serve at most `most` requests at the same time from now on; what runs goes on."""
        self.most = self.max_children = self.max_threads = most
        self._release("full")
        self._hold_when_full()

    def figures(self) -> dict[str, int]:
        """Return what there is to know of it in numbers."""
        return {"conversations": len(self.conversations)} | self.tally.figures()

    def _serve(self, loop: Loop, poll_interval: float) -> None:
        self.on_loop(loop)
        super()._serve(loop, poll_interval)

    def process_request(self, request: Any, client_address: Any) -> None:
        if id(request) not in self.conversations and not self._begin(request, client_address):
            return
        super().process_request(request, client_address)

    def _begin(self, request: Any, client_address: Any) -> bool:
        """Enter a request in the table, or refuse it."""
        conversation = self._conversation_with(request, client_address)
        if not self._refuses:
            self.conversations[id(request)] = conversation
        elif not self._enter(request, conversation):
            self._refuse(request, client_address, "limit")
            return False
        if log.wants(log.DEBUG):
            log.conversation_began(conversation.name)
        return True

    def _enter(self, request: Any, conversation: Conversation) -> bool:
        """Enter a conversation in the table if there is room."""
        with self._entering:
            if len(self.conversations) >= self.most and not self.draining:
                return False
            self.conversations[id(request)] = conversation
            return True

    def _conversation_with(self, request: Any, client_address: Any) -> Conversation:
        raise NotImplementedError

    def _refuse(self, request: Any, client_address: Any, reason: str) -> None:
        self.tally.add("refused")
        if (suppressed := self._refused_throttle.admit()) >= 0:
            log.refused(reason, format_sockaddr(client_address), suppressed)
        self.close_request(request)

    def finish_request(self, request: Any, client_address: Any) -> None:
        try:
            self.RequestHandlerClass(request, client_address, self)
        except Exception:
            raise
        except BaseException:  # SystemExit, KeyboardInterrupt: the handler's word on this conversation, and no more
            self.conversations[id(request)].meter[OUTCOME] = EXITED
        finally:
            if len(forks) != self._home:
                self._end_stray()

    def shutdown_request(self, request: Any) -> None:
        self._end(request)
        super().shutdown_request(request)

    def _end(self, request: Any) -> None:
        conversation = self.conversations.pop(id(request), None)
        if conversation is None:
            return
        meter = conversation.meter
        how = conversation.how or OUTCOMES[meter[OUTCOME]]
        self.tally.end(how, meter)
        if self.on_change:
            self.on_change()
        if self._on_end:
            self._on_end()
        if log.wants(log.INFO):
            self._log_end(conversation, how)

    def _log_end(self, conversation: Conversation, how: str) -> None:
        """Log the end of a conversation, unless it was logged when it was cut."""
        if how != "cut":
            meter, is_datagram = conversation.meter, conversation.connection is None
            log.conversation_ended(conversation.name, conversation.age, meter[RECEIVED], meter[SENT], how, is_datagram)

    # --- faults, each caught here and nowhere else

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        assert error is not None
        conversation = self.conversations.get(id(request))
        is_peers = isinstance(error, _PEERS_ERRORS) and not isinstance(error, ConnectionRefusedError)
        if conversation:
            conversation.meter[OUTCOME] = RESET if is_peers else FAILED
        peer = conversation.name if conversation else format_sockaddr(client_address)
        if is_peers or (conversation and conversation.how):
            log.peer_failed(peer, error)
        else:
            log.handler_failed(peer, error, _SRVCTL)

    def handle_rule_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        assert error is not None
        self.tally.add("rejected")
        log.rule_failed(format_sockaddr(client_address), error)

    def accept_failed(self, error: Exception, suppressed: int, pause: float) -> None:
        log.accept_failed(error, suppressed, pause)

    def start_failed(self, error: BaseException, suppressed: int, pause: float) -> None:
        log.start_failed(error, suppressed, pause)

    def connection_lost(self, error: OSError) -> None:
        self.tally.add("lost")

    def _complain(self, what: str) -> None:
        log.hook_failed(what)

    def _hold(self, reason: str) -> None:
        if reason != "full" or not self._refuses or self.draining:
            super()._hold(reason)
