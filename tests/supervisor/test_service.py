"""A service: a listener and its workers, with fakes of both."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from srvctl.config.settings import Settings
from srvctl.errors import ExitStatus, LaunchError
from srvctl.runtime.lifecycle import State
from srvctl.supervisor import service as service_module
from srvctl.supervisor.service import Service
from srvctl.supervisor.worker_pool import KILL_GRACE_SECONDS
from srvctl.worker.protocol import FromWorker, ToWorker, WorkerSetup
from tests.serving.running import FakeLoop
from tests.supervisor.fakes import FakeWorker

SETUP = WorkerSetup({}, "/", "m:f", False, True, "tcp://127.0.0.1:1", "text", 1)


class FakeListener:
    """A listener that keeps what is done to it."""

    address = "tcp://127.0.0.1:1"
    owns_socket = True

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.queue: int | None = 0
        self.socket = SimpleNamespace(fileno=lambda: 3)

    def waiting(self) -> int | None:
        return self.queue

    def block_new_peers(self) -> None:
        self.calls.append("block new peers")

    def close(self) -> None:
        self.calls.append("close")

    def hand_over(self) -> str:
        return "the listener"


class Scene:
    """A service, its workers in the order of their start, and the events of its owner."""

    def __init__(self, loop: FakeLoop, **options: Any) -> None:
        self.loop, self.listener = loop, FakeListener()
        self.events: list[Any] = []
        self.workers: list[FakeWorker] = []
        self.setups: list[WorkerSetup] = []
        settings = Settings.resolve("tcp", ":0", "x", "threads", **options)
        self.service = Service(settings, self.listener, SETUP, loop, self)  # type: ignore[arg-type]

    def spawn(self, is_session: bool) -> FakeWorker:
        worker = FakeWorker(len(self.workers) + 1)
        worker.configure = lambda setup, listener: self.setups.append(setup)  # type: ignore[method-assign,assignment]
        self.workers.append(worker)
        return worker

    def serve(self, count: int = 1) -> None:
        """Start workers, and have them become ready."""
        self.service.start(count)
        for worker in self.workers:
            worker.become_ready()

    def on_serving(self, service: Service, info: dict[str, Any]) -> None:
        self.events.append("serving")

    def on_failed(self, service: Service, error: LaunchError) -> None:
        self.events.append(error)

    def on_reloaded(self, service: Service, failure: str) -> None:
        self.events.append(f"reloaded {failure}")

    def on_stats(self, service: Service) -> None:
        self.events.append("stats")

    def on_stopped(self, service: Service) -> None:
        self.events.append("stopped")


@pytest.fixture
def make(loop: FakeLoop, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make a service with these options."""

    def make(**options: Any) -> Scene:
        scene = Scene(loop, **options)
        monkeypatch.setattr(service_module.WorkerProcess, "spawn", scene.spawn)
        return scene

    return make


def test_each_worker_gets_its_part_of_the_setup(make: Any) -> None:
    """Its index, how many there are, and how often to send a heartbeat."""
    scene = make(hang_timeout=8.0)
    scene.serve(2)
    assert [setup[-6:-2] for setup in scene.setups] == [(0, 2, 2.0, False), (1, 2, 2.0, False)]
    assert (scene.events, scene.service.life.state) == (["serving"], State.SERVING)


def test_the_prestarted_worker_is_the_first_one(make: Any) -> None:
    """The second is spawned."""
    scene = make()
    prestarted = scene.spawn(False)
    scene.service.start(2, prestarted)
    assert [worker.pid for worker in scene.service.pool] == [1, 2]


@pytest.mark.parametrize(
    ("failure", "status", "text"),
    [
        (
            {"verb": "load", "what": "handler 'x'", "why": "no module", "detail": "", "status": 78},
            ExitStatus.CONFIG,
            "cannot load handler 'x': no module",
        ),
        (None, ExitStatus.CONFIG, "cannot load handler 'x': the worker ended with SIGSEGV while it loaded it"),
    ],
    ids=["reported", "not reported"],
)
def test_a_first_worker_that_fails_is_the_error_of_the_service(
    failure: dict[str, Any] | None, status: ExitStatus, text: str, make: Any
) -> None:
    """The one that the worker reported, or how it ended."""
    scene = make()
    scene.service.start(1)
    if failure:
        scene.workers[0].report(FromWorker.FAILED, **failure)
    scene.workers[0].exit("SIGSEGV")
    (error,) = scene.events
    assert (str(error), error.status) == (text, status)
    assert scene.service.life.state is State.FAILED


def test_a_worker_that_cannot_accept_any_more_ends_the_service(make: Any) -> None:
    """The next one could not either: it is not replaced."""
    scene = make()
    scene.serve()
    scene.workers[0].report(FromWorker.FAILED, verb="accept on", what="tcp://h", why="broken", detail="", status=71)
    scene.workers[0].exit()
    assert (str(scene.events[1]), scene.events[1].status) == ("cannot accept on tcp://h: broken", ExitStatus.OSERR)
    scene.loop.pass_(10.0)
    assert len(scene.workers) == 1


def test_a_drain_closes_the_listener_and_counts_what_was_cut(make: Any) -> None:
    """Of all workers, and ends with the last one."""
    scene = make()
    scene.serve(2)
    scene.service.drain()
    assert scene.listener.calls == ["block new peers", "close"]
    scene.workers[0].exit()
    assert scene.events == ["serving"]
    scene.workers[1].exit()
    assert (scene.events, scene.service.cut) == (["serving", "stopped"], 2)
    assert scene.service.life.state is State.STOPPED


def test_workers_that_are_late_with_a_drain_are_killed(make: Any) -> None:
    """After the deadline and the grace; a stop without delay brings both forward."""
    scene = make(graceful_timeout=30.0)
    scene.serve(1)
    scene.service.drain()
    scene.loop.pass_(10.0)
    scene.service.stop_now()
    assert scene.workers[0].messages[-1] is ToWorker.STOP_NOW
    scene.loop.pass_(KILL_GRACE_SECONDS)
    scene.loop.pass_(KILL_GRACE_SECONDS)
    assert scene.workers[0].is_killed


def test_a_worker_that_is_old_is_recycled(make: Any) -> None:
    """By its age, and when it asks for that."""
    scene = make(max_worker_age=100.0)
    scene.serve(2)
    scene.workers[0].report(FromWorker.RECYCLE, why="it is fat")
    assert len(scene.workers) == 3
    scene.workers[2].become_ready()
    scene.loop.pass_(2.0)
    scene.loop.pass_(98.0)
    assert len(scene.workers) == 4


def test_nothing_is_handed_over_during_a_rollout(make: Any) -> None:
    """Nor before the service serves."""
    scene = make()
    scene.service.start(1)
    assert scene.service.hand_over() is None
    scene.workers[0].become_ready()
    scene.workers[0].hand_over = lambda: {"pid": 1}  # type: ignore[method-assign]
    handed_over = scene.service.hand_over()
    assert handed_over["listener"] == "the listener"
    assert handed_over["workers"]["places"] == scene.service.pool.limit.places.fd
    assert handed_over["workers"] | {"places": 0} == {
        "workers": [{"pid": 1, "is_retiring": False}],
        "count": 1,
        "restarts": 0,
        "past_counters": {},
        "places": 0,
    }
    scene.service.reload()
    assert scene.service.hand_over() is None


def test_there_are_no_more_workers_than_connections(make: Any) -> None:
    """One would get none."""
    scene = make(max_connections=2)
    scene.serve(1)
    scene.service.add_worker()
    scene.workers[1].become_ready()
    scene.service.add_worker()
    assert len(scene.workers) == 2
