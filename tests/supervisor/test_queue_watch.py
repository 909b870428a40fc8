"""When clients that wait are told of."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from srvctl.supervisor import queue_watch
from srvctl.supervisor.queue_watch import QueueWatch
from tests.serving.running import FakeLoop


class Scene:
    """A listener with a queue, and what was told."""

    def __init__(self, loop: FakeLoop) -> None:
        self.loop = loop
        self.queue: int | None = 0
        self.told: list[int] = []
        listener = SimpleNamespace(waiting=lambda: self.queue, socket=SimpleNamespace(fileno=lambda: 3))
        self.watch = QueueWatch(loop, listener, self.told.append)  # type: ignore[arg-type]

    def arrive(self) -> None:
        self.loop.watched[3](1)


@pytest.fixture
def scene(loop: FakeLoop) -> Scene:
    """A watch that has begun."""
    made = Scene(loop)
    made.watch.begin()
    return made


def test_an_idle_server_is_left_asleep(scene: Scene) -> None:
    """No timer runs before a client comes, nor when the queue is empty again."""
    assert not scene.loop.timers
    scene.arrive()
    assert 3 not in scene.loop.watched
    scene.loop.pass_(queue_watch._LOOK_SECONDS)
    assert 3 in scene.loop.watched
    assert not scene.loop.timers


def test_clients_that_wait_for_three_looks_are_told_of(scene: Scene) -> None:
    """And again after a minute, with the length that the queue has then."""
    scene.arrive()
    scene.queue = 2
    scene.loop.pass_(queue_watch._LOOK_SECONDS * (queue_watch._LOOKS - 1))
    assert scene.told == []
    scene.loop.pass_(queue_watch._LOOK_SECONDS)
    assert scene.told == [2]
    scene.queue = 5
    scene.loop.pass_(queue_watch._REPEAT_SECONDS - 1)
    assert scene.told == [2]
    scene.loop.pass_(1)
    assert scene.told == [2, 5]


def test_a_queue_that_was_empty_meanwhile_is_a_new_one(scene: Scene) -> None:
    """A busy server has somebody in it now and then."""
    for _ in range(10):
        scene.arrive()
        scene.queue = 1
        scene.loop.pass_(queue_watch._LOOK_SECONDS * (queue_watch._LOOKS - 1))
        scene.queue = 0
        scene.loop.pass_(queue_watch._LOOK_SECONDS)
    assert scene.told == []


@pytest.mark.parametrize("has_arrived", [False, True])
def test_the_listener_is_left_alone_in_the_end(scene: Scene, has_arrived: bool) -> None:
    """It is closed next."""
    scene.queue = 1
    if has_arrived:
        scene.arrive()
    scene.watch.end()
    scene.watch.end()
    scene.loop.pass_(100)
    assert not scene.loop.watched
    assert scene.told == []


def test_a_queue_of_unknown_length_is_not_watched(loop: FakeLoop) -> None:
    """Of datagrams, say."""
    scene = Scene(loop)
    scene.queue = None
    scene.watch.begin()
    assert not loop.watched
    scene.watch.end()
