"""States of a worker as its supervisor sees it, and the transitions between them.

::

                 configure         ready         serve            drain             drained
      STARTED ------------> LOADING -----> READY -----> SERVING -------> DRAINING -----------> DRAINED
         |                     |             |             |                 |                    |
         +-------- exit -------+---- exit ---+---- exit ---+------ exit -----+------- exit --------+--> EXITED

A worker that failed to load, crashed or was killed goes from any state to EXITED.
"""

from __future__ import annotations

from enum import Enum

from srvctl.runtime.lifecycle import LifecycleError


class WorkerState(Enum):
    """Where a worker is in its life."""

    STARTED = "started"  # its interpreter imports what every worker needs
    LOADING = "loading"
    READY = "ready"
    SERVING = "serving"
    DRAINING = "draining"
    DRAINED = "drained"
    EXITED = "exited"


class WorkerEvent(Enum):
    """What can happen to a worker."""

    CONFIGURE = "configure"  # it was sent its setup
    READY = "become ready"  # it has loaded the handler
    SERVE = "serve"  # it was told to accept
    DRAIN = "drain"  # it was told to stop; twice when the server stops while it retires
    DRAINED = "finish draining"  # it reported that it is done
    EXIT = "exit"  # the process has ended


TRANSITIONS: dict[tuple[WorkerState, WorkerEvent], WorkerState] = {
    (WorkerState.STARTED, WorkerEvent.CONFIGURE): WorkerState.LOADING,
    (WorkerState.LOADING, WorkerEvent.READY): WorkerState.READY,
    (WorkerState.READY, WorkerEvent.SERVE): WorkerState.SERVING,
    (WorkerState.SERVING, WorkerEvent.DRAIN): WorkerState.DRAINING,
    (WorkerState.SERVING, WorkerEvent.DRAINED): WorkerState.DRAINED,  # its handler shut the server down
    (WorkerState.DRAINING, WorkerEvent.DRAIN): WorkerState.DRAINING,
    (WorkerState.DRAINING, WorkerEvent.DRAINED): WorkerState.DRAINED,
    (WorkerState.DRAINED, WorkerEvent.DRAIN): WorkerState.DRAINED,
    **{(state, WorkerEvent.EXIT): WorkerState.EXITED for state in WorkerState if state is not WorkerState.EXITED},
}


def next_state(state: WorkerState, event: WorkerEvent) -> WorkerState:
    """Return the state after `event`. Raises `LifecycleError` when `event` has no place in `state`."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise LifecycleError(f"a worker that is {state.value} cannot {event.value}") from None
