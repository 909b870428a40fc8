"""The worker pool: what becomes of slots and workers, with workers that do only what the test says."""

from __future__ import annotations

from typing import Any

import pytest

from srvctl.supervisor.ledger import Ledger
from srvctl.supervisor.places import Places
from srvctl.supervisor.restart_policy import IMMEDIATE_RESTARTS, TRY_SECONDS
from srvctl.supervisor.rollout import ANSWER_TIMEOUT_SECONDS, PROBATION_SECONDS
from srvctl.supervisor.worker_pool import KILL_GRACE_SECONDS, RECYCLE_PAUSE_SECONDS, WorkerPool
from srvctl.supervisor.worker_process import DISMISSAL_SECONDS
from srvctl.worker.protocol import FromWorker, ToWorker
from tests.serving.running import FakeLoop
from tests.supervisor.fakes import FakeWorker

GRACEFUL_SECONDS, START_LIMIT = 30.0, 3


class Scene:
    """A pool, its workers in the order of their start, and in `events` what it has notified its owner of."""

    def __init__(self, loop: FakeLoop) -> None:
        self.loop = loop
        self.workers: list[FakeWorker] = []
        self.events: list[str] = []
        self.can_start = True
        self.pool = WorkerPool(loop, self._start, self, GRACEFUL_SECONDS, KILL_GRACE_SECONDS, START_LIMIT)  # type: ignore[arg-type]

    def _start(self, index: int, count: int) -> FakeWorker:
        if not self.can_start:
            raise OSError(11, "Resource temporarily unavailable")
        self.workers.append(FakeWorker(len(self.workers) + 1, index, count))
        return self.workers[-1]

    def __getitem__(self, pid: int) -> FakeWorker:
        return self.workers[pid - 1]

    def make_ready(self, *pids: int) -> None:
        """Have workers report that they are ready."""
        for pid in pids:
            self[pid].become_ready()

    def pass_probation(self) -> None:
        """Let a rollout be committed, and finish: the old workers report that they have stopped accepting."""
        self.loop.pass_(PROBATION_SECONDS)
        for worker in self.workers:
            if worker.messages[-1:] == [ToWorker.DRAIN] and worker.is_in_service:
                worker.report(FromWorker.NOT_ACCEPTING)

    @property
    def serving(self) -> list[int]:
        return [worker.pid for worker in self.pool.serving]

    def on_started(self, worker: Any) -> None:
        pass

    def on_serving(self, info: dict[str, Any]) -> None:
        self.events.append("serving")

    def on_first_failure(self, worker: Any, reason: str) -> None:
        self.events.append(f"first failure: {reason}")

    def on_reloaded(self, failure: str) -> None:
        self.events.append(f"not reloaded: {failure}" if failure else "reloaded")

    def on_death(self, worker: Any) -> bool:
        return True

    def on_crash_loop(self, reason: str) -> None:
        self.events.append(f"crash loop: {reason}")

    def on_drained(self, worker: Any) -> None:
        self.events.append(f"drained {worker.pid}")

    def on_all_exited(self) -> None:
        self.events.append("all exited")

    def on_message(self, worker: Any, message: FromWorker) -> None:
        self.events.append(f"{message.value} of {worker.pid}")


@pytest.fixture
def starting(loop: FakeLoop) -> Scene:
    """A pool of two workers that load."""
    scene = Scene(loop)
    scene.pool.start(2)
    return scene


@pytest.fixture
def scene(starting: Scene) -> Scene:
    """A pool of two workers that serve, 1 and 2; the events of the start are forgotten."""
    starting.make_ready(1, 2)
    starting.events.clear()
    return starting


# --- the start


def test_no_worker_serves_before_all_are_ready(starting: Scene) -> None:
    """The first workers begin together."""
    starting.make_ready(2)
    assert (starting.events, starting.serving) == ([], [])
    starting.make_ready(1)
    assert (starting.events, starting.serving) == (["serving"], [1, 2])


def test_a_worker_that_fails_at_the_start_ends_the_start(starting: Scene) -> None:
    """The owner is notified once, and the other worker is killed."""
    starting[1].exit("exit status 78")
    assert starting.events == ["first failure: exit status 78"]
    assert starting[2].is_killed


def test_a_worker_that_cannot_be_started_ends_the_start(loop: FakeLoop) -> None:
    """With the system's reason."""
    scene = Scene(loop)
    scene.can_start = False
    scene.pool.start(1)
    assert scene.events == ["first failure: cannot start a worker: Resource temporarily unavailable"]


# --- reloads


def test_old_workers_retire_after_the_probation_of_their_successors(scene: Scene) -> None:
    """Successors serve beside the old workers first; then those drain, and leave the backlog alone."""
    assert scene.pool.reload()
    scene.make_ready(3, 4)
    assert scene[3].is_in_service
    assert (scene.serving, scene.events) == ([1, 2], [])
    scene.pass_probation()
    assert (scene.serving, scene.events) == ([3, 4], ["reloaded"])
    assert [scene[pid].channel.sent[-1] for pid in (1, 2)] == [
        (ToWorker.DRAIN, {"seconds": GRACEFUL_SECONDS, "keep_queue": True})
    ] * 2


def test_a_reload_is_over_when_the_old_workers_have_stopped_accepting(scene: Scene) -> None:
    """One reports so, and one ends."""
    scene.pool.reload()
    scene.make_ready(3, 4)
    scene.loop.pass_(PROBATION_SECONDS)
    assert (scene.serving, scene.events, scene.pool.is_in_rollout) == ([3, 4], [], True)
    scene[1].report(FromWorker.NOT_ACCEPTING)
    assert scene.events == []
    scene[2].exit()
    assert scene.events == ["reloaded", "drained 2"]


def test_an_old_worker_that_does_not_report_holds_a_reload_up_for_a_second(scene: Scene) -> None:
    """Its handler may hold up its loop."""
    scene.pool.reload()
    scene.make_ready(3, 4)
    scene.loop.pass_(PROBATION_SECONDS + 0.9)
    assert scene.events == []
    scene.loop.pass_(0.2)
    assert (scene.events, scene.pool.is_in_rollout) == (["reloaded"], False)


def test_a_reload_that_is_asked_for_during_a_reload_comes_after_it(scene: Scene) -> None:
    """Once, however often it was asked for."""
    scene.pool.reload()
    assert not scene.pool.reload()
    assert not scene.pool.reload()
    assert scene.pool.will_reload
    scene.make_ready(3, 4)
    scene.pass_probation()
    scene.make_ready(5, 6)
    scene.pass_probation()
    assert (scene.serving, len(scene.workers), scene.pool.will_reload) == ([5, 6], 6, False)


@pytest.mark.parametrize("is_ready", [False, True], ids=["loading", "on probation"])
def test_one_successor_that_fails_rolls_everything_back(is_ready: bool, scene: Scene) -> None:
    """The other one is killed, or drained if it serves; the old workers are not even notified."""
    scene.pool.reload()
    if is_ready:
        scene.make_ready(3, 4)
    scene[3].exit()
    scene.pass_probation()
    assert (scene.serving, scene.events) == ([1, 2], ["not reloaded: SIGKILL"])
    assert (scene[4].messages[-1:], scene[4].is_killed) == (([ToWorker.DRAIN], False) if is_ready else ([], True))
    assert ToWorker.DRAIN not in scene[1].messages + scene[2].messages


def test_a_successor_takes_the_place_of_a_worker_that_died_during_the_reload(scene: Scene) -> None:
    """It is not replaced once more afterwards."""
    scene.pool.reload()
    scene[1].exit()
    scene.make_ready(3, 4)
    scene.pass_probation()
    scene.loop.pass_(10.0)
    assert (scene.serving, len(scene.workers)) == ([3, 4], 4)


def test_an_old_worker_that_is_late_is_killed(scene: Scene) -> None:
    """After its deadline, and the grace."""
    scene.pool.reload()
    scene.make_ready(3, 4)
    scene.pass_probation()
    scene[1].exit()
    scene.loop.pass_(GRACEFUL_SECONDS)
    assert not scene[2].is_killed
    scene.loop.pass_(KILL_GRACE_SECONDS + 0.01)
    assert (scene[1].is_killed, scene[2].is_killed) == (False, True)


# --- workers that are recycled


def test_a_worker_that_asks_on_probation_is_recycled_after_it(scene: Scene) -> None:
    """It asks once; the pool remembers it until the rollout is over."""
    scene.pool.recycle(scene[1], "it is old")
    scene.make_ready(3)
    scene.pool.recycle(scene[3], "it is old, too")
    scene.pass_probation()
    assert (scene.serving, scene[4].index) == ([3, 2], 0)


def test_two_workers_are_recycled_one_after_the_other(scene: Scene) -> None:
    """The second waits until the first has been replaced."""
    for pid in (1, 2):
        scene.pool.recycle(scene[pid], "it is old")
    assert [worker.index for worker in scene.workers] == [0, 1, 0]
    scene.make_ready(3)
    scene.pass_probation()
    assert [worker.index for worker in scene.workers] == [0, 1, 0, 1]


def test_a_worker_whose_successor_failed_is_recycled_later(scene: Scene) -> None:
    """It serves until then."""
    scene.pool.recycle(scene[1], "it is old")
    scene[3].exit()
    assert (scene.serving, len(scene.workers)) == ([1, 2], 3)
    scene.loop.pass_(RECYCLE_PAUSE_SECONDS)
    assert [worker.index for worker in scene.workers] == [0, 1, 0, 0]


# --- workers that die


def test_a_worker_that_dies_is_replaced_at_once(scene: Scene) -> None:
    """In its own slot, and its death is counted."""
    scene[2].exit()
    scene.loop.pass_(0.0)
    scene.make_ready(3)
    assert (scene.serving, scene[3].index, scene.pool.restarts) == ([1, 3], 1, 1)


def test_workers_that_keep_dying_are_replaced_after_a_pause(scene: Scene) -> None:
    """After as many as are replaced at once; the other slot is not held up."""
    for _ in range(IMMEDIATE_RESTARTS):
        scene.workers[-1].exit()
        scene.loop.pass_(0.0)
        scene.workers[-1].become_ready()
    count = len(scene.workers)
    scene.workers[-1].exit()
    scene.loop.pass_(0.05)
    assert len(scene.workers) == count
    scene.loop.pass_(0.06)
    assert len(scene.workers) == count + 1


def test_a_crash_loop_is_reported_when_no_worker_serves(scene: Scene) -> None:
    """Starts have failed in a row, as many as are allowed and for as long as they are tried."""
    scene[1].exit()
    scene[2].exit()
    began = scene.loop._clock.now
    while not scene.events:
        scene.loop.pass_(2.0)
        scene.workers[-1].exit("exit status 1")
    assert scene.events == ["crash loop: exit status 1"]
    assert scene.loop._clock.now - began >= TRY_SECONDS
    assert len(scene.workers) >= 2 + START_LIMIT


# --- how many there are


def test_shares_change_with_the_number_of_workers(scene: Scene) -> None:
    """Each worker gets its new share of the limit."""
    scene.pool.add()
    assert scene[1].channel.sent[1:] == [(ToWorker.SET_LIMIT, {"index": 0, "count": 3})]
    assert (scene[3].index, scene[3].count) == (2, 3)
    scene.make_ready(3)
    assert scene.pool.remove()
    assert scene[1].channel.sent[2:] == [(ToWorker.SET_LIMIT, {"index": 0, "count": 2})]
    assert scene[3].messages == [ToWorker.SET_LIMIT, ToWorker.SERVE, ToWorker.DRAIN]


def test_no_worker_is_removed_below_one_or_during_a_rollout(scene: Scene) -> None:
    """The answer says so."""
    scene.pool.reload()
    assert not scene.pool.remove()
    scene.make_ready(3, 4)
    scene.pass_probation()
    assert scene.pool.remove()
    assert not scene.pool.remove()
    assert scene.serving == [3]


def sharing(scene: Scene, *pids: int) -> None:
    """Give workers a ledger, so that they can share the limit."""
    for pid in pids:
        scene[pid].ledger = Ledger(taken=0, places=Places(-1))


def test_old_workers_share_the_limit_before_new_ones_serve(scene: Scene) -> None:
    """All of them have answered that; when the old ones have ended, each counts for itself again."""
    sharing(scene, 1, 2)
    scene.pool.reload()
    scene.make_ready(3, 4)
    assert scene[1].messages[-1] is scene[2].messages[-1] is ToWorker.SHARE_LIMIT
    scene[1].report(FromWorker.SHARING)
    assert ToWorker.SERVE not in scene[3].messages
    sharing(scene, 3, 4)
    scene[3].is_sharing = scene[4].is_sharing = True  # as their setup says
    scene[2].report(FromWorker.SHARING)
    assert scene[3].messages == scene[4].messages == [ToWorker.SERVE]
    scene.pass_probation()
    scene[1].exit()
    assert scene[3].is_sharing
    scene[2].exit()
    assert scene[3].channel.sent[-1] == (ToWorker.SHARE_LIMIT, {"is_shared": False})
    assert not (scene[3].is_sharing or scene[4].is_sharing)


@pytest.mark.parametrize("how", ["late", "dead", "old"])
def test_a_worker_that_does_not_answer_holds_up_no_rollout(scene: Scene, how: str) -> None:
    """One whose handler keeps the loop, one that dies, and one of an older srvctl, which is not asked."""
    if how != "old":
        sharing(scene, 1)
    scene.pool.reload()
    scene.make_ready(3, 4)
    assert (ToWorker.SERVE in scene[3].messages) is (how == "old")
    if how == "dead":
        scene[1].exit()
    else:
        scene.loop.pass_(ANSWER_TIMEOUT_SECONDS)
    assert scene[3].messages[0] is ToWorker.SERVE


def test_a_rollout_that_fails_while_the_limit_is_shared_is_rolled_back(scene: Scene) -> None:
    """No late answer makes its successors serve."""
    sharing(scene, 1)
    scene.pool.reload()
    scene.make_ready(3, 4)
    scene[3].exit()
    scene[1].report(FromWorker.SHARING)
    scene.loop.pass_(10)
    assert ToWorker.SERVE not in scene[4].messages
    assert scene.serving == [1, 2]


def test_counters_outlive_workers_and_conversations_do_not(scene: Scene) -> None:
    """Over reloads and deaths; and the next program is given them."""
    scene[1].stats, scene[2].stats = {"conversations": 2, "served": 10}, {"conversations": 1, "served": 1}
    scene[1].exit()
    assert scene.pool.stats() == {"conversations": 1, "served": 11}
    scene[2].hand_over = dict  # type: ignore[method-assign]
    assert scene.pool.hand_over()["past_counters"] == {"served": 10}


def test_a_worker_that_was_ready_in_vain_ends_itself(scene: Scene) -> None:
    """It has something to give back; when it is late it is killed."""
    scene.pool.reload()
    scene.make_ready(3)
    scene[4].exit()
    assert (scene[3].messages, scene[3].is_killed) == ([ToWorker.STOP_NOW], False)
    scene.loop.pass_(DISMISSAL_SECONDS)
    assert scene[3].is_killed


# --- the stop


def test_a_drain_stops_those_that_serve_and_kills_those_that_load(scene: Scene) -> None:
    """With the backlog; the owner is notified when the last one has ended."""
    scene.pool.reload()
    scene.pool.drain()
    assert scene[1].channel.sent[-1] == (ToWorker.DRAIN, {"seconds": GRACEFUL_SECONDS, "keep_queue": False})
    assert (scene[3].is_killed, scene[4].is_killed) == (True, True)
    for worker in scene.workers:
        worker.exit()
    assert scene.events == ["drained 1", "drained 2", "all exited"]


def test_a_drain_lets_workers_that_retire_go_on_without_their_quiet_connections(scene: Scene) -> None:
    """A second word to drain would mean: now."""
    scene.pool.reload()
    scene.make_ready(3, 4)
    scene.pass_probation()
    scene.pool.drain()
    assert scene[1].messages[-2:] == [ToWorker.DRAIN, ToWorker.CLOSE_IDLE]
    assert scene[3].messages[-1] is ToWorker.DRAIN


def test_a_drain_commits_no_rollout_and_starts_none(scene: Scene) -> None:
    """Neither the one that is under way, nor those that wait."""
    scene.pool.reload()
    scene.make_ready(3, 4)
    scene.pool.recycle(scene[1], "it is old")
    scene.pool.drain()
    scene.loop.pass_(60.0)
    assert (scene.serving, len(scene.workers)) == ([1, 2], 4)


def test_other_messages_go_to_the_owner(scene: Scene) -> None:
    """Those that are not about the life of a worker."""
    scene[1].report(FromWorker.HEARTBEAT, stats={"served": 1})
    assert scene.events == ["heartbeat of 1"]
    assert scene[1].stats == {"served": 1}
