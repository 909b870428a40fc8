"""A worker as its supervisor sees it: a process, its descriptors, its state, and its last reports."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from time import monotonic

from srvctl.runtime import exit_status, log
from srvctl.runtime.channel import LAST_STACKS, BadMessage, Channel, ChannelClosed
from srvctl.runtime.process_session import kill_session
from srvctl.supervisor import deadline
from srvctl.supervisor.ledger import Ledger
from srvctl.supervisor.spawn_worker import spawn_process
from srvctl.supervisor.stack_traces import StackTraces
from srvctl.supervisor.worker_state import TRANSITIONS, WorkerEvent, WorkerState, next_state
from srvctl.worker.protocol import FromWorker, ToWorker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from srvctl.listener.listener import Listener
    from srvctl.runtime.loop import Loop
    from srvctl.supervisor.deadline import DeadlineTimer
    from srvctl.supervisor.events import WorkerEvents
    from srvctl.worker.protocol import WorkerSetup


# The version of the messages and of what `hand_over` returns; srvctl 0.1 wrote none.
_PROTOCOL = 2
# A worker that was ready and never served has this long for its hooks.
DISMISSAL_SECONDS = 1.0
# What becomes of a worker's state when it sends a message.
_EVENTS = {FromWorker.READY: WorkerEvent.READY, FromWorker.DRAINED: WorkerEvent.DRAINED}


class WorkerProcess:
    """A worker that was started by this supervisor, or by the one before it.

    Owns its descriptors until the process has been reaped: `pidfd`, the channel, the pipe of stack traces, the lifeline
    (`srvctl.runtime.lifeline`), which is -1 for a worker of srvctl 0.1, and the `ledger`. After `attach`
    a loop watches the first three, and `events` is notified.

    The process leads a process group: what it forks and what its handler starts can be ended with it. A worker that
    runs programs leads a session, because they are in process groups of their own.
    """

    def __init__(self, pid: int, pidfd: int, stacks: int, lifeline: int, channel: Channel, state: WorkerState) -> None:
        self.pid, self.pidfd, self.channel, self.state = pid, pidfd, channel, state
        self._lifeline = lifeline
        self.ledger = Ledger()
        self.is_sharing = False  # it counts what it serves together with other workers
        self._stacks = StackTraces(pid, stacks)
        self.started_at = self.last_message_at = monotonic()
        self.info: dict[str, Any] = {}  # how it describes itself when it is ready
        self.failure: dict[str, Any] | None = None
        self.stats: dict[str, Any] = {}
        self.recycle_reason = self.kill_reason = ""
        self.cut = 0  # how many conversations it cut, known when it has ended
        self._loop: Loop | None = None
        self._events: WorkerEvents
        self._load_timer: DeadlineTimer | None = None

    # --- its start, and its way from one supervisor to the next

    @classmethod
    def spawn(cls, is_session: bool) -> WorkerProcess:
        """Start a process, which imports what every worker needs and waits for `configure`.

        Raises OSError when the system has no process or descriptor.
        """
        return cls(*spawn_process(is_session), WorkerState.STARTED)

    def configure(self, setup: WorkerSetup, listener: Listener) -> None:
        """Have it load what `setup` says, to serve `listener`. Raises OSError when the socket cannot be handed over."""
        self.is_sharing = setup.shares_limit
        descriptors = [listener.socket.fileno(), *self.ledger.descriptors]
        self.started_at = self.last_message_at = monotonic()  # a slow resolver before that is not its time
        try:
            with contextlib.suppress(ConnectionError):  # it has died already, which its pidfd shows
                socket.send_fds(self.channel.socket, [b"\0"], descriptors)
        except OSError:
            self.discard()
            raise
        self._on(WorkerEvent.CONFIGURE)
        self.send(ToWorker.SETUP, **setup._asdict())

    def discard(self) -> None:
        """End it, and wait for that, if it was never configured."""
        if self.state is WorkerState.STARTED:
            self.end()

    def hand_over(self) -> dict[str, Any]:
        """Return what the program that takes this one's place needs to adopt it; leaves the descriptors open for that.

        The names are those that srvctl 0.1 wrote and read.
        """
        for fd in (self.pidfd, self._stacks.fd, self.channel.fileno(), self._lifeline):
            if fd >= 0:
                os.set_inheritable(fd, True)
        return {
            "protocol": _PROTOCOL,
            "pid": self.pid,
            "pidfd": self.pidfd,
            "stacks": self._stacks.fd,
            "channel": self.channel.fileno(),
            "lifeline": self._lifeline,
            "is_sharing": self.is_sharing,
            **self.ledger.hand_over(),
            "began": self.started_at,
            "ready": self.info,
            "figures": self.stats,
            "is_serving": self.is_in_service,
        }

    def attach(self, loop: Loop, events: WorkerEvents) -> None:
        """Watch its descriptors in `loop` until it has ended; `events` is notified in that loop."""
        self._loop, self._events = loop, events
        loop.watch(self.pidfd, lambda ready: self._on_exit())
        loop.watch(self.channel.fileno(), lambda ready: self._on_readable())
        self._stacks.attach(loop)

    def limit_loading(self, seconds: float, on_timeout: Callable[[], None]) -> None:
        """Call `on_timeout` if it is not ready, and has not ended, `seconds` after it was configured."""
        assert self._loop is not None
        self._load_timer = deadline.call_at(self._loop, self.started_at + seconds, on_timeout)

    # --- its state

    @property
    def age(self) -> float:
        """Seconds since it was configured."""
        return monotonic() - self.started_at

    @property
    def is_ready(self) -> bool:
        """Whether it has loaded the handler; stays true."""
        return bool(self.info)

    @property
    def is_in_service(self) -> bool:
        """Whether it was told to serve, and has not ended; it may be draining."""
        return self.state in (WorkerState.SERVING, WorkerState.DRAINING, WorkerState.DRAINED)

    def _on(self, event: WorkerEvent) -> None:
        self.state = next_state(self.state, event)

    # --- what it is told

    def send(self, message: ToWorker, **values: Any) -> None:
        """Send a message. It is lost when the worker has ended, or does not read any more."""
        self.channel.send(message, **values)

    def share_limit(self, *, is_shared: bool) -> None:
        """Have it count what it serves together with other workers, which it answers, or by itself again."""
        self.is_sharing = self.is_sharing and is_shared
        self.send(ToWorker.SHARE_LIMIT, is_shared=is_shared)

    def serve(self) -> None:
        """Have it serve, now that it is ready."""
        self._on(WorkerEvent.SERVE)
        self.send(ToWorker.SERVE)

    def drain(self, seconds: float, keep_queue: bool) -> None:
        """Have it stop within `seconds`; with `keep_queue` it leaves the backlog of the listener to others."""
        self._on(WorkerEvent.DRAIN)
        self.send(ToWorker.DRAIN, seconds=seconds, keep_queue=keep_queue)

    def ask_for_stacks(self) -> None:
        """Have it write the Python stacks of all its threads, which are logged.

        The signal reaches a handler that runs. The message ends the wait of a loop that was about to wait when the
        signal came: Python had looked for signals by then.
        """
        if self.is_ready:  # before that, it may not have the signal's handler yet, and would die of it
            self._signal(signal.SIGUSR2)
            self.send(ToWorker.WAKE)

    def ask_for_last_stacks(self) -> None:
        """Have it write them even if it runs no bytecode any more; it is to be killed next."""
        self._signal(LAST_STACKS)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    # --- its end

    def kill(self) -> None:
        """End it and everything in its process group, and in its session if it leads one; nothing if it has ended."""
        if self.state is not WorkerState.EXITED:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            kill_session(self.pid)

    def dismiss(self) -> None:
        """End it, if it does not serve: one that is ready calls its hooks for that first."""
        if self.state is WorkerState.READY:
            self.send(ToWorker.STOP_NOW)
        else:
            self.kill()

    def end(self) -> None:
        """End it now, wait for it, and close its descriptors; nothing if it has ended.

        Blocks, for `DISMISSAL_SECONDS` at most while one that is ready, and was never to serve, calls its hooks.
        """
        if self.state is not WorkerState.EXITED:
            if self.state is WorkerState.READY:
                self.dismiss()
                select.select([self.pidfd], [], [], DISMISSAL_SECONDS)
            self.kill()
            self._reap()
            self._close()

    def _on_exit(self) -> None:
        """Take the last messages of the process, which has ended, reap it, and report why it ended."""
        self._on_readable()
        has_drained = self.state is WorkerState.DRAINED
        # A worker that died while it served has not counted the conversations that it cut.
        self.cut = self.stats["cut"] if has_drained else self._report_lost() if self.is_in_service else 0
        if not has_drained or self.cut:
            self.kill()  # the rest of its process group; what a handler left running on purpose goes on
        exit_reason = self._reap()
        self._close()
        if failure := self.failure:
            exit_reason = f"cannot {failure['verb']} {failure['what']}: {failure['why']}"
        self._events.handle_exit(self, f"{exit_reason}: {self.kill_reason}" if self.kill_reason else exit_reason)

    def _report_lost(self) -> int:
        """Log what died with the worker, and count it; return how many connections, or 1 where that is not known."""
        if (lost := self.ledger.report_lost()) is None:
            return 1
        self.stats = self.stats | {"cut": self.stats.get("cut", 0) + lost}
        return lost

    def _reap(self) -> str:
        """Wait for the process; return how it ended: ``exit status 3``, ``SIGSEGV``."""
        _, status = os.waitpid(self.pid, 0)
        self._on(WorkerEvent.EXIT)
        return exit_status.describe(status)

    def _close(self) -> None:
        if self._load_timer:
            self._load_timer.cancel()
        if self._loop:
            self._loop.unwatch(self.pidfd)
            self._loop.unwatch(self.channel.fileno())
        self._stacks.close()
        os.close(self.pidfd)
        if self._lifeline >= 0:
            os.close(self._lifeline)
        self.ledger.close()
        self.channel.close()

    # --- what it says

    def _on_readable(self) -> None:
        assert self._loop is not None
        try:
            for message, values in self.channel.pending():
                assert isinstance(message, FromWorker)
                self._keep(message, values)
                self._events.handle_message(self, message)
        except ChannelClosed:
            self._loop.unwatch(self.channel.fileno())  # its exit comes next
        except BadMessage as error:
            self._loop.unwatch(self.channel.fileno())
            if not self.kill_reason:
                self.kill_reason = f"it sent what is no message: {error}"
                log.worker_killed(self.pid, self.kill_reason)
            self.kill()

    def _keep(self, message: FromWorker, values: dict[str, Any]) -> None:
        self.last_message_at = monotonic()
        self.is_sharing = self.is_sharing or message is FromWorker.SHARING
        event = _EVENTS.get(message)
        if event and (self.state, event) in TRANSITIONS:  # user code may shut its server down before it serves
            self._on(event)
        if message is FromWorker.READY:
            self.info = values
            if self._load_timer:  # an idle server does not wake for nothing
                self._load_timer.cancel()
        elif message is FromWorker.FAILED:
            self.failure = values
        elif message is FromWorker.RECYCLE:
            self.recycle_reason = values["why"]
        elif "stats" in values:
            self.stats = values["stats"]
