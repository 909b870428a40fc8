"""Context variable: the conversation that the running code serves, which the log and handlers ask for.

Also the identifiers of conversations, each of them different from all others, of other workers and other starts too.
"""

from __future__ import annotations

import os
import time
from _contextvars import ContextVar
from itertools import count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Marked(Protocol):
        """What marks a line of the log: the peer, and the identifier of the conversation."""

        @property
        def name(self) -> str: ...

        @property
        def id(self) -> str: ...


# None outside of a conversation. Whoever sets it for a handler sets None when that has returned.
current: ContextVar[Marked | None] = ContextVar("srvctl_conversation", default=None)

_START = f"{time.time_ns() // 1_000_000:x}-"
# No other process has this process id at this time. A forked child keeps the prefix of the worker: the conversation has
# one identifier in both.
ID_PREFIX = f"{_START}{os.getpid():x}-"
numbers = count(1)  # behind the prefix


def new_id() -> str:
    """Return an identifier for what is served without a worker, in this process or in one that was forked from it."""
    return f"{_START}{os.getpid():x}-{next(numbers):x}"


def id_field() -> dict[str, str]:
    """Return the identifier of the current conversation as a field of the log; none outside of one."""
    conversation = current.get()
    return {} if conversation is None else {"id": conversation.id}


def fields() -> dict[str, str]:
    """Return the peer and the identifier of the current conversation as fields of the log; none outside of one."""
    conversation = current.get()
    return {} if conversation is None else {"peer": conversation.name, "id": conversation.id}
