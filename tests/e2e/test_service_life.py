"""A handler has a life: `service_start` before the first request, `service_stop` after the last, in real workers."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.load import Tail, wait_for_workers
from tests.launched import Launched, clean_environment, receive_all, run

Launch = Callable[..., Launched]

COUNTER = """
import os
from srvctl import StreamRequestHandler

def note(what):
    with open("life", "a") as file:
        file.write(f"{what}\\n")

def service_start(server):
    note("start")
    return {"served": 0, "worker": os.getpid()}

def service_stop(server):
    note(f"stop {server.state['served']}")

class Count(StreamRequestHandler):
    def handle(self):
        self.server.state["served"] += 1
        self.wfile.write(f"{self.server.state['served']}\\n".encode())
"""
# Each child of --fork has a copy of the state as it was in the worker.
ANSWERS = {"--sync": [b"1\n", b"2\n"], "--threads": [b"1\n", b"2\n"], "--fork": [b"1\n", b"1\n"]}


def answer(server: Launched) -> bytes:
    """Return all that the server has for one client."""
    with server.connect() as client:
        return receive_all(client)


@pytest.mark.parametrize("model", ANSWERS)
def test_the_state_lives_as_long_as_the_worker(model: str, launch: Launch, tmp_path: Path) -> None:
    """Made before the first request, seen by all, and given back when the last one has ended."""
    (tmp_path / "counter.py").write_text(COUNTER)
    server = launch("unix", "socket", model, "counter:Count")
    assert (tmp_path / "life").read_text() == "start\n"
    assert [answer(server) for _ in range(2)] == ANSWERS[model]
    assert server.stop() == 0
    served = 0 if model == "--fork" else 2
    assert (tmp_path / "life").read_text() == f"start\nstop {served}\n"


def test_a_reload_whose_start_fails_leaves_the_old_worker(launch: Launch, tmp_path: Path) -> None:
    """The old state goes on, and the log says what was raised."""
    (tmp_path / "counter.py").write_text(COUNTER)
    server = launch("unix", "socket", "--threads", "counter:Count")
    (tmp_path / "counter.py").write_text(COUNTER.replace('note("start")', 'raise RuntimeError("no database")'))
    with Tail(server) as tail:
        server.send_signal(signal.SIGHUP)
        tail.wait_for("reload failed", 1)
    assert "service_start raised RuntimeError: no database" in server.log
    assert answer(server) == b"1\n"
    assert server.stop() == 0


def test_a_start_that_fails_is_status_78(tmp_path: Path) -> None:
    """With the frames of the user's code, as when a module fails to import; a check finds it, too."""
    (tmp_path / "counter.py").write_text(COUNTER.replace('note("start")', 'raise RuntimeError("no database")'))
    for words in ((), ("check",)):
        ended = run(*words, "unix", "socket", "counter:Count", cwd=tmp_path, env=clean_environment())
        assert ended.returncode == 78
        *_, line = ended.stderr.splitlines()
        why = "cannot start module 'counter': service_start raised RuntimeError: no database"
        assert line == f"srvctl: error: {why} ({tmp_path}/counter.py:10)"
        assert 'counter.py", line' in ended.stderr


def test_a_worker_that_never_serves_gives_back_what_it_has(launch: Launch, tmp_path: Path) -> None:
    """That of a check, and one whose reload failed for another worker's sake."""
    (tmp_path / "counter.py").write_text(COUNTER)
    assert run("check", "unix", "checked", "counter:Count", cwd=tmp_path).returncode == 0
    assert (tmp_path / "life").read_text() == "start\nstop 0\n"
    (tmp_path / "life").unlink()
    only_one = "import fcntl\nlock = open('lock', 'w')\n"
    start = '    note("start")\n'
    server = launch("unix", "socket", "--workers", "2", "counter:Count")
    refuse = "    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
    (tmp_path / "counter.py").write_text(only_one + COUNTER.replace(start, refuse + start))
    with Tail(server) as tail:
        server.send_signal(signal.SIGHUP)
        tail.wait_for("reload failed", 1)
    wait_for_workers(server, 2)
    assert (tmp_path / "life").read_text() == "start\nstart\nstart\nstop 0\n"
    assert server.stop() == 0
