"""The life of a server: its states, the events between them, and nothing else.

::

              bind          serve           drain           stop
      NEW ---------> BOUND --------> SERVING ------> DRAINING ------> STOPPED
       |               |                |               |
       +---- fail -----+----- fail -----+----- fail ----+-----------> FAILED

The supervisor, a worker and a server object of `srvctl.socketserver` each own one `Lifecycle`. An
event that has no place in the current state raises `LifecycleError` and changes nothing.
"""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """Where a server is in its life."""

    NEW = "new"
    BOUND = "bound"
    SERVING = "serving"
    DRAINING = "draining"
    STOPPED = "stopped"
    FAILED = "failed"


class Event(Enum):
    """What can happen to a server."""

    BIND = "bind"  # it has what requests come from
    SERVE = "serve"  # it takes requests: listening, and the handler is loaded
    DRAIN = "drain"  # it was asked to stop: no new requests, what runs is finished
    HURRY = "hurry"  # it was asked again: the deadline is now
    REST = "rest"  # the loop ended and the server can serve again (a program's own server only)
    STOP = "stop"  # nothing runs any more, everything is closed
    FAIL = "fail"  # it can't go on


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.NEW, Event.BIND): State.BOUND,
    (State.NEW, Event.SERVE): State.SERVING,  # a program that bound its server by hand
    (State.NEW, Event.DRAIN): State.DRAINING,  # asked to stop before it served: it never will
    (State.NEW, Event.STOP): State.STOPPED,
    (State.NEW, Event.FAIL): State.FAILED,
    (State.BOUND, Event.SERVE): State.SERVING,
    (State.BOUND, Event.DRAIN): State.DRAINING,
    (State.BOUND, Event.STOP): State.STOPPED,
    (State.BOUND, Event.FAIL): State.FAILED,
    (State.SERVING, Event.DRAIN): State.DRAINING,
    (State.SERVING, Event.REST): State.BOUND,
    (State.SERVING, Event.STOP): State.STOPPED,
    (State.SERVING, Event.FAIL): State.FAILED,
    (State.DRAINING, Event.DRAIN): State.DRAINING,
    (State.DRAINING, Event.HURRY): State.DRAINING,
    (State.DRAINING, Event.REST): State.BOUND,
    (State.DRAINING, Event.STOP): State.STOPPED,
    (State.DRAINING, Event.FAIL): State.FAILED,
    (State.STOPPED, Event.STOP): State.STOPPED,  # closing twice is not an error
}


class LifecycleError(RuntimeError):
    """An event came that has no place in the state."""


class Lifecycle:
    """One server's place in the table.

    Owns nothing, never blocks. Not locked: the one assignment is atomic, and each server has one
    thread that raises its events, but for DRAIN, which is allowed twice.
    """

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state = State.NEW

    def __repr__(self) -> str:
        return f"<Lifecycle {self.state.value}>"

    def allows(self, event: Event) -> bool:
        """Tell whether `event` has a place in the current state."""
        return (self.state, event) in TRANSITIONS

    def on(self, event: Event) -> State:
        """Follow `event`; return the new state. Raises `LifecycleError`, and then nothing changed."""
        try:
            self.state = TRANSITIONS[self.state, event]
        except KeyError:
            raise LifecycleError(f"a server that is {self.state.value} cannot {event.value}") from None
        return self.state
