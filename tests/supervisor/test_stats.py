"""The sum of the workers' stats, and the report of the state."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from srvctl.supervisor import stats
from srvctl.supervisor.stats import REPORT_SECONDS, StateReport, counters, log_state, total
from srvctl.supervisor.worker_state import WorkerState
from srvctl.worker.protocol import FromWorker, ToWorker
from tests.serving.running import FakeLoop
from tests.supervisor.fakes import FakeWorker


class Scene:
    """Two workers that serve and one that loads, and how often the report was written."""

    def __init__(self, loop: FakeLoop) -> None:
        self.written = 0
        self.report = StateReport(loop, self._write)  # type: ignore[arg-type]
        self.workers = [FakeWorker(pid) for pid in (1, 2, 3)]
        owner = SimpleNamespace(handle_message=lambda worker, message: self.report.handle_stats(worker))
        for worker in self.workers:
            worker.attach(loop, owner)
            worker.state = WorkerState.LOADING if worker.pid == 3 else WorkerState.SERVING

    def _write(self) -> None:
        self.written += 1

    def answer(self, pid: int) -> None:
        self.workers[pid - 1].report(FromWorker.STATS, stats={"served": pid})


def test_the_total_is_by_name() -> None:
    """A worker that has not reported counts nothing."""
    assert total([{"served": 1, "cut": 2}, {"served": 10}, {}]) == {"served": 11, "cut": 2}


def test_what_is_no_counter_ends_with_its_worker() -> None:
    """Its conversations have."""
    assert counters({"conversations": 3, "served": 1}) == {"served": 1}


def test_a_report_is_written_when_all_have_answered(loop: FakeLoop) -> None:
    """Those that serve are asked, and no timer is left."""
    scene = Scene(loop)
    scene.report.begin(scene.workers)
    assert [worker.messages for worker in scene.workers] == [[ToWorker.REPORT], [ToWorker.REPORT], []]
    scene.answer(1)
    assert scene.written == 0
    scene.answer(2)
    loop.pass_(REPORT_SECONDS)
    assert scene.written == 1


def test_a_worker_that_does_not_answer_holds_a_report_up_for_a_second(loop: FakeLoop) -> None:
    """An answer after that writes no second one."""
    scene = Scene(loop)
    scene.report.begin(scene.workers)
    scene.answer(1)
    loop.pass_(REPORT_SECONDS)
    scene.answer(2)
    assert scene.written == 1


def test_the_state_is_a_line_for_each_worker_and_one_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the state of each."""
    lines: list[Any] = []
    monkeypatch.setattr(stats.log, "worker_state", lambda pid, age, state, figures: lines.append((pid, state)))
    monkeypatch.setattr(stats.log, "state", lambda **values: lines.append(values))
    worker = FakeWorker(1)
    worker.state, worker.stats = WorkerState.DRAINING, {"served": 4}
    log_state("serving", "tcp://127.0.0.1:1", iter([worker]), 2, {"served": 5, "waiting": 1})
    assert lines == [
        (1, "draining"),
        {"state": "serving", "address": "tcp://127.0.0.1:1", "workers": 1, "restarts": 2, "served": 5, "waiting": 1},
    ]
