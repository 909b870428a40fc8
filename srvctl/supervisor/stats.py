"""Stats of all workers: their sum, and the report of the state in the log, on SIGUSR1."""

from __future__ import annotations

from time import monotonic

from srvctl.runtime import log
from srvctl.worker.protocol import ToWorker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from srvctl.runtime.loop import Loop, Timer
    from srvctl.supervisor.worker_process import WorkerProcess

# A worker that has not answered by then hangs, or has died: it is reported with the stats that it sent last.
REPORT_SECONDS = 1.0


# Stats that are no counters: they end with their worker.
_PRESENT = ("conversations",)


def total(stats: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the sum of the stats of several workers, by name."""
    result: dict[str, int] = {}
    for each in stats:
        for name, value in each.items():
            result[name] = result.get(name, 0) + value
    return result


def counters(stats: Mapping[str, int]) -> dict[str, int]:
    """Return what goes on counting when a worker has ended."""
    return {name: value for name, value in stats.items() if name not in _PRESENT}


class StateReport:
    """Ask all workers for their stats, and call `write` when they have answered, or after `REPORT_SECONDS`."""

    def __init__(self, loop: Loop, write: Callable[[], None]) -> None:
        self._loop, self._write = loop, write
        self._awaited: set[int] = set()
        self._timer: Timer | None = None

    def begin(self, workers: Iterable[WorkerProcess]) -> None:
        """Ask `workers`; a report that is under way becomes part of this one."""
        asked = [worker for worker in workers if worker.is_in_service]
        self._awaited = {worker.pid for worker in asked}
        for worker in asked:
            worker.send(ToWorker.REPORT)
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_at(monotonic() + REPORT_SECONDS, self._end)

    def handle_stats(self, worker: WorkerProcess) -> None:
        """Note that a worker has answered."""
        self._awaited.discard(worker.pid)
        if not self._awaited:
            self._end()

    def _end(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
            self._write()


def log_state(
    state: str, address: str, workers: Iterable[WorkerProcess], restarts: int, stats: Mapping[str, int]
) -> None:
    """Log the state of each worker, and that of the service with its `stats` in one line."""
    listed = list(workers)
    for worker in listed:
        log.worker_state(worker.pid, worker.age, worker.state.value, worker.stats)
    log.state(state=state, address=address, workers=len(listed), restarts=restarts, **stats)
