"""The notifications to the service manager."""

from __future__ import annotations

import pytest

from srvctl.supervisor import notifier
from srvctl.supervisor.notifier import SystemdNotifier
from srvctl.supervisor.worker_state import WorkerState
from tests.supervisor.fakes import FakeWorker


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The lines of each notification."""
    messages: list[list[str]] = []
    monkeypatch.setattr(notifier.systemd, "notify", lambda text: messages.append(text.splitlines()))
    return messages


@pytest.fixture
def workers() -> list[FakeWorker]:
    """Two that serve, and one that loads."""
    workers = [FakeWorker(pid) for pid in (1, 2, 3)]
    for worker in workers[:2]:
        worker.state = WorkerState.SERVING
    return workers


STATS = {"conversations": 2, "served": 4, "failed": 0, "refused": 2, "sent": 100, "waiting": 0}
STATUS = "STATUS=serving on tcp://h:1 with 2 workers: 2 conversations, 4 served, 0 failed, 2 refused"


def test_ready_comes_with_the_status(sent: list[list[str]], workers: list[FakeWorker]) -> None:
    """How many workers serve, and what they have done together."""
    SystemdNotifier("tcp://h:1", 30.0).ready(workers, STATS)
    assert sent == [["READY=1", STATUS]]


def test_clients_that_wait_are_in_the_status(sent: list[list[str]], workers: list[FakeWorker]) -> None:
    """And what is not known counts as none."""
    notified = SystemdNotifier("tcp://h:1", 30.0)
    notified.status(workers, STATS | {"waiting": 3})
    notified.status(workers, {})
    assert sent[0] == [f"{STATUS}, 3 waiting"]
    assert sent[1] == ["STATUS=serving on tcp://h:1 with 2 workers: 0 conversations, 0 served, 0 failed, 0 refused"]


def test_the_error_of_a_reload_stays_in_the_status(sent: list[list[str]], workers: list[FakeWorker]) -> None:
    """Until a reload succeeds."""
    notified = SystemdNotifier("tcp://h:1", 30.0)
    notified.ready(workers, STATS, "the last reload failed: no such module")
    notified.status(workers, STATS)
    notified.ready(workers, STATS)
    assert [lines[-1] for lines in sent] == [f"{STATUS}; the last reload failed: no such module"] * 2 + [STATUS]


def test_a_reload_has_its_time_in_the_same_message(sent: list[list[str]]) -> None:
    """As Type=notify-reload asks."""
    SystemdNotifier("tcp://h:1", 30.0).reloading()
    assert sent[0][0] == "RELOADING=1"
    assert sent[0][1].startswith("MONOTONIC_USEC=")
    assert int(sent[0][1].partition("=")[2]) > 0


def test_a_stop_asks_for_the_time_of_its_drain(sent: list[list[str]]) -> None:
    """And five seconds more."""
    SystemdNotifier("tcp://h:1", 30.0).stopping()
    assert sent == [["STOPPING=1", "STATUS=draining", "EXTEND_TIMEOUT_USEC=35000000"]]
