"""The call of the handler: in whatever thread or process that is, and what its exceptions mean."""

from __future__ import annotations

import contextlib
import os
import sys
from functools import partial

from srvctl.runtime import log
from srvctl.runtime.current import current
from srvctl.runtime.printed import end_lines, unfinished
from srvctl.runtime.unfinished import UNFINISHED, refuse_unfinished
from srvctl.serving.conversation import EXITED, FAILED, HANDLER_OUTCOME, RESET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from srvctl.serving.conversation import Conversation
    from srvctl.serving.establish import Establish

_SRVCTL = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# What a peer can bring about by going away, by keeping quiet, and, of datagrams, by not reading.
_PEERS_ERRORS = (ConnectionError, TimeoutError, BlockingIOError)

# One item for each fork between the process that imported this module and this one; no code of ours counts them, since
# what a child runs costs it pages (`srvctl.serving.fork_pool`).
_forks: list[None] = []
os.register_at_fork(after_in_child=partial(_forks.append, None))


class Handling:
    """Establish a connection and have `handler`, a class or function of the user's, serve it."""

    def __init__(self, handler: Callable[[Any, Any, Any], Any], server: Any, establish: Establish | None) -> None:
        self._handler, self.server, self.establish = handler, server, establish
        self._fork_depth = 0
        self.adopt_process()

    def adopt_process(self) -> None:
        """Make this process the one that serves: one that a handler forks from it must not come back from `run`."""
        self._fork_depth = len(_forks)

    def run(self, conversation: Conversation) -> None:
        """Serve a conversation; blocks until the handler has returned. Raises nothing: the meter says how it ended."""
        current.set(conversation)
        try:
            if self.establish is None or self.establish.run(conversation):
                result = self._handler(conversation.request, conversation.peer, self.server)
                if type(result) in UNFINISHED:
                    refuse_unfinished(result)
        except Exception as error:
            self.on_error(conversation, error)
        except BaseException:  # SystemExit, KeyboardInterrupt: the handler's word on this conversation, and no more
            conversation.meter[HANDLER_OUTCOME] = EXITED
        finally:
            if unfinished:
                end_lines()
            current.set(None)
            if len(_forks) != self._fork_depth:
                _exit_stray_child()

    def on_error(self, conversation: Conversation, error: BaseException) -> None:
        """Note on the meter of a conversation what its handler has raised, and report that."""
        conversation.meter[HANDLER_OUTCOME] = RESET if _is_peers(error) else FAILED
        self.report(conversation, error)

    def report(self, conversation: Conversation, error: BaseException) -> None:
        """Report the exception of a handler. Raises nothing."""
        log_error(conversation.name, error, is_expected=bool(conversation.outcome))


def _is_peers(error: BaseException) -> bool:
    if isinstance(error, _PEERS_ERRORS):
        return not isinstance(error, ConnectionRefusedError)
    ssl = sys.modules.get("ssl")  # of a peer that speaks no TLS, or breaks off
    return ssl is not None and isinstance(error, ssl.SSLError)


def log_error(peer: str, error: BaseException, *, is_expected: bool = False) -> None:
    """Log what a handler has raised; what a peer can bring about, and what `is_expected`, only for those who debug."""
    try:
        if _is_peers(error) or is_expected:
            log.peer_failed(peer, error)
        else:
            log.handler_failed(peer, error, _SRVCTL)
    except BaseException as another:  # the error is an object of the handler's: its text may raise anything
        text = f"{type(error).__name__}, whose text raises {type(another).__name__}"
        log.handler_failed(peer, RuntimeError(text), _SRVCTL)


def _exit_stray_child() -> NoReturn:
    """End a process that a handler forked and that came back from it: the server is its parent's."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.flush()
    os._exit(0)
