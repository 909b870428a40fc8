"""One clock for all parts of a supervisor, and a loop in which time passes when the test says so."""

from __future__ import annotations

import pytest

from srvctl.supervisor import (
    deadline,
    health,
    queue_watch,
    restart_policy,
    retirement,
    rollout,
    service,
    stats,
    worker_pool,
    worker_process,
)
from tests.serving.running import Clock, FakeLoop


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time of every part."""
    clock = Clock()
    parts = (health, queue_watch, retirement, rollout, service, stats, worker_pool, worker_process)
    for module in (*parts, deadline, restart_policy):
        monkeypatch.setattr(module, "monotonic", clock)
    return clock


@pytest.fixture
def loop(clock: Clock) -> FakeLoop:
    """The loop of the supervisor."""
    return FakeLoop(clock)
