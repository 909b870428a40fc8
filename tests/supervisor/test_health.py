"""Health checks: workers that do not load, that send no heartbeats, and the watchdog of the service manager."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from srvctl.config.settings import Settings
from srvctl.runtime.channel import LAST_STACKS
from srvctl.supervisor import health
from srvctl.supervisor.health import LAST_STACKS_SECONDS, HealthMonitor
from srvctl.supervisor.worker_state import WorkerState
from srvctl.worker.protocol import FromWorker
from tests.serving.running import FakeLoop
from tests.supervisor.fakes import FakeWorker


@pytest.fixture
def notified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the service manager is notified of."""
    sent: list[str] = []
    monkeypatch.setattr(health.systemd, "notify", sent.append)
    return sent


def monitor(loop: FakeLoop, *workers: FakeWorker, **options: Any) -> HealthMonitor:
    """Return a monitor of workers that serve."""
    owner = SimpleNamespace(handle_message=lambda worker, message: None)
    for worker in workers:
        worker.attach(loop, owner)
    pool: Any = SimpleNamespace(serving=list(workers))
    return HealthMonitor(loop, pool, Settings.resolve("tcp", ":0", "x", "threads", **options))  # type: ignore[arg-type]


def serving(pid: int) -> FakeWorker:
    worker = FakeWorker(pid)
    worker.state = WorkerState.SERVING
    return worker


def heartbeat(worker: FakeWorker) -> None:
    worker.report(FromWorker.HEARTBEAT, stats={})


def test_without_limits_there_are_no_heartbeats_and_no_timers(loop: FakeLoop) -> None:
    """An idle server does not wake."""
    checked = monitor(loop, serving(1), hang_timeout=0.0)
    checked.begin()
    assert (checked.heartbeat_seconds, loop.timers) == (0.0, [])


def test_a_worker_without_heartbeats_is_killed_after_its_last_stacks(loop: FakeLoop) -> None:
    """The other one goes on."""
    silent, well = serving(1), serving(2)
    checked = monitor(loop, silent, well, hang_timeout=8.0)
    assert checked.heartbeat_seconds == 2.0
    checked.begin()
    for _ in range(5):
        loop.pass_(2.0)
        heartbeat(well)
    assert (silent.signals, silent.is_killed) == ([LAST_STACKS], False)
    loop.pass_(LAST_STACKS_SECONDS)
    assert (silent.is_killed, well.is_killed) == (True, False)
    assert silent.kill_reason == "it has not answered for 10.0 s"
    assert well.signals == []


@pytest.mark.parametrize("is_in_time", [True, False])
def test_a_worker_has_a_time_to_load(is_in_time: bool, loop: FakeLoop) -> None:
    """It is killed if it is not ready by then; once it is, no timer is left."""
    worker = FakeWorker(1)
    checked = monitor(loop, worker, start_timeout=5.0)
    checked.limit_loading(worker)
    loop.pass_(4.9)
    if is_in_time:
        worker.become_ready()
    loop.pass_(0.2 + LAST_STACKS_SECONDS)
    assert worker.is_killed is not is_in_time
    assert worker.kill_reason == ("" if is_in_time else "it has not loaded within 5 s")


def test_a_worker_is_killed_once(loop: FakeLoop) -> None:
    """The first reason is kept."""
    worker = serving(1)
    checked = monitor(loop, worker)
    checked.kill(worker, "one reason")
    checked.kill(worker, "another")
    assert (worker.kill_reason, worker.signals) == ("one reason", [LAST_STACKS])


def test_the_watchdog_is_notified_while_all_workers_are_well(
    loop: FakeLoop, notified: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In half of its time; a worker that is late has the rest of it, and the watchdog is notified soon after that."""
    monkeypatch.setattr(health.systemd, "watchdog_seconds", lambda: 8.0)
    worker = serving(1)
    checked = monitor(loop, worker, hang_timeout=0.0)
    assert checked.heartbeat_seconds == 2.0
    checked.begin()
    loop.pass_(4.0)
    assert notified == ["WATCHDOG=1"] * 2
    loop.pass_(4.0)
    assert notified == ["WATCHDOG=1"] * 2
    heartbeat(worker)
    loop.pass_(1.0)
    assert notified == ["WATCHDOG=1"] * 3
