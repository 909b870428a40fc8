"""The supervisor: holds the listening socket, follows signals, tells the outside, and stops in order.

It never imports the handler. Its workers are the business of `srvctl.supervisor.worker_pool`.
"""

from __future__ import annotations

import signal
from time import monotonic

from srvctl.config.settings import Settings
from srvctl.errors import ExitStatus, LaunchError, LoadError
from srvctl.listener.listener import Listener
from srvctl.runtime import log
from srvctl.runtime.lifecycle import Event, Lifecycle, State
from srvctl.runtime.loop import Loop, Timer
from srvctl.supervisor.health import STACKS_SECONDS, HealthMonitor
from srvctl.supervisor.notifier import SystemdNotifier
from srvctl.supervisor.signals import STOPPING, Signals, StoppedEarly
from srvctl.supervisor.upgrade import Upgrade
from srvctl.supervisor.worker_pool import PATIENCE_SECONDS, WorkerPool
from srvctl.supervisor.worker_process import WorkerProcess
from srvctl.systemd import protocol as systemd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# The state is logged without a worker's figures when it has not told them by then: it hangs, or has died.
REPORT_SECONDS = 1.0


class Supervisor:
    """Run workers on `listener` until a signal says stop. Owns every worker, and closes the listener when it drains.

    `setup` is what a worker is told first, `on_ready` is called once, with what the first worker said when it was
    ready. `run` is the whole life: it returns the exit status, or raises `LaunchError` or `StoppedEarly`. `loop` is
    the one it waits in.
    """

    def __init__(
        self,
        settings: Settings,
        listener: Listener,
        signals: Signals,
        setup: dict[str, Any],
        on_ready: Callable[[dict[str, Any]], None],
    ) -> None:
        self._settings, self._listener, self._signals, self._setup = settings, listener, signals, setup
        self._on_ready = on_ready
        self._life = Lifecycle()
        self.loop = Loop()
        self._patience = PATIENCE_SECONDS + settings.term_seconds
        self._pool = WorkerPool(
            self.loop, self._start_worker, settings.graceful_timeout, settings.start_limit, self, self._patience
        )
        self._health = HealthMonitor(self.loop, self._pool, settings)
        self._notices = SystemdNotifier(listener.address, settings.graceful_timeout)
        self._drain_began = 0.0
        self._cut = 0
        self._reports_awaited: set[int] = set()
        self._report_due: Timer | None = None
        self._booted: WorkerProcess | None = None
        self._outcome: Exception | None = None

    def run(self, adopted: dict[str, Any] | None = None, booted: WorkerProcess | None = None) -> ExitStatus:
        """Serve until stopped; blocks.

        `adopted` are the workers that the program before this one handed over, `booted` is one that waits to be told.
        """
        self._booted = booted
        self._run(self._settings.workers, adopted)
        self._life.on(Event.STOP)
        log.stopped(self._cut, monotonic() - self._drain_began)
        return ExitStatus.TEMPFAIL if self._cut else ExitStatus.OK

    def check(self) -> None:
        """Start one worker that loads the handler and says what it is, and end it; blocks."""
        self._run(1)

    def _run(self, workers: int, adopted: dict[str, Any] | None = None) -> None:
        self._life.on(Event.BIND)
        try:
            with self.loop as loop:
                loop.watch(self._signals.fileno(), lambda events: self._follow_signals())
                if adopted is not None:
                    self._go_on(adopted)
                else:
                    self._pool.fill(workers)
                # While they load: it looks at the times of all of srvctl's own files, which takes 1 ms.
                self._upgrade = Upgrade(loop, self._state, self._on_upgrade_failed)
                loop.run(_nothing)
        finally:
            self._pool.kill_all()
        if self._outcome is not None:
            self._life.on(Event.FAIL)
            raise self._outcome

    def _go_on(self, adopted: dict[str, Any]) -> None:
        """Be what the program before this one was, and load the workers anew: that is what it was told to do."""
        self._life.on(Event.SERVE)
        self._pool.adopt(adopted)
        for worker in self._pool:
            self._attend(worker)
        self._health.begin()
        log.upgraded(len(self._pool.serving))
        self._pool.reload()

    def _end(self, outcome: Exception | None) -> None:
        self._outcome = outcome
        self.loop.stop()

    def _start_worker(self, index: int, count: int) -> WorkerProcess:
        setup = self._setup | {
            "index": index,
            "count": count,
            "heartbeat": self._health.interval,
            "tells_figures": self._notices.are_read,
            "announces": self._settings.announce,
        }
        worker, self._booted = self._booted or WorkerProcess.boot(bool(self._settings.program)), None
        worker.tell(setup, self._listener)
        log.worker_started(worker.pid)
        self._health.started(worker)
        self._attend(worker)
        return worker

    def _attend(self, worker: WorkerProcess) -> None:
        self.loop.watch(worker.stacks, lambda events: self._on_stacks(worker))
        if self._settings.max_worker_age:
            self.loop.call_at(worker.began + self._settings.max_worker_age, lambda: self._on_age(worker))

    def _on_stacks(self, worker: WorkerProcess) -> None:
        """Take what a worker writes of its stacks when all of it has come; it is written in pieces."""
        self.loop.unwatch(worker.stacks)
        self.loop.call_at(monotonic() + STACKS_SECONDS / 2, lambda: self._log_stacks(worker))

    def _log_stacks(self, worker: WorkerProcess) -> None:
        if worker in self._pool:
            if stacks := worker.take_stacks():
                log.worker_stacks(worker.pid, stacks)
            self.loop.watch(worker.stacks, lambda events: self._on_stacks(worker))

    def _on_age(self, worker: WorkerProcess) -> None:
        self._pool.renew(worker, f"it is {worker.age:.0f} s old")

    # --- what the roster tells

    def on_serving(self, said: dict[str, Any]) -> None:
        self._life.on(Event.SERVE)
        self._on_ready(said)
        if self._setup["is_check"]:
            self._end(None)
            return
        if self._settings.fd_store and self._listener.owns_socket:
            systemd.store(self._listener.socket, systemd.STORED)
        self._notices.ready(self._pool)
        self._health.begin()

    def on_first_failure(self, worker: WorkerProcess | None, how: str) -> None:
        if worker is None:
            self._end(_cannot("start", "a worker", how, ExitStatus.OSERR))
        elif worker.failure:
            self._end(_reported(worker.failure))
        else:
            handler = "the program" if self._settings.program else f"handler {self._settings.handler!r}"
            self._end(LoadError("load", handler, f"the worker ended with {how} while it loaded it"))

    def on_reloaded(self, why_not: str) -> None:
        if why_not:
            log.reload_failed(why_not)
        else:
            log.reloaded()
        if not self._pool.will_reload:  # until then, whoever asked last is still waiting
            self._notices.ready(self._pool, f"the last reload failed: {why_not}" if why_not else "")

    def on_death(self, worker: WorkerProcess, how: str) -> bool:
        if worker.failure and worker.failure["status"] == ExitStatus.OSERR:
            self._end(_reported(worker.failure))
            return False
        return True

    def on_hopeless(self, how: str) -> None:
        self._end(
            _cannot("keep", "a worker", f"{self._settings.start_limit} tries in a row failed; the last one: {how}")
        )

    def on_drained(self, worker: WorkerProcess) -> None:
        if self._life.state is State.DRAINING:  # what a reload cuts has been named, and is no stop's
            self._cut += worker.cut

    def on_empty(self) -> None:
        self._end(None)

    def on_message(self, worker: WorkerProcess, word: str) -> None:
        if word == "tired":
            self._pool.renew(worker, worker.wish)
        elif word == "alive":
            self._notices.status(self._pool)
        elif word == "figures":
            self._reports_awaited.discard(worker.pid)
            if not self._reports_awaited:
                self._end_report()

    # --- signals

    def _follow_signals(self) -> None:
        for number in self._signals.pending():
            self._follow(number)

    def _follow(self, number: signal.Signals) -> None:
        if number in STOPPING:
            self._stop(number)
        elif self._life.state is not State.SERVING:
            log.signal_ignored(number.name, f"the server is {self._life.state.value}")
        else:
            {
                signal.SIGHUP: self._reload,
                signal.SIGUSR1: self._report,
                signal.SIGUSR2: self._report_stacks,
                signal.SIGTTIN: self._add_worker,
                signal.SIGTTOU: self._remove_worker,
            }[number]()

    def _stop(self, number: signal.Signals) -> None:
        if self._life.state is State.BOUND:
            self._end(StoppedEarly(number))
        elif self._life.state is State.DRAINING:
            self._life.on(Event.HURRY)
            log.hurrying(number.name)
            self._hurry()
        else:
            self._drain(number)

    def _drain(self, number: signal.Signals) -> None:
        self._life.on(Event.DRAIN)
        self._drain_began = monotonic()
        self._notices.stopping()
        if not self._settings.fd_store:  # what is left with the service manager must stay as it is
            self._listener.block_new_peers()
        self._listener.close()
        self.loop.call_at(self._drain_began + self._settings.graceful_timeout + self._patience, self._kill_workers)
        self._pool.drain()
        log.stopping(number.name, self._settings.graceful_timeout)  # whoever reads it may count on the workers' knowing
        if number == signal.SIGQUIT:
            self._hurry()

    def _hurry(self) -> None:
        for worker in self._pool:
            worker.channel.send("hurry")
        self.loop.call_at(monotonic() + self._patience, self._kill_workers)

    def _kill_workers(self) -> None:
        for worker in self._pool:
            self._health.end(worker, "it did not stop by its deadline", PATIENCE_SECONDS / 10)

    def _reload(self) -> None:
        self._notices.reloading()
        if self._upgrade.begin():
            return
        if self._pool.reload():
            log.reloading()

    def _state(self) -> dict[str, Any] | None:
        """Return what a new srvctl takes over, or None when that is not possible now."""
        if self._life.state is not State.SERVING or self._pool.is_changing:
            return None
        return {"listener": self._listener.hand_over(), "workers": self._pool.hand_over()}

    def _on_upgrade_failed(self) -> None:
        if self._life.state is State.SERVING:
            self._pool.reload()

    def _add_worker(self) -> None:
        if len(self._pool.slots) >= self._settings.max_connections:
            log.signal_ignored(
                "SIGTTIN",
                f"--max-connections {self._settings.max_connections} is shared out to as many workers already",
            )
        else:
            self._pool.add()

    def _remove_worker(self) -> None:
        if not self._pool.remove():
            log.signal_ignored("SIGTTOU", "the last worker stays, and so do all while workers change")

    def _report_stacks(self) -> None:
        for worker in self._pool:
            if worker.ready:  # before that, the signal may find nobody who takes it, and end it
                worker.ask_for_stacks()

    def _report(self) -> None:
        """Log the state when every worker has told its figures; one that cannot is told of as it was last heard."""
        asked = [worker for worker in self._pool if worker.is_serving]
        self._reports_awaited = {worker.pid for worker in asked}
        for worker in asked:
            worker.channel.send("report")
        if self._report_due:
            self._report_due.cancel()
        self._report_due = self.loop.call_at(monotonic() + REPORT_SECONDS, self._end_report)

    def _end_report(self) -> None:
        if self._report_due:
            self._report_due.cancel()
            self._report_due = None
            self._log_state()

    def _log_state(self) -> None:
        workers = list(self._pool)
        total: dict[str, int] = {}
        for worker in workers:
            log.worker_state(worker.pid, worker.age, worker.state, worker.figures)
            for name, figure in worker.figures.items():
                total[name] = total.get(name, 0) + figure
        log.state(
            state=self._life.state.value,
            address=self._listener.address,
            workers=len(workers),
            restarts=self._pool.restarts,
            **total,
        )


def _nothing() -> None:
    pass


def _reported(said: dict[str, Any]) -> LaunchError:
    """Return the error that a worker reported, as its own process raised it."""
    return _cannot(said["verb"], said["what"], said["why"], ExitStatus(said["status"]), said["detail"])


def _cannot(verb: str, what: str, why: str, status: ExitStatus = ExitStatus.SOFTWARE, detail: str = "") -> LaunchError:
    failure = LaunchError(verb, what, why, detail)
    failure.status = status
    return failure
