"""Parts with fakes around them, and one clock for all."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from srvctl.config.settings import Settings
from srvctl.runtime import rate_limit
from srvctl.serving import acceptor, conversation, deadlines, drain, executor
from srvctl.serving.acceptor import Acceptor
from srvctl.serving.closing import Closing
from srvctl.serving.counters import Counters
from srvctl.serving.deadlines import Deadlines
from srvctl.serving.drain import Drain
from srvctl.serving.table import ConversationTable
from tests.serving.running import Clock, FakeExecutor, FakeLoop, FakeSource


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time of every part."""
    clock = Clock()
    for module in (acceptor, conversation, deadlines, drain, executor):
        monkeypatch.setattr(module, "monotonic", clock)
    monkeypatch.setattr(rate_limit.time, "monotonic", clock)
    return clock


@pytest.fixture
def loop(clock: Clock) -> FakeLoop:
    """A loop in which time passes when the test says so."""
    return FakeLoop(clock)


@pytest.fixture
def parts(loop: FakeLoop) -> Any:
    """Make the parts around a fake source and a fake executor, with options of a server."""

    def make(*given: Any, admission: Any = None, limit: int = 10, **options: Any) -> Any:
        settings = Settings.resolve("tcp", ":0", "x", "threads", **options)
        table, counters, source, executor_ = ConversationTable(), Counters(), FakeSource(*given), FakeExecutor(limit)
        closing = Closing(table, counters)
        closing._loop = loop  # type: ignore[assignment]
        executor_._closing = closing
        deadlines_ = Deadlines(settings, table, executor_)
        deadlines_.open(loop)  # type: ignore[arg-type]
        acceptor_ = Acceptor(source, admission, table, deadlines_, executor_, closing, waits_when_full=True)  # type: ignore[arg-type]
        executor_.open(loop, acceptor_)  # type: ignore[arg-type]
        acceptor_.open(loop)  # type: ignore[arg-type]
        drain_ = Drain(acceptor_, table, deadlines_, executor_, closing)
        return SimpleNamespace(
            table=table,
            counters=counters,
            source=source,
            executor=executor_,
            closing=closing,
            deadlines=deadlines_,
            acceptor=acceptor_,
            drain=drain_,
            loop=loop,
        )

    return make
