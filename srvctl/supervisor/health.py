"""Health checks of workers: that they load in time and send heartbeats; systemd's watchdog is notified while they do.

A worker sends heartbeats from its loop, so they stop when its interpreter does not run. Without a limit to check there
are none, and an idle server makes no system call.
"""

from __future__ import annotations

from time import monotonic

from srvctl.config.settings import Settings
from srvctl.runtime import log
from srvctl.runtime.loop import Loop
from srvctl.supervisor import deadline
from srvctl.supervisor.worker_pool import WorkerPool
from srvctl.supervisor.worker_process import WorkerProcess
from srvctl.systemd import protocol as systemd

# How long a worker that is to be killed has to write its stacks.
LAST_STACKS_SECONDS = 0.3


class HealthMonitor:
    """Check the workers of a pool, which are to send a heartbeat each `heartbeat_seconds`, or none if that is 0."""

    def __init__(self, loop: Loop, pool: WorkerPool, settings: Settings) -> None:
        self._loop, self._pool = loop, pool
        self._hang_timeout, self._start_timeout = settings.hang_timeout, settings.start_timeout
        self._watchdog = systemd.watchdog_seconds()
        limits = [limit for limit in (self._hang_timeout, self._watchdog) if limit]
        self.heartbeat_seconds = min(limits) / 4 if limits else 0.0

    def begin(self) -> None:
        """Begin to check, in the loop; called when the first workers serve."""
        if self._watchdog:
            self._ping_watchdog()
        if self._hang_timeout:
            self._check_heartbeats()

    def limit_loading(self, worker: WorkerProcess) -> None:
        """Kill a worker that was just started if it is not ready in time."""
        if self._start_timeout:
            why = f"it has not loaded within {self._start_timeout:g} s"
            worker.limit_loading(self._start_timeout, lambda: self.kill(worker, why))

    def _ping_watchdog(self) -> None:
        """Notify the watchdog if all is well: sd_watchdog_enabled(3) recommends half of its time."""
        now = monotonic()
        is_well = all(now - worker.last_message_at <= self._watchdog / 2 for worker in self._pool.serving)
        if is_well:
            systemd.notify("WATCHDOG=1")
        # A worker that is only late has the rest of the time: after another half it would be over.
        self._loop.call_at(now + self._watchdog / (2 if is_well else 8), self._ping_watchdog)

    def _check_heartbeats(self) -> None:
        now = monotonic()
        for worker in self._pool.serving:
            if (silence := now - worker.last_message_at) > self._hang_timeout:
                self.kill(worker, f"it has not answered for {silence:.1f} s")
        deadline.call_at(self._loop, now + self._hang_timeout / 4, self._check_heartbeats)

    def kill(self, worker: WorkerProcess, why: str, after_seconds: float = LAST_STACKS_SECONDS) -> None:
        """Have a worker log its stacks, then kill it, `after_seconds` later."""
        if worker.kill_reason:
            return
        worker.kill_reason = why
        worker.ask_for_last_stacks()
        log.worker_killed(worker.pid, why)
        self._loop.call_at(monotonic() + after_seconds, worker.kill)
