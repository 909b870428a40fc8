"""Supervisor process: follows signals, notifies the service manager, upgrades itself, and ends with a status.

It never runs the user's code: workers do. They are the business of `srvctl.supervisor.service`.
"""

from __future__ import annotations

import signal
from time import monotonic

from srvctl.errors import ExitStatus
from srvctl.runtime import log
from srvctl.runtime.lifecycle import State
from srvctl.runtime.loop import Loop
from srvctl.supervisor.notifier import SystemdNotifier
from srvctl.supervisor.service import Service
from srvctl.supervisor.signals import STOPPING, Signals, StoppedBeforeReady
from srvctl.supervisor.upgrade import Upgrade

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from srvctl.config.settings import Settings
    from srvctl.errors import LaunchError
    from srvctl.listener.listener import Listener
    from srvctl.supervisor.worker_process import WorkerProcess
    from srvctl.worker.protocol import WorkerSetup


# A second TERM or INT within this time is the same stop: timeout(1) signals its child and then the process group, and a
# process group gets a Ctrl-C of its own besides what a wrapper passes on.
SAME_STOP_SECONDS = 0.1


class Supervisor:
    """Run a service on `listener` until a signal stops it.

    `on_ready` is called once, with the first worker's description of itself. `run` is the whole life: it returns the
    exit status, or raises `LaunchError` or `StoppedBeforeReady`. `loop` is the one it waits in.
    """

    def __init__(
        self,
        settings: Settings,
        listener: Listener,
        signals: Signals,
        setup: WorkerSetup,
        on_ready: Callable[[dict[str, Any]], None],
    ) -> None:
        self._signals, self._on_ready = signals, on_ready
        self.loop = Loop()
        self._notifier = SystemdNotifier(listener.address, settings.graceful_timeout)
        setup = setup._replace(reports_stats=self._notifier.enabled)
        self.service = Service(settings, listener, setup, self.loop, self)
        self._is_check = False
        self._drain_started_at = 0.0
        self._outcome: Exception | None = None

    def run(self, adopted: dict[str, Any] | None = None, prestarted: WorkerProcess | None = None) -> ExitStatus:
        """Serve until stopped; blocks.

        `adopted` are the workers that the program before this one handed over; `prestarted` is one that waits to be
        configured.
        """
        if adopted is not None:
            self._run(lambda: self.service.take_over(adopted))
        else:
            self._run(lambda: self.service.start(self.service.settings.workers, prestarted))
        log.stopped(self.service.cut, monotonic() - self._drain_started_at)
        return ExitStatus.TEMPFAIL if self.service.cut else ExitStatus.OK

    def check(self) -> None:
        """Start one worker, which loads the handler and describes itself, and end it; blocks."""
        self._is_check = True
        self._run(lambda: self.service.start(1))

    def _run(self, begin: Callable[[], None]) -> None:
        try:
            with self.loop as loop:
                loop.watch(self._signals.fileno(), lambda events: self._follow_signals())
                begin()
                # While the workers load: it reads the times of all of srvctl's own files, which takes 1 ms.
                self._upgrade = Upgrade(loop, self._hand_over, self._on_upgrade_failed)
                loop.run()
        finally:
            self.service.kill()
        if self._outcome is not None:
            raise self._outcome

    def _end(self, outcome: Exception | None) -> None:
        self._outcome = outcome
        self.loop.stop()

    def _hand_over(self) -> dict[str, Any] | None:
        """Return what the new program takes over, or None when that is not possible now."""
        state = self.service.hand_over()
        return state and state | {"ignores_hangup": self._signals.ignores_hangup}

    # --- what the service reports

    def on_serving(self, service: Service, info: dict[str, Any]) -> None:
        self._on_ready(info)
        if self._is_check:
            service.drain()
        else:
            self._notifier.ready(service.pool, service.stats())

    def on_failed(self, service: Service, error: LaunchError) -> None:
        self._end(error)

    def on_reloaded(self, service: Service, failure: str) -> None:
        self._notifier.ready(service.pool, service.stats(), f"the last reload failed: {failure}" if failure else "")

    def on_stats(self, service: Service) -> None:
        self._notifier.status(service.pool, service.stats())

    def on_stopped(self, service: Service) -> None:
        self._end(None)

    # --- signals

    def _follow_signals(self) -> None:
        for number in self._signals.pending():
            self._follow(number)

    def _follow(self, number: signal.Signals) -> None:
        state = self.service.life.state
        if number == signal.SIGHUP and self._signals.is_hangup():
            self._hang_up(state)
        elif number in STOPPING:
            self._stop(number, state)
        elif state is not State.SERVING:
            log.signal_ignored(number.name, f"the server is {state.value}")
        else:
            {
                signal.SIGHUP: self._reload,
                signal.SIGUSR1: self.service.report,
                signal.SIGUSR2: self.service.report_stacks,
                signal.SIGTTIN: self.service.add_worker,
                signal.SIGTTOU: self.service.remove_worker,
            }[number]()

    def _hang_up(self, state: State) -> None:
        """Stop, since the terminal has gone; unless this process was started not to mind that."""
        if self._signals.ignores_hangup:
            log.signal_ignored("SIGHUP", "the terminal has gone, and the signal was ignored at the start")
        else:
            self._stop(signal.SIGHUP, state)

    def _stop(self, number: signal.Signals, state: State) -> None:
        if state is State.BOUND:
            self._end(StoppedBeforeReady(number))
        elif state is State.DRAINING:
            if number == signal.SIGQUIT or monotonic() - self._drain_started_at >= SAME_STOP_SECONDS:
                log.hurrying(number.name)
                self.service.stop_now()
        elif state is State.SERVING:
            self._drain(number)

    def _drain(self, number: signal.Signals) -> None:
        self._drain_started_at = monotonic()
        self._notifier.stopping()
        self.service.drain()
        # After the workers were told: whoever waits for this line may rely on that.
        log.stopping(number.name, self.service.settings.graceful_timeout)
        if number == signal.SIGQUIT and self.service.life.state is State.DRAINING:  # no worker: stopped already
            self.service.stop_now()

    def _reload(self) -> None:
        self._notifier.reloading()
        if not self._upgrade.begin():
            self.service.reload()

    def _on_upgrade_failed(self) -> None:
        if self.service.life.state is State.SERVING:
            self.service.reload()
