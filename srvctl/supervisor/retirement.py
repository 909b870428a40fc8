"""Workers that retire: they drain, leave the backlog to the others, and are killed when they are late."""

from __future__ import annotations

from time import monotonic

from srvctl.runtime import log
from srvctl.supervisor import deadline
from srvctl.supervisor.worker_process import DISMISSAL_SECONDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from srvctl.runtime.loop import Loop
    from srvctl.supervisor.worker_process import WorkerProcess


class Retirement:
    """The set of these workers. Each may take `graceful_seconds`, and `grace_seconds` more before it is killed."""

    def __init__(self, loop: Loop, graceful_seconds: float, grace_seconds: float) -> None:
        self._loop = loop
        self._graceful_seconds, self._grace_seconds = graceful_seconds, grace_seconds
        self._workers: set[WorkerProcess] = set()

    def __iter__(self) -> Iterator[WorkerProcess]:
        return iter(self._workers)

    def __contains__(self, worker: WorkerProcess) -> bool:
        return worker in self._workers

    def retire(self, worker: WorkerProcess) -> None:
        """Drain a worker that serves; kill it when it is late."""
        worker.drain(self._graceful_seconds, keep_queue=True)
        self.await_exit(worker)

    def await_exit(self, worker: WorkerProcess) -> None:
        """Kill a worker that drains already when it is late."""
        self._workers.add(worker)
        due = monotonic() + self._graceful_seconds + self._grace_seconds
        deadline.call_at(self._loop, due, lambda: self._kill_late(worker))

    def dismiss(self, worker: WorkerProcess) -> None:
        """End a worker that has not served; its exit comes next."""
        self._workers.add(worker)
        worker.dismiss()
        deadline.call_at(self._loop, monotonic() + DISMISSAL_SECONDS, lambda: self._kill_late(worker))

    def discard(self, worker: WorkerProcess) -> None:
        """Forget a worker, which has ended."""
        self._workers.discard(worker)

    def _kill_late(self, worker: WorkerProcess) -> None:
        if worker in self._workers:
            log.worker_killed(worker.pid, "it did not stop by its deadline")
            worker.kill()
