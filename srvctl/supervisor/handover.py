"""Handover of a worker pool: what a new srvctl is told of it in an upgrade, and how that one takes it over.

Keys keep their names: the other program may be of another version.
"""

from __future__ import annotations

from srvctl.supervisor.rollout import Slot
from srvctl.supervisor.worker_process import WorkerProcess

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
    }


def adopt(pool: WorkerPool, loop: Loop, handed_over: dict[str, Any]) -> None:
    """Fill an empty pool with the workers that `describe` returned; `loop` watches them."""
    pool.restarts = handed_over["restarts"]
    pool.past_counters = handed_over.get("past_counters", {})  # srvctl 0.1 did not keep them
    for state in handed_over["workers"]:
        worker = WorkerProcess.adopt(state)
        worker.attach(loop, pool)
        if state["is_retiring"]:
            pool.retiring.await_exit(worker)
        else:
            slot = Slot(len(pool.slots))
            slot.worker = worker
            pool.slots.append(slot)
    while len(pool.slots) < handed_over["count"]:  # one had just died
        pool.slots.append(Slot(len(pool.slots)))
