"""Requests that child processes serve: which child has which, until it ends."""

from __future__ import annotations

from srvctl.serving.drain import Draining
from srvctl.socketserver.forking import ForkingMixIn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Base = ForkingMixIn
else:
    Base = object


class ChildServing(Draining, Base):
    """The parent keeps each request until the child that serves it has ended; `_by_pid` has the request of each."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._by_pid: dict[int, Any] = {}
        super().__init__(*args, **kwargs)

    def _child_started(self, pid: int, request: Any, client_address: Any) -> None:
        self.conversations[id(request)].pid = pid
        self._by_pid[pid] = request
        if pid not in self._pidfds:
            self._watch_child(pid)
