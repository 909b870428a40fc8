"""Start, stop and reload: from exec to the first answer, from TERM to exit, from HUP until the last old worker is gone.

Milliseconds. Stop is idle: nobody is connected.
"""

from __future__ import annotations

import os
import select
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from tests.launched import children_of

from . import checks
from .checks import Check
from .clients import WrongError
from .figures import Figures
from .progress import say
from .reload import ask
from .rounds import is_here
from .scenarios import OURS, srvctl, standard
from .servers import PATIENCE, NotServedError, Running, Server

# What is measured of each life.
STEPS = ("start", "stop", "reload")
# What a server may still be doing after its first answer; a stop in the middle of that is not an idle one.
SETTLED_SECONDS = 0.1


def web(running: Running) -> None:
    """An HTTP request is answered with its own path."""
    if (how := ask(int(running.address.rpartition(":")[2]), os.getpid())) != "answered":
        raise WrongError(how)


@dataclass(frozen=True)
class Life:
    """A server whose life is measured, with what checks its first answer, and whether HUP reloads it."""

    server: Server
    check: Check
    reloads: bool = False


GUNICORN = "{python} -m gunicorn --bind {address} --workers 1 --log-level error application:wsgi"
LIVES = (
    Life(srvctl("--sync", f"{OURS}:Pong", ""), checks.first_pong),
    Life(srvctl("--threads", f"{OURS}:Pong", ""), checks.first_pong, reloads=True),
    Life(srvctl("--fork", f"{OURS}:Pong", ""), checks.first_pong),
    Life(srvctl("--sync", "application:Path", "", label="srvctl --sync, http.server"), web, reloads=True),
    Life(standard("threads", "Pong"), checks.first_pong),
    Life(Server("gunicorn sync", GUNICORN, needs=("gunicorn",), announces=False), web, reloads=True),
)


def run(figures: Figures, rounds: int, place: Path) -> None:
    """Measure every life, in interleaved rounds."""
    lives = [life for life in LIVES if is_here(life.server, "life", figures)]
    for number in range(rounds):
        say(f"life: round {number + 1} of {rounds}")
        for life in list(lives):
            try:
                for what, milliseconds in _measure(life, place).items():
                    figures.add(what, life.server.name, milliseconds)
            except (WrongError, NotServedError, OSError) as error:
                figures.wrong.append(f"life, {life.server.name}: {error}")
                lives.remove(life)  # as in the other rounds: each figure stands beside those of its own round
                for what in STEPS:
                    figures.drop(what, life.server.name)


def _measure(life: Life, place: Path) -> dict[str, float]:
    """Live once."""
    found = {}
    began = time.perf_counter()
    with Running(life.server, "tcp4", place) as running:
        life.check(running)
        found["start"] = _milliseconds_since(began)
        time.sleep(SETTLED_SECONDS)
        if life.reloads:
            found["reload"] = _reload(running)
            life.check(running)
            time.sleep(SETTLED_SECONDS)
        began = time.perf_counter()
        running.process.terminate()
        running.process.wait(PATIENCE)
        found["stop"] = _milliseconds_since(began)
    return found


def _milliseconds_since(began: float) -> float:
    return (time.perf_counter() - began) * 1000


def _reload(running: Running) -> float:
    """Return how long it takes from HUP until every worker of now is gone."""
    watched = [os.pidfd_open(pid) for pid in children_of(running.process.pid)]
    try:
        began = time.perf_counter()
        running.process.send_signal(signal.SIGHUP)
        for fd in watched:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            if not poll.poll(PATIENCE * 1000):
                raise WrongError("the old worker stays")
        return _milliseconds_since(began)
    finally:
        for fd in watched:
            os.close(fd)
