"""A composed server in a thread of the test, and the fakes that stand for what a part works with."""

from __future__ import annotations

import contextlib
import heapq
import threading
from collections import deque
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from srvctl.serving.conversation import METER_ITEMS, Conversation
from srvctl.serving.executor import Executor
from srvctl.serving.server import Server

PATIENCE = 10.0


@contextlib.contextmanager
def running(server: Server) -> Iterator[None]:
    """Have `server` serve in a thread; it is drained behind the block."""
    begun = threading.Event()
    server.on_loop = lambda loop: loop.call_soon(begun.set)
    server.on_give_up = lambda: server._loop and server._loop.stop()
    loops: list[Any] = []
    begin = server.on_loop
    server.on_loop = lambda loop: (loops.append(loop), begin(loop))  # type: ignore[func-returns-value,assignment]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    assert begun.wait(PATIENCE)
    try:
        yield
    finally:
        loops[0].call_soon(lambda: server.drain(PATIENCE))
        thread.join(PATIENCE)
        server.server_close()
        assert not thread.is_alive()


class Clock:
    """Time that passes when a test says so; it stands for `monotonic`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeLoop:
    """What a part asks of the loop; `pass_` lets time pass, and makes the calls that are due."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._soon: deque[Callable[[], None]] = deque()
        self.timers: list[Any] = []
        self.watched: dict[int, Callable[[int], None]] = {}
        self.stopping = False

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._soon.append(callback)

    def call_at(self, when: float, callback: Callable[[], None]) -> Any:
        timer = _Timer(when, callback)
        heapq.heappush(self.timers, timer)
        return timer

    def watch(self, fd: int, callback: Callable[[int], None], events: int = 1) -> None:
        self.watched[fd] = callback

    def unwatch(self, fd: int) -> None:
        self.watched.pop(fd, None)

    def wake(self) -> None:
        pass

    def stop(self) -> None:
        self.stopping = True

    def pass_(self, seconds: float = 0.0) -> None:
        until = self._clock.now + seconds
        self._run_soon()
        while self.timers and self.timers[0].when <= until:
            timer = heapq.heappop(self.timers)
            self._clock.now = max(self._clock.now, timer.when)
            timer.callback()
            self._run_soon()
        self._clock.now = until
        self._run_soon()

    def _run_soon(self) -> None:
        while self._soon:
            self._soon.popleft()()


class _Timer:
    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when, self.callback = when, callback

    def cancel(self) -> None:
        self.callback = lambda: None

    def __lt__(self, other: _Timer) -> bool:
        return self.when < other.when


class FakeConnection:
    """A connection that notes what is done to it."""

    at_eof = True
    family = 0

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.calls: list[Any] = []

    def close(self) -> None:
        self.calls.append("close")

    def shutdown(self, how: int) -> None:
        self.calls.append(("shutdown", int(how)))

    def settimeout(self, seconds: float | None) -> None:
        self.calls.append(("settimeout", seconds))

    def fileno(self) -> int:
        raise ValueError("closed")


def conversation(number: int = 0) -> Conversation:
    """Return a conversation with a fake connection."""
    return Conversation(FakeConnection(number), ("192.0.2.1", number), [0] * METER_ITEMS)


class FakeSource:
    """What `accept` returns or raises, in the order in which it was given."""

    is_stream = is_own = True

    def __init__(self, *given: Any) -> None:
        self.given = deque(given)
        self.is_closed = False

    def fileno(self) -> int:
        return 7

    def accept(self) -> Conversation:
        if not self.given:
            raise BlockingIOError
        if isinstance(self.given[0], BaseException):
            raise self.given.popleft()
        found: Conversation = self.given.popleft()
        return found

    def is_harmless(self, error: OSError) -> bool:
        return False

    def drop_reported_errors(self) -> None:
        self.given.clear()

    def close(self) -> None:
        self.is_closed = True


class FakeExecutor(Executor):
    """Notes what is run, and ends nothing."""

    def __init__(self, limit: int = 10) -> None:
        handling: Any = SimpleNamespace(establish=None)
        super().__init__(handling, None, limit)  # type: ignore[arg-type]
        self.running: list[Conversation] = []
        self.cuts: list[Conversation] = []
        self.kills: list[Conversation] = []
        self.error: BaseException | None = None

    def run(self, conversation: Conversation) -> None:
        if self.error:
            raise self.error
        self.running.append(conversation)
        self._acceptor.pause_when_full()

    def is_full(self) -> bool:
        return len(self.running) >= self.limit

    def cut(self, conversation: Conversation) -> None:
        super().cut(conversation)
        self.cuts.append(conversation)

    def kill(self, conversation: Conversation) -> None:
        self.kills.append(conversation)
