"""Service: one listener, the workers that serve it, and their health.

It never imports the handler. The process around it, with its signals, is `srvctl.supervisor.supervisor`.
"""

from __future__ import annotations

import os
from time import monotonic

from srvctl.errors import ExitStatus, LaunchError, LoadError
from srvctl.runtime import log
from srvctl.runtime.lifecycle import Event, Lifecycle, State
from srvctl.socketserver.accept_errors import RESOURCE_ERRNOS
from srvctl.supervisor import deadline
from srvctl.supervisor.health import HealthMonitor
from srvctl.supervisor.ledger import Ledger
from srvctl.supervisor.places import Places
from srvctl.supervisor.queue_watch import QueueWatch
from srvctl.supervisor.restart_policy import TRY_SECONDS
from srvctl.supervisor.stats import StateReport, log_state
from srvctl.supervisor.worker_pool import KILL_GRACE_SECONDS, WorkerPool
from srvctl.supervisor.worker_process import WorkerProcess
from srvctl.systemd import protocol as systemd
from srvctl.worker.protocol import FromWorker, ToWorker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from srvctl.config.settings import Settings
    from srvctl.listener.listener import Listener
    from srvctl.runtime.loop import Loop
    from srvctl.supervisor.events import ServiceEvents
    from srvctl.worker.protocol import WorkerSetup


# What a worker reports when the system is out of something, which passes.
_SHORTAGES = frozenset(os.strerror(number) for number in RESOURCE_ERRNOS)


class Service:
    """Run workers on `listener`, as `settings` ask. Owns the workers, and closes the listener when it drains.

    `setup` is what each worker is told. Its methods do not block.
    """

    def __init__(
        self, settings: Settings, listener: Listener, setup: WorkerSetup, loop: Loop, events: ServiceEvents
    ) -> None:
        self.settings, self.listener = settings, listener
        self._setup, self._loop, self._events = setup, loop, events
        self._grace_seconds = KILL_GRACE_SECONDS + settings.term_seconds
        self.pool = WorkerPool(
            loop, self._start_worker, self, settings.graceful_timeout, self._grace_seconds, settings.start_limit
        )
        self._health = HealthMonitor(loop, self.pool, settings)
        self._queue_watch = QueueWatch(loop, listener, self._on_waiting)
        self._report = StateReport(loop, self._log_state)
        self._prestarted: WorkerProcess | None = None
        self.life = Lifecycle()
        self.life.on(Event.BIND)
        self.cut = 0  # conversations that were cut by the drain

    # --- what can be asked for

    def start(self, workers: int, prestarted: WorkerProcess | None = None) -> None:
        """Start the first workers; `prestarted` is one that waits to be configured, and becomes the service's."""
        self._prestarted = prestarted
        self.pool.start(workers)

    def adopt(self, handed_over: dict[str, Any]) -> None:
        """Take over the workers of the program before this one, which serve."""
        self.life.on(Event.SERVE)
        self.pool.adopt(handed_over)
        for worker in self.pool:
            self._limit_age(worker)
        self._health.begin()

    def take_over(self, handed_over: dict[str, Any]) -> None:
        """Adopt workers, and replace them by ones that load everything as it is now."""
        self.adopt(handed_over)
        self._queue_watch.begin()
        log.upgraded(len(self.pool.serving))
        self.pool.reload()

    def hand_over(self) -> dict[str, Any] | None:
        """Return what a new program takes over, or None when that is not possible now."""
        if self.life.state is not State.SERVING or self.pool.is_in_rollout:
            return None
        return {"listener": self.listener.hand_over(), "workers": self.pool.hand_over()}

    def reload(self) -> None:
        """Replace all workers; after the rollout that is under way, if there is one."""
        if self.pool.reload():
            log.reloading()

    def drain(self) -> None:
        """Stop in order: close the listener, and have the workers finish what they have."""
        self.life.on(Event.DRAIN)
        self._queue_watch.end()
        if not self.settings.fd_store:  # a listener that the service manager keeps must stay as it is
            self.listener.block_new_peers()
        self.listener.close()
        due = monotonic() + self.settings.graceful_timeout + self._grace_seconds
        deadline.call_at(self._loop, due, self._kill_late_workers)
        self.pool.drain()

    def stop_now(self) -> None:
        """Make the deadline of the drain now."""
        self.life.on(Event.HURRY)
        for worker in self.pool:
            worker.send(ToWorker.STOP_NOW)
        self._loop.call_at(monotonic() + self._grace_seconds, self._kill_late_workers)

    def kill(self) -> None:
        """End all workers, and wait for them: blocks for a moment."""
        self.pool.kill_all()

    def add_worker(self) -> None:
        """Start one more worker, or log why not."""
        limit = self.settings.max_connections
        if len(self.pool.slots) >= limit:
            why = f"--max-connections {limit} is shared out to as many workers already"
            log.signal_ignored("SIGTTIN", why)
        else:
            self.pool.add()

    def remove_worker(self) -> None:
        """Retire a worker, or log why not."""
        if not self.pool.remove():
            log.signal_ignored("SIGTTOU", "the last worker stays, and so do all while workers change")

    def stats(self) -> dict[str, int]:
        """Return what all workers have reported, and how many clients wait for one of them, where that can be known."""
        waiting = self.listener.waiting()
        return self.pool.stats() | ({} if waiting is None else {"waiting": waiting})

    def report(self) -> None:
        """Log the state, when every worker has sent its stats."""
        self._report.begin(self.pool)

    def report_stacks(self) -> None:
        """Have all workers write the stacks of their threads, which are logged."""
        for worker in self.pool:
            worker.ask_for_stacks()

    # --- workers

    def _start_worker(self, index: int, count: int) -> WorkerProcess:
        worker, self._prestarted = self._prestarted or WorkerProcess.spawn(bool(self.settings.program)), None
        worker.ledger = Ledger.make(self._places())
        setup = self._setup._replace(
            index=index,
            count=count,
            heartbeat_seconds=self._health.heartbeat_seconds,
            shares_limit=worker.ledger.can_share and any(other.is_in_service for other in self.pool),
        )
        worker.configure(setup, self.listener)
        return worker

    def _places(self) -> Places | None:
        """Return the places that all workers share; None where each serves one connection at a time."""
        if self.settings.model == "sync" and not self.settings.program:
            return None
        limit = self.pool.limit
        limit.places = limit.places or Places.make(self.settings.max_connections)
        return limit.places

    def _limit_age(self, worker: WorkerProcess) -> None:
        if limit := self.settings.max_worker_age:
            self._loop.call_at(
                worker.started_at + limit, lambda: self.pool.recycle(worker, f"it is {worker.age:.0f} s old")
            )

    def _kill_late_workers(self) -> None:
        for worker in self.pool:
            self._health.kill(worker, "it did not stop by its deadline", KILL_GRACE_SECONDS / 10)

    def _on_waiting(self, count: int) -> None:
        log.clients_wait(count, self.settings.max_connections)
        self._events.on_stats(self)

    def _log_state(self) -> None:
        log_state(self.life.state.value, self.listener.address, self.pool, self.pool.restarts, self.stats())

    # --- what the pool reports

    def on_started(self, worker: WorkerProcess) -> None:
        log.worker_started(worker.pid)
        self._limit_age(worker)
        self._health.limit_loading(worker)

    def on_serving(self, info: dict[str, Any]) -> None:
        self.life.on(Event.SERVE)
        if self.settings.fd_store and self.listener.owns_socket:
            systemd.store(self.listener.socket, systemd.STORED)
        self._events.on_serving(self, info)
        self._health.begin()
        self._queue_watch.begin()

    def on_first_failure(self, worker: WorkerProcess | None, reason: str) -> None:
        if worker is None:
            error = _cannot("start", "a worker", reason, ExitStatus.OSERR)
        elif worker.failure:
            error = _reported(worker.failure)
        else:
            handler = "the program" if self.settings.program else f"handler {self.settings.handler!r}"
            error = LoadError("load", handler, f"the worker ended with {reason} while it loaded it")
        self._fail(error)

    def _fail(self, error: LaunchError) -> None:
        self.life.on(Event.FAIL)
        self._events.on_failed(self, error)

    def on_reloaded(self, failure: str) -> None:
        if failure:
            log.reload_failed(failure)
        else:
            log.reloaded()
        if not self.pool.will_reload:  # until then, whoever asked last is still waiting
            self._events.on_reloaded(self, failure)

    def on_death(self, worker: WorkerProcess) -> bool:
        """Return whether a worker that served is to be replaced: not when the listener cannot be accepted on any more.

        A worker that is short of something, or whose fault is its own while others serve, is replaced.
        """
        failure = worker.failure
        if failure is None or failure["status"] != ExitStatus.OSERR:
            return True
        if failure["why"] in _SHORTAGES or self.pool.serving:
            return True
        self._fail(_reported(failure))
        return False

    def on_crash_loop(self, reason: str) -> None:
        why = f"the starts of {TRY_SECONDS:g} s failed; the last one: {reason}"
        self._fail(_cannot("keep", "a worker", why))

    def on_drained(self, worker: WorkerProcess) -> None:
        if self.life.state is State.DRAINING:  # conversations that a reload cut have their own lines
            self.cut += worker.cut

    def on_all_exited(self) -> None:
        self.life.on(Event.STOP)
        self._events.on_stopped(self)

    def on_message(self, worker: WorkerProcess, message: FromWorker) -> None:
        if message is FromWorker.RECYCLE:
            self.pool.recycle(worker, worker.recycle_reason)
        elif message is FromWorker.HEARTBEAT:
            self._events.on_stats(self)
        elif message is FromWorker.STATS:
            self._report.handle_stats(worker)


def _reported(failure: dict[str, Any]) -> LaunchError:
    """Return the error that a worker reported, as its own process raised it."""
    return _cannot(failure["verb"], failure["what"], failure["why"], ExitStatus(failure["status"]), failure["detail"])


def _cannot(verb: str, what: str, why: str, status: ExitStatus = ExitStatus.SOFTWARE, detail: str = "") -> LaunchError:
    failure = LaunchError(verb, what, why, detail)
    failure.status = status
    return failure
