"""A worker's process as its supervisor sees it: its descriptors on every way out, its reports, and its end."""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from srvctl.runtime.loop import Loop
from srvctl.supervisor import handover, spawn_worker, stack_traces, worker_process
from srvctl.supervisor.worker_process import WorkerProcess
from srvctl.supervisor.worker_state import WorkerState
from srvctl.worker.protocol import FromWorker, ToWorker, WorkerSetup
from tests.launched import wait_until
from tests.supervisor.fakes import INFO

SETUP = WorkerSetup({}, "/", "m:f", False, True, "tcp://127.0.0.1:1", "text", 1)


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.fixture(autouse=True)
def no_descriptor_left() -> Iterator[None]:
    """Every test ends with the descriptors it began with."""
    before = descriptors()
    yield
    assert descriptors() == before


def children() -> list[str]:
    """Return the children of this thread; another test, or the standard library, may have left one."""
    return Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()


class Owner:
    """The loop and the owner of a worker, and what it was notified of."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.messages: list[FromWorker] = []
        self.exit_reasons: list[str] = []

    def handle_message(self, worker: WorkerProcess, message: FromWorker) -> None:
        self.messages.append(message)

    def handle_exit(self, worker: WorkerProcess, exit_reason: str) -> None:
        self.exit_reasons.append(exit_reason)
        self.loop.stop()


class FakeListener:
    """A listener that can be sent, or not."""

    def __init__(self) -> None:
        self.socket = socket.socket()


@pytest.fixture
def owner() -> Iterator[Owner]:
    owner = Owner()
    yield owner
    owner.loop.close()


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have workers run a script in the place of srvctl; its channel is `channel`, and its stacks go to `stacks`."""

    def set_script(text: str) -> None:
        def spawn(control: int, stacks: int, lifeline: int, is_session: bool) -> int:
            begin = (
                f"import marshal, os, socket, sys; sock = socket.socket(fileno={control}); stacks = {stacks}\n"
                "send = lambda word, **values: sock.send(marshal.dumps((word, values), 2))\n"
            )
            actions = [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in (control, stacks)]
            arguments = [sys.executable, "-S", "-c", begin + text]
            return os.posix_spawn(sys.executable, arguments, os.environ, file_actions=actions, setpgroup=0)

        monkeypatch.setattr(spawn_worker, "spawn_worker", spawn)

    return set_script


def run(owner: Owner) -> str:
    """Spawn a worker, follow it to its end, and return why it ended."""
    worker = WorkerProcess.spawn(is_session=False)
    worker.attach(owner.loop, owner)
    owner.loop.run()
    assert worker.state is WorkerState.EXITED
    return owner.exit_reasons[0]


@pytest.mark.parametrize("failing", ["pair", "pipe", "spawn_worker", "pidfd_open"])
def test_a_spawn_that_fails_leaves_nothing(failing: str, script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No descriptor, and no process, whichever step it is that fails."""

    def fail(*arguments: Any) -> Any:
        raise OSError(24, "Too many open files")

    script("sock.recv(1)")
    before = children()
    place: Any = {"pair": worker_process.Channel, "spawn_worker": spawn_worker}.get(failing, os)
    monkeypatch.setattr(place, failing, fail)
    with pytest.raises(OSError, match="Too many"):
        WorkerProcess.spawn(is_session=False)
    assert children() == before


def test_a_worker_whose_listener_cannot_be_sent_is_ended(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, with its process reaped."""

    def fail(*arguments: Any) -> Any:
        raise OSError(109, "Too many references: cannot splice")

    script("sock.recv(1)")
    worker = WorkerProcess.spawn(is_session=False)
    monkeypatch.setattr(socket, "send_fds", fail)
    listener = FakeListener()
    with listener.socket, pytest.raises(OSError, match="Too many references"):
        worker.configure(SETUP, listener)  # type: ignore[arg-type]
    assert worker.state is WorkerState.EXITED


def test_a_worker_that_was_never_configured_is_discarded(script: Any) -> None:
    """Once; after that, and when it was configured, nothing happens."""
    script("sock.recv(1)")
    worker = WorkerProcess.spawn(is_session=False)
    worker.discard()
    worker.discard()
    assert worker.state is WorkerState.EXITED
    with pytest.raises(ChildProcessError):
        os.waitpid(worker.pid, os.WNOHANG)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sys.exit(3)", "exit status 3"),
        ("os.kill(os.getpid(), 11)", "SIGSEGV"),
        ("import signal; os.kill(os.getpid(), signal.SIGRTMIN + 6)", "SIGRTMIN+6"),
        (
            "send('failed', verb='load', what='handler', why='no such module', detail='', status=78); sys.exit(78)",
            "cannot load handler: no such module",
        ),
    ],
)
def test_the_reason_of_an_exit(text: str, reason: str, script: Any, owner: Owner) -> None:
    """The status, the signal, or what the worker reported before it ended."""
    script(text)
    assert run(owner) == reason


def test_messages_that_came_before_the_exit_are_read_first(script: Any, owner: Owner) -> None:
    """In their order; one that makes no sense is skipped."""
    info = ", ".join(f"{name}={value!r}" for name, value in INFO.items())
    script(f"send('ready', {info}); send('nonsense'); send('stats', stats={{'served': 2}})")
    worker = WorkerProcess.spawn(is_session=False)
    worker.state = WorkerState.LOADING
    worker.attach(owner.loop, owner)
    owner.loop.run()
    assert owner.messages == [FromWorker.READY, FromWorker.STATS]
    assert (worker.info, worker.stats, worker.is_ready) == (INFO, {"served": 2}, True)


def test_a_worker_that_died_while_it_served_has_cut_something(script: Any, owner: Owner) -> None:
    """It could not count; one that drained has counted."""
    for text, cut in (("sys.exit(1)", 1), ("send('drained', stats={'cut': 5})", 5)):
        owner.loop.stopping = False
        script(text)
        worker = WorkerProcess.spawn(is_session=False)
        worker.state = WorkerState.SERVING
        worker.attach(owner.loop, owner)
        owner.loop.run()
        assert worker.cut == cut


def test_the_last_stacks_are_logged_before_the_exit(script: Any, owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one piece, and once."""
    logged: list[Any] = []
    monkeypatch.setattr(stack_traces.log, "worker_stacks", lambda pid, text: logged.append(text))
    script("os.write(stacks, b'Thread 1\\n'); os.write(stacks, b'  File x\\n')")
    assert run(owner) == "exit status 0"
    assert logged == ["Thread 1\n  File x\n"]
    assert owner.loop.next_due() is None


def test_a_worker_is_handed_over_with_open_descriptors(script: Any, owner: Owner) -> None:
    """And adopted with its age and its stats; a worker of srvctl 0.1 is spoken to in its own words."""
    script("sock.recv(1); sock.recv(1)")
    worker = WorkerProcess.spawn(is_session=False)
    worker.state, worker.stats, worker.info = WorkerState.SERVING, {"served": 3}, INFO
    state = worker.hand_over()
    assert all(os.get_inheritable(state[name]) for name in ("pidfd", "stacks", "channel"))
    worker.channel.socket.detach()  # as exec leaves it
    del state["protocol"]
    adopted = handover.adopt_worker(state, None)
    adopted.attach(owner.loop, owner)
    assert not any(os.get_inheritable(state[name]) for name in ("pidfd", "stacks", "channel"))
    assert (adopted.started_at, adopted.stats, adopted.is_in_service) == (worker.started_at, {"served": 3}, True)
    adopted.send(ToWorker.STOP_NOW)
    adopted.end()


def test_a_worker_that_ended_is_not_killed_again(script: Any, owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process id may be another's by then."""
    script("")
    worker = WorkerProcess.spawn(is_session=False)
    worker.attach(owner.loop, owner)
    owner.loop.run()

    def fail(*arguments: Any) -> None:
        raise AssertionError("a signal was sent")

    monkeypatch.setattr(os, "killpg", fail)
    worker.kill()
    worker.end()


def test_the_end_of_a_worker_ends_its_process_group(script: Any) -> None:
    """What its handler started goes with it."""
    script("child = os.fork() or (sock.send(b'x'), sock.recv(1))\nsock.recv(1)")
    worker = WorkerProcess.spawn(is_session=False)
    assert select.select([worker.channel.socket], [], [], 20)[0]
    children = [int(pid) for pid in Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()]
    assert len(children) == 1
    child = os.pidfd_open(children[0])
    worker.end()
    assert select.select([child], [], [], 20)[0], "the child runs on"
    os.close(child)


def test_a_signal_to_a_worker_that_is_gone_is_no_error(script: Any) -> None:
    """It may have ended a moment ago."""
    script("")
    worker = WorkerProcess.spawn(is_session=False)
    wait_until(lambda: os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG), "end of the process")
    worker.ask_for_last_stacks()
    worker.end()
    assert worker.state is WorkerState.EXITED
