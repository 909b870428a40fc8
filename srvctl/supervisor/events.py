"""Events inside a supervisor: what the owner of a worker, of a pool and of a service implements to be notified.

Notifications run up, from worker to pool to service to supervisor, all in the thread of the loop; calls run down.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from srvctl.errors import LaunchError
    from srvctl.supervisor.service import Service
    from srvctl.supervisor.worker_process import WorkerProcess
    from srvctl.worker.protocol import FromWorker

    class WorkerEvents(Protocol):
        """What the owner of a worker implements."""

        def handle_message(self, worker: WorkerProcess, message: FromWorker) -> None:
            """A message came; what it carries has been kept on the worker."""

        def handle_exit(self, worker: WorkerProcess, exit_reason: str) -> None:
            """The process has ended and was reaped; its descriptors are closed."""

    class PoolEvents(Protocol):
        """What the owner of a pool implements."""

        def on_started(self, worker: WorkerProcess) -> None:
            """A worker was started, and loads."""

        def on_serving(self, info: dict[str, Any]) -> None:
            """The first workers are ready and serve; `info` is how one of them describes itself."""

        def on_first_failure(self, worker: WorkerProcess | None, reason: str) -> None:
            """A worker of the start never became ready; None if it could not be started."""

        def on_reloaded(self, failure: str) -> None:
            """A reload is over: the workers are new, or, with the reason of a failure, the old ones go on."""

        def on_death(self, worker: WorkerProcess) -> bool:
            """A worker that served has died; return whether to replace it."""

        def on_crash_loop(self, reason: str) -> None:
            """No worker serves, and as many starts in a row as are allowed have failed, the last one for `reason`."""

        def on_drained(self, worker: WorkerProcess) -> None:
            """A worker that was told to stop has ended."""

        def on_all_exited(self) -> None:
            """The last worker of a drain has ended."""

        def on_message(self, worker: WorkerProcess, message: FromWorker) -> None:
            """A worker sent a message, other than those about its life."""

    class ServiceEvents(Protocol):
        """What the owner of a service implements."""

        def on_serving(self, service: Service, info: dict[str, Any]) -> None:
            """The first workers serve; `info` is how one of them describes itself."""

        def on_failed(self, service: Service, error: LaunchError) -> None:
            """The service cannot start, or cannot go on."""

        def on_reloaded(self, service: Service, failure: str) -> None:
            """A reload is over, and no other one waits; `failure` says why the old workers go on."""

        def on_stats(self, service: Service) -> None:
            """A worker sent new stats."""

        def on_stopped(self, service: Service) -> None:
            """The last worker of a drain has ended."""
