"""Workers without processes, for the parts of a supervisor."""

from __future__ import annotations

from typing import Any

from srvctl.supervisor.worker_process import WorkerProcess
from srvctl.supervisor.worker_state import WorkerState
from srvctl.worker.protocol import FromWorker, ToWorker

INFO = {"name": "TCPServer", "parts": [], "file": "x.py"}


class FakeChannel:
    """A channel that keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[ToWorker, dict[str, Any]]] = []

    def send(self, message: ToWorker, **values: Any) -> None:
        assert values.keys() == message.fields
        self.sent.append((message, values))


class FakeWorker(WorkerProcess):
    """A worker without a process; `pid` counts from 1. The test says what it reports, and when it ends."""

    def __init__(self, pid: int, index: int = 0, count: int = 1) -> None:
        self.channel: FakeChannel  # type: ignore[assignment]
        super().__init__(pid, -1, -1, -1, FakeChannel(), WorkerState.LOADING)  # type: ignore[arg-type]
        self.index, self.count = index, count
        self.is_killed = self.has_written_stacks = False
        self.signals: list[Any] = []
        self.load_timeouts: list[Any] = []

    def attach(self, loop: Any, events: Any) -> None:
        self._loop, self._events = loop, events

    def report(self, message: FromWorker, **values: Any) -> None:
        """Have it send a message."""
        assert values.keys() == message.fields
        self._keep(message, values)
        self._events.handle_message(self, message)

    def become_ready(self) -> None:
        """Have it report that it is ready."""
        self.report(FromWorker.READY, **INFO)

    def exit(self, reason: str = "SIGKILL") -> None:
        """Have the process end."""
        self.cut = int(self.is_in_service)
        self.state = WorkerState.EXITED
        self._events.handle_exit(self, reason)

    def kill(self) -> None:
        self.is_killed = True

    def end(self) -> None:
        self.kill()
        self.state = WorkerState.EXITED

    def _signal(self, number: Any) -> None:
        self.signals.append(number)

    @property
    def messages(self) -> list[ToWorker]:
        """What it was sent."""
        return [message for message, _ in self.channel.sent]
