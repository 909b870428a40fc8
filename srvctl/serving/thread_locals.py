"""Thread locals of handlers: a thread of the pool that has some is not used for another client.

Under the server of the standard library each connection has a thread of its own, so what a handler keeps in
`threading.local` is gone with its client. A pool would show it to the next one. Python has no way to clear it, and a
thread for each connection costs a tenth of a millisecond: so only a thread in which a local was used is replaced.
"""

from __future__ import annotations

import threading
from _thread import get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_threads_with_locals: set[int] = set()


class TrackedLocal(threading.local):
    """A `threading.local` that notes in which threads it has been used: its constructor runs once in each."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        constructor: Any = vars(cls).get("__init__")
        if constructor is not None:

            def init(self: Any, *args: Any, **kwargs: Any) -> None:
                _threads_with_locals.add(get_ident())
                constructor(self, *args, **kwargs)

            cls.__init__ = init  # type: ignore[method-assign]

    def __init__(self) -> None:
        _threads_with_locals.add(get_ident())


def track() -> None:
    """Have `threading.local` be tracked for whatever is imported from now on."""
    threading.local = TrackedLocal


def has_locals() -> bool:
    """Tell whether the current thread has used a local since it began, or since the last call."""
    ident = get_ident()
    if ident not in _threads_with_locals:
        return False
    _threads_with_locals.discard(ident)
    return True


# For a path that is taken with each request: whether any thread has.
threads_with_locals = _threads_with_locals
