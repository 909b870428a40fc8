"""Limit sharing: how the workers of a pool divide ``--max-connections`` among them.

Each has a share, and counts for itself. While workers are replaced, all count together, by `Places`: old and new ones
serve no more than the limit.
"""

from __future__ import annotations

from srvctl.worker.protocol import ToWorker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from srvctl.supervisor.places import Places
    from srvctl.supervisor.rollout import Slot
    from srvctl.supervisor.worker_process import WorkerProcess


class LimitSharing:
    """Tell workers what they may serve. Where each serves one at a time there are no `places`; nothing is shared."""

    def __init__(self) -> None:
        self.places: Places | None = None

    def begin(self, workers: Iterable[WorkerProcess]) -> set[WorkerProcess]:
        """Have all that serve count together what they serve; return those that have not answered yet.

        An older srvctl's workers cannot, and are not waited for.
        """
        asked = {
            worker for worker in workers if worker.is_in_service and worker.ledger.can_share and not worker.is_sharing
        }
        for worker in asked:
            worker.share_limit(is_shared=True)
        return asked

    def end(self, workers: Iterable[WorkerProcess]) -> None:
        """Have each of `workers` count for itself again, since there are no others."""
        for worker in workers:
            if worker.is_sharing:
                worker.share_limit(is_shared=False)

    def redistribute(self, slots: Sequence[Slot]) -> None:
        """Send each worker its share, after the number of slots has changed."""
        for slot in slots:
            for worker in (slot.worker, slot.successor):
                if worker:
                    worker.send(ToWorker.SET_LIMIT, index=slot.index, count=len(slots))
