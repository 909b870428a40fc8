"""Health of workers: that they load in time, that they answer, and that systemd's watchdog hears it meanwhile.

A worker beats by itself, from its loop, in the interval that it is told; it does not when its interpreter does not run.
Where nobody asked for a limit nothing beats, and an idle server makes no system call.
"""

from __future__ import annotations

from time import monotonic

from srvctl.config.settings import Settings
from srvctl.runtime import log
from srvctl.runtime.loop import Loop
from srvctl.supervisor.worker_pool import WorkerPool
from srvctl.supervisor.worker_process import WorkerProcess
from srvctl.systemd import protocol as systemd

# Its stacks are asked for, and it is given so long to write them.
STACKS_SECONDS = 0.3


class HealthMonitor:
    """Look at the workers of a roster; `interval`, in seconds, is how often they are to beat, or 0 for not at all."""

    def __init__(self, loop: Loop, roster: WorkerPool, settings: Settings) -> None:
        self._loop, self._pool = loop, roster
        self._hang, self._start = settings.hang_timeout, settings.start_timeout
        self._watchdog = systemd.watchdog_seconds()
        limits = [limit for limit in (self._hang, self._watchdog) if limit]
        self.interval = min(limits) / 4 if limits else 0.0

    def begin(self) -> None:
        """Begin to look, in the loop."""
        if self._watchdog:
            self._feed()
        if self._hang:
            self._look()

    def started(self, worker: WorkerProcess) -> None:
        """Give a worker that was just started its time to load."""
        if self._start:
            worker.start_timer = self._loop.call_at(worker.began + self._start, lambda: self._end_slow(worker))

    def _end_slow(self, worker: WorkerProcess) -> None:
        if worker in self._pool and not worker.ready:
            self.end(worker, f"it has not loaded within {self._start:g} s")

    def _feed(self) -> None:
        """Tell the watchdog that all is well, if it is: sd_watchdog_enabled(3) recommends half of its time."""
        now = monotonic()
        is_well = all(now - worker.heard <= self._watchdog / 2 for worker in self._pool.serving)
        if is_well:
            systemd.notify("WATCHDOG=1")
        # A worker that was only late is given the rest of the time: after a whole half it would be over.
        self._loop.call_at(now + self._watchdog / (2 if is_well else 8), self._feed)

    def _look(self) -> None:
        now = monotonic()
        for worker in self._pool.serving:
            if now - worker.heard > self._hang:
                self.end(worker, f"it has not answered for {now - worker.heard:.1f} s")
        self._loop.call_at(now + self._hang / 4, self._look)

    def end(self, worker: WorkerProcess, why: str, last_words: float = STACKS_SECONDS) -> None:
        """Have a worker log its stacks, then kill it, `last_words` seconds later."""
        if worker.doom:
            return
        worker.doom = why
        worker.ask_for_last_stacks()
        log.worker_killed(worker.pid, why)
        self._loop.call_at(monotonic() + last_words, worker.kill_if_alive)
