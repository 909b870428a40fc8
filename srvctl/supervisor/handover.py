"""Handover of a worker pool: what a new srvctl is told of it in an upgrade, and how that one takes it over.

The keys of what is handed over keep their names: the other program may be of another version.
"""

from __future__ import annotations

import os
import socket

from srvctl.runtime.channel import Channel
from srvctl.supervisor.ledger import Ledger
from srvctl.supervisor.places import Places
from srvctl.supervisor.rollout import Slot
from srvctl.supervisor.worker_process import WorkerProcess
from srvctl.supervisor.worker_state import WorkerState
from srvctl.worker.protocol import FromWorker, from_0_1, to_0_1

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from srvctl.runtime.loop import Loop
    from srvctl.supervisor.worker_pool import WorkerPool


def describe(pool: WorkerPool) -> dict[str, Any]:
    """Return what `adopt` needs, in plain values; the descriptors of the workers stay open for the new program."""
    workers = [worker.hand_over() | {"is_retiring": worker in pool.retiring} for worker in pool if worker.is_in_service]
    return {
        "workers": workers,
        "count": len(pool.slots),
        "restarts": pool.restarts,
        "past_counters": pool.past_counters,
        "places": pool.limit.places.hand_over() if pool.limit.places else -1,
    }


def adopt_worker(handed_over: dict[str, Any], places: Places | None) -> WorkerProcess:
    """Return the worker that `WorkerProcess.hand_over` described; it serves, and shares `places` as before."""
    lifeline = handed_over.get("lifeline", -1)
    for fd in (handed_over["pidfd"], handed_over["stacks"], handed_over["channel"], lifeline):
        if fd >= 0:
            os.set_inheritable(fd, False)
    translation = () if "protocol" in handed_over else (to_0_1, from_0_1)
    channel = Channel(socket.socket(fileno=handed_over["channel"]), FromWorker, *translation)
    descriptors = handed_over["pidfd"], handed_over["stacks"], lifeline
    worker = WorkerProcess(handed_over["pid"], *descriptors, channel, WorkerState.SERVING)
    worker.ledger = Ledger.adopt(handed_over, places)
    worker.is_sharing = handed_over.get("is_sharing", False)
    worker.started_at = handed_over["began"]
    worker.info, worker.stats = handed_over["ready"], handed_over["figures"]
    return worker


def adopt(pool: WorkerPool, loop: Loop, handed_over: dict[str, Any]) -> None:
    """Fill an empty pool with the workers that `describe` returned; `loop` watches them."""
    pool.restarts = handed_over["restarts"]
    pool.past_counters = handed_over.get("past_counters", {})  # srvctl 0.1 did not keep them
    if (fd := handed_over.get("places", -1)) >= 0:
        pool.limit.places = Places.adopt(fd)
    for state in handed_over["workers"]:
        worker = adopt_worker(state, pool.limit.places)
        worker.attach(loop, pool)
        if state["is_retiring"]:
            pool.retiring.await_exit(worker)
        else:
            slot = Slot(len(pool.slots))
            slot.worker = worker
            pool.slots.append(slot)
    while len(pool.slots) < handed_over["count"]:  # one had just died
        pool.slots.append(Slot(len(pool.slots)))
