"""The roster by itself: what becomes of slots and workers, with workers that do nothing but what the test says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from srvctl.runtime.loop import Loop
from srvctl.supervisor import worker_pool
from srvctl.supervisor.worker_pool import WorkerPool


class FakeChannel:
    """A channel whose messages stay in lists; its descriptor is a pipe on which nothing comes."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.coming: list[tuple[str, dict[str, Any]]] = []

    def fileno(self) -> int:
        return self._read

    def send(self, word: str, **values: Any) -> None:
        self.sent.append((word, values))

    def pending(self) -> Iterator[tuple[str, dict[str, Any]]]:
        coming, self.coming = self.coming, []
        yield from coming

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)


class FakeWorker:
    """A worker for the roster: `pid` counts from 1."""

    def __init__(self, pid: int, index: int, count: int) -> None:
        self.pid, self.index, self.count = pid, index, count
        self.pidfd, self._pidfd_write = os.pipe()
        self.channel = FakeChannel()
        self.ready: dict[str, Any] | None = None
        self.start_timer = None
        self.is_serving = self.is_killed = self.is_held_up = False
        self.age = 1.0

    @property
    def words(self) -> list[str]:
        return [word for word, _ in self.channel.sent]

    def serve(self) -> None:
        self.is_serving = True

    def note(self, word: str, values: dict[str, Any]) -> None:
        pass

    def kill(self) -> None:
        self.is_killed = True

    def reap(self) -> str:
        return "SIGKILL"

    def take_stacks(self) -> str:
        return ""

    def bury(self) -> str:
        self.close()
        return "SIGKILL"

    def close(self) -> None:
        os.close(self.pidfd)
        os.close(self._pidfd_write)
        self.channel.close()


class Scene:
    """A roster, its workers in the order of their start, and in `told` what it has told of them."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.workers: list[FakeWorker] = []
        self.told: list[str] = []
        self.roster = WorkerPool(loop, self._start, 30.0, 3, self)  # type: ignore[arg-type]

    def _start(self, index: int, count: int) -> FakeWorker:
        self.workers.append(FakeWorker(len(self.workers) + 1, index, count))
        return self.workers[-1]

    def make_ready(self, *pids: int) -> None:
        """Have workers say ready."""
        for pid in pids:
            self.say(pid, "ready", name="TCPServer")

    def say(self, pid: int, word: str, **values: Any) -> None:
        """Have a worker say something."""
        self.workers[pid - 1].channel.coming.append((word, values))
        self.roster._listen_to(self.workers[pid - 1])  # type: ignore[arg-type]

    def end(self, pid: int) -> None:
        """Have a worker be gone."""
        self.roster._on_exit(self.workers[pid - 1])  # type: ignore[arg-type]

    def go_on(self) -> None:
        """Let those pass probation who are in it, and those be replaced whose pause is over: time is not waited for.

        Who was told to stop says that it does, unless it is held up.
        """
        for _ in range(2):
            self.run_timers()
            for worker in self.workers:
                if worker.words[-1:] == ["drain"] and not worker.is_held_up:
                    self.say(worker.pid, "draining")

    def run_timers(self) -> None:
        """Make the calls that are due within a second."""
        timers, self.loop.timers = self.loop.timers, []
        for timer in sorted(timers):
            if timer.callback and timer.when - 1.0 < worker_pool.monotonic():
                timer.callback()
            else:
                self.loop.timers.append(timer)
        self.loop.timers.sort()

    @property
    def serving(self) -> list[int]:
        return [worker.pid for worker in self.roster.serving]

    def on_serving(self, said: dict[str, Any]) -> None:
        self.told.append("serving")

    def on_first_failure(self, worker: Any, how: str) -> None:
        self.told.append("first failure")

    def on_reloaded(self, why_not: str) -> None:
        self.told.append(f"not reloaded: {why_not}" if why_not else "reloaded")

    def on_death(self, worker: Any, how: str) -> bool:
        return True

    def on_hopeless(self, how: str) -> None:
        self.told.append("hopeless")

    def on_drained(self, worker: Any) -> None:
        self.told.append(f"drained {worker.pid}")

    def on_empty(self) -> None:
        self.told.append("empty")

    def on_message(self, worker: Any, word: str) -> None:
        pass


@pytest.fixture
def scene() -> Iterator[Scene]:
    """A roster of two workers that serve: 1 and 2."""
    with closing(Loop()) as loop:
        scene = Scene(loop)
        scene.roster.fill(2)
        scene.make_ready(1, 2)
        yield scene
        scene.roster.kill_all()


def test_nobody_serves_before_all_are_ready() -> None:
    """The first workers begin together."""
    with closing(Loop()) as loop:
        scene = Scene(loop)
        scene.roster.fill(2)
        scene.make_ready(2)
        assert (scene.told, scene.serving) == ([], [])
        scene.make_ready(1)
        assert (scene.told, scene.serving) == (["serving"], [1, 2])
        scene.roster.kill_all()


def test_old_workers_retire_when_their_successors_have_passed(scene: Scene) -> None:
    """A reload's workers serve beside the old ones first; then those are told to leave, and leave the queue alone."""
    assert scene.roster.reload()
    scene.make_ready(3, 4)
    assert scene.workers[2].is_serving
    assert (scene.serving, scene.told) == ([1, 2], ["serving"])
    scene.go_on()
    assert (scene.serving, scene.told) == ([3, 4], ["serving", "reloaded"])
    assert [worker.channel.sent[-1] for worker in scene.workers[:2]] == [
        ("drain", {"seconds": 30.0, "keep_queue": True})
    ] * 2


def test_a_reload_is_over_when_the_old_workers_take_no_more_requests(scene: Scene) -> None:
    """One says so and one ends; and who is held up is waited for no longer than a second."""
    scene.workers[0].is_held_up = scene.workers[1].is_held_up = True
    scene.roster.reload()
    scene.make_ready(3, 4)
    scene.run_timers()
    assert (scene.serving, scene.told, scene.roster.is_changing) == ([3, 4], ["serving"], True)
    scene.say(1, "draining")
    assert scene.told == ["serving"]
    scene.end(2)
    assert scene.told == ["serving", "reloaded", "drained 2"]
    scene.workers[2].is_held_up = True
    scene.roster.reload()
    scene.make_ready(5, 6)
    scene.go_on()
    assert scene.told[3:] == ["reloaded"] and scene.serving == [5, 6]
    assert not scene.roster.is_changing


@pytest.mark.parametrize("is_ready", [False, True], ids=["loading", "on probation"])
def test_one_successor_that_fails_ends_the_change(is_ready: bool, scene: Scene) -> None:
    """The other is ended in the way that suits it, and the old ones go on without having heard of it."""
    scene.roster.reload()
    if is_ready:
        scene.make_ready(3, 4)
    scene.end(3)
    scene.go_on()
    assert (scene.serving, scene.told[1:]) == ([1, 2], ["not reloaded: SIGKILL"])
    assert (scene.workers[3].words, scene.workers[3].is_killed) == ((["drain"], False) if is_ready else ([], True))
    assert scene.workers[0].words == scene.workers[1].words == []


def test_a_successor_takes_the_place_of_one_that_died_meanwhile(scene: Scene) -> None:
    """It is not replaced once more when it has passed."""
    scene.roster.reload()
    scene.end(1)
    scene.make_ready(3, 4)
    scene.go_on()
    scene.go_on()
    assert (scene.serving, len(scene.workers)) == ([3, 4], 4)


def test_a_worker_that_tires_on_probation_is_renewed_after_it(scene: Scene) -> None:
    """It asks once; that is remembered until it serves alone."""
    scene.roster.renew(scene.workers[0], "it is old")  # type: ignore[arg-type]
    scene.make_ready(3)
    scene.roster.renew(scene.workers[2], "it is old, too")  # type: ignore[arg-type]
    scene.go_on()
    assert (scene.serving, scene.workers[3].index) == ([3, 2], 0)


def test_two_that_tire_are_renewed_one_after_the_other(scene: Scene) -> None:
    """The second has to wait until the first has gone."""
    for worker in scene.workers[:2]:
        scene.roster.renew(worker, "it is old")  # type: ignore[arg-type]
    assert [worker.index for worker in scene.workers] == [0, 1, 0]
    scene.make_ready(3)
    scene.go_on()
    assert [worker.index for worker in scene.workers] == [0, 1, 0, 1]


def test_shares_change_with_the_number_of_workers(scene: Scene) -> None:
    """Who serves is told of each change."""
    scene.roster.add()
    assert scene.workers[0].channel.sent == [("share", {"index": 0, "count": 3})]
    assert (scene.workers[2].index, scene.workers[2].count) == (2, 3)
    scene.make_ready(3)
    assert scene.roster.remove()
    assert scene.workers[0].channel.sent[1:] == [("share", {"index": 0, "count": 2})]
    assert scene.workers[2].words == ["share", "drain"]


def test_none_is_retired_below_one_or_during_a_change(scene: Scene) -> None:
    """The answer says so."""
    scene.roster.reload()
    assert not scene.roster.remove()
    scene.make_ready(3, 4)
    scene.go_on()
    assert scene.roster.remove()
    assert not scene.roster.remove()
    assert scene.serving == [3]
