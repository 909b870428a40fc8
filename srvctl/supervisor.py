"""The supervisor: holds the listening socket, starts workers and replaces them, follows signals, stops in order.

It never imports the handler. What a worker is told, and what a worker says, goes through `srvctl.channel`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from time import monotonic

from srvctl import log, systemd
from srvctl.channel import ChannelClosed
from srvctl.errors import ExitStatus, LaunchError, LoadError
from srvctl.lifecycle import Event, Lifecycle, State
from srvctl.listening import Listener
from srvctl.settings import Settings
from srvctl.socketserver.loop import Loop
from srvctl.worker_process import WorkerProcess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

# How long behind its own deadline a worker may be before it is killed: promise P11 allows 0.5 s.
PATIENCE_SECONDS = 0.45
# A worker that dies is replaced at once; one that died young waits longer each time, and when so many in a row
# have not become ready the supervisor stops: it is not going to be better with the next (gunicorn #2504).
YOUNG_SECONDS = 10.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 10.0
START_LIMIT = 5

SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


class Signals:
    """The signals of this process, as something that the loop reads.

    From `take` on none of them ends the process by itself; `give_back` undoes that. The bytes of the wake-up descriptor
    only wake: in a storm they can be lost, and the one that says stop with them. Which signals came is kept by the
    handler, which Python calls at least once for each number.
    """

    def __init__(self) -> None:
        self._came: list[signal.Signals] = []
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)

    def fileno(self) -> int:
        return self._read.fileno()

    def take(self) -> None:
        """Receive them from now on; for the main thread."""
        signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, self._note)

    def give_back(self) -> None:
        """Let them do again what they do by default."""
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        self._read.close()
        self._write.close()

    def pending(self) -> list[signal.Signals]:
        """Return those that came, in order."""
        with contextlib.suppress(BlockingIOError):
            while self._read.recv(4096):
                pass
        came, self._came = self._came, []
        return came

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number not in self._came or number in _STOPPING:  # stopping twice is more than stopping once
            self._came.append(signal.Signals(number))


class StoppedEarly(Exception):
    """A signal to stop came before the server was ready; it has never served."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.number = number


class Supervisor:
    """Run workers on `listener` until a signal says stop. Owns the listener and every worker.

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
        self._workers: dict[int, WorkerProcess] = {}
        self._failures = 0  # workers in a row that did not become ready, or died young
        self._restarts = 0
        self._drain_began = 0.0
        self._cut = 0
        self._reports_awaited: set[int] = set()
        self._outcome: Exception | None = None

    def run(self) -> ExitStatus:
        """Serve until stopped; blocks."""
        self._run()
        self._life.on(Event.STOP)
        log.stopped(self._cut, monotonic() - self._drain_began)
        return ExitStatus.TEMPFAIL if self._cut else ExitStatus.OK

    def check(self) -> None:
        """Start one worker that loads the handler and ends, having said what it is; blocks."""
        self._run()

    def _run(self) -> None:
        self._life.on(Event.BIND)
        try:
            with self.loop as loop:
                loop.watch(self._signals.fileno(), lambda events: self._follow_signals())
                self._start_worker()
                loop.run(_nothing)
        finally:
            self._clean_up()
        if self._outcome is not None:
            self._life.on(Event.FAIL)
            raise self._outcome

    def _clean_up(self) -> None:
        for worker in self._workers.values():
            worker.kill()
            worker.reap()
            worker.close()
        self._listener.close()
        self._listener.unlink()

    def _end(self, outcome: Exception | None) -> None:
        self._outcome = outcome
        self.loop.stop()

    # --- workers

    def _start_worker(self) -> None:
        stdout = 2 if self._settings.announce else None  # what was announced to is closed, and is nobody else's
        try:
            worker = WorkerProcess(self._setup, self._listener, stdout)
        except OSError as error:
            self._replace(f"cannot start a worker: {error.strerror}")
            return
        self._workers[worker.pid] = worker
        log.worker_started(worker.pid)
        self.loop.watch(worker.pidfd, lambda events: self._on_exit(worker))
        self.loop.watch(worker.channel.fileno(), lambda events: self._listen_to(worker))

    def _listen_to(self, worker: WorkerProcess) -> None:
        try:
            for word, values in worker.channel.pending():
                if word == "ready":
                    self._on_worker_ready(worker, values)
                elif word == "failed":
                    worker.failure = values
                elif word == "drained":
                    worker.has_drained, worker.figures = True, values
                elif word == "figures":
                    worker.figures = values
                    self._reports_awaited.discard(worker.pid)
                    if not self._reports_awaited:
                        self._log_state()
        except ChannelClosed:
            self.loop.unwatch(worker.channel.fileno())  # its exit comes next

    def _on_worker_ready(self, worker: WorkerProcess, values: dict[str, Any]) -> None:
        worker.ready = values
        log.worker_ready(worker.pid, monotonic() - worker.began)
        if self._life.state is State.BOUND:
            self._life.on(Event.SERVE)
            self._on_ready(values)
        for other in self._workers.values():
            if other is not worker and not other.is_retiring and other.ready:
                other.is_retiring = True
                other.channel.send("drain", seconds=self._settings.graceful, keep_queue=True)

    def _on_exit(self, worker: WorkerProcess) -> None:
        self._listen_to(worker)
        self.loop.unwatch(worker.pidfd)
        self.loop.unwatch(worker.channel.fileno())
        if not worker.has_drained or worker.figures["cut"]:
            worker.kill()  # what is left of its process group; what a handler left running on purpose goes on
        how = worker.reap()
        worker.close()
        del self._workers[worker.pid]
        self._reports_awaited.discard(worker.pid)
        if self._life.state is State.DRAINING or worker.is_retiring:
            if worker.has_drained:
                self._cut += worker.figures["cut"]
            elif worker.ready:  # what was running in it is lost, and nobody has counted it
                self._cut += 1
            if self._life.state is State.DRAINING and not self._workers:
                self._end(None)
        elif worker.ready and self._setup["is_check"]:
            self._end(None)
        elif self._life.state is State.BOUND:
            self._end(_failure_of(worker, how, self._settings))
        else:
            self._on_death(worker, how)

    def _on_death(self, worker: WorkerProcess, how: str) -> None:
        if worker.failure:
            how = f"cannot {worker.failure['verb']} {worker.failure['what']}: {worker.failure['why']}"
        if worker.ready and monotonic() - worker.began >= YOUNG_SECONDS:
            self._failures = 0
        if worker.failure and worker.failure["status"] == ExitStatus.OSERR:
            self._end(_reported(worker.failure))
            return
        if any(other.ready and not other.is_retiring for other in self._workers.values()):
            log.reload_failed(how)
            return
        self._replace(how, worker.pid)

    def _replace(self, how: str, pid: int = 0) -> None:
        """Start another worker, at once or after a pause that grows; or give up."""
        if self._life.state is State.BOUND:
            self._end(_cannot("start", "a worker", how, ExitStatus.OSERR))
            return
        pause = 0.0
        if self._failures:
            pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** (self._failures - 1))
        self._failures += 1
        self._restarts += 1
        if self._failures > START_LIMIT:
            self._end(_cannot("keep", "a worker", f"{START_LIMIT} in a row died; the last one: {how}"))
            return
        log.worker_died(pid, how, pause)
        self.loop.call_at(monotonic() + pause, self._start_if_serving)

    def _start_if_serving(self) -> None:
        if self._life.state is State.SERVING:
            self._start_worker()

    # --- signals

    def _follow_signals(self) -> None:
        for number in self._signals.pending():
            self._follow(number)

    def _follow(self, number: signal.Signals) -> None:
        if number in _STOPPING:
            self._stop(number)
        elif self._life.state is not State.SERVING:
            log.signal_ignored(number.name, f"the server is {self._life.state.value}")
        elif number == signal.SIGHUP:
            self._reload()
        elif number == signal.SIGUSR1:
            self._report()
        elif number == signal.SIGUSR2:
            for worker in self._workers.values():
                if worker.ready:  # one that starts has no handler for it yet, and would die of it
                    worker.send_signal(signal.SIGUSR2)

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
        log.stopping(number.name, self._settings.graceful)
        systemd.notify("STOPPING=1")
        self._listener.seal()
        self._listener.close()
        for worker in self._workers.values():
            if worker.ready:
                worker.channel.send("drain", seconds=self._settings.graceful, keep_queue=False)
            else:
                worker.kill()  # it serves nobody yet
        self.loop.call_at(self._drain_began + self._settings.graceful + PATIENCE_SECONDS, self._kill_workers)
        if number == signal.SIGQUIT:
            self._hurry()
        if not self._workers:
            self._end(None)

    def _hurry(self) -> None:
        for worker in self._workers.values():
            worker.channel.send("hurry")
        self.loop.call_at(monotonic() + PATIENCE_SECONDS, self._kill_workers)

    def _kill_workers(self) -> None:
        for worker in self._workers.values():
            log.worker_killed(worker.pid, "it did not stop by its deadline")
            worker.kill()

    def _reload(self) -> None:
        """Start one more worker; when it is ready, the old one retires. Until then nothing changes."""
        if any(not worker.ready for worker in self._workers.values()):
            log.signal_ignored("SIGHUP", "a worker is starting already")
            return
        log.reloading()
        self._start_worker()

    def _report(self) -> None:
        self._reports_awaited = {worker.pid for worker in self._workers.values() if worker.ready}
        for worker in self._workers.values():
            worker.channel.send("report")
        if not self._reports_awaited:
            self._log_state()

    def _log_state(self) -> None:
        workers = list(self._workers.values())
        total: dict[str, int] = {}
        for worker in workers:
            for name, figure in worker.figures.items():
                total[name] = total.get(name, 0) + figure
        log.state(
            state=self._life.state.value,
            address=self._listener.address,
            workers=len(workers),
            pids=",".join(str(worker.pid) for worker in workers),
            restarts=self._restarts,
            **total,
        )


def _nothing() -> None:
    pass


def _failure_of(worker: WorkerProcess, how: str, settings: Settings) -> LaunchError:
    """Return why the first worker did not become ready."""
    if worker.failure is None:
        return LoadError("load", f"handler {settings.handler!r}", f"the worker ended with {how} while it loaded it")
    return _reported(worker.failure)


def _reported(said: dict[str, Any]) -> LaunchError:
    """Return the error that a worker reported, as its own process raised it."""
    return _cannot(said["verb"], said["what"], said["why"], ExitStatus(said["status"]), said["detail"])


def _cannot(verb: str, what: str, why: str, status: ExitStatus = ExitStatus.SOFTWARE, detail: str = "") -> LaunchError:
    failure = LaunchError(verb, what, why, detail)
    failure.status = status
    return failure


def die_of(number: signal.Signals) -> None:
    """End this process by a signal, as if it had never been handled: the shell and systemd see which."""
    with contextlib.suppress(OSError):
        os.kill(os.getpid(), number)
