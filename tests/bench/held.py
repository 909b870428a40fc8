"""What an idle connection costs: memory that is unshared in a server's processes, with many held and with none."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path

from . import checks, processes, rounds
from .clients import WrongError
from .figures import Figures
from .progress import say
from .scenarios import GEVENT, OURS, PEERS, PROTOCOL, STANDARD, UVLOOP, srvctl, standard
from .servers import NotServedError, Running, Server

SCENARIO = "memory of a connection"


@dataclass(frozen=True)
class Held:
    """A server and how many connections it is given to hold."""

    server: Server
    connections: int = 1000


FORKING = f"{PEERS}.standard fork {{family}} {{address}} {STANDARD}:Pong 300"
HELD = (
    Held(srvctl("--threads --max-connections 1100", f"{OURS}:Pong", "", label="srvctl --threads")),
    Held(standard("threads", "Pong")),
    Held(GEVENT),
    Held(PROTOCOL),
    Held(UVLOOP),
    Held(srvctl("--fork --max-connections 300", f"{OURS}:Pong", "", label="srvctl --fork"), 200),
    Held(replace(standard("fork", "Pong"), command=FORKING), 200),
)
# With --sync there is nothing to measure: one conversation is served, the others wait in the kernel's queue.


def run(figures: Figures, place: Path) -> None:
    """Measure each, once: what is counted is pages, not time."""
    for held in HELD:
        name = held.server.name
        if not rounds.is_here(held.server, "memory", figures):
            continue
        say(f"memory: {held.connections} connections to {name}")
        try:
            figures.add(SCENARIO, name, _measure(held, place))
        except NotServedError as error:
            figures.left_out.append(f"memory, {name}: did not start: {error}")
        except (WrongError, OSError) as error:
            figures.wrong.append(f"memory, {name}: {error}")


def _measure(held: Held, place: Path) -> float:
    """Return KiB for each connection; each has been answered once, so that its thread or process is there."""
    with Running(held.server, "tcp4", place) as running, contextlib.ExitStack() as closed:
        checks.pong(running)
        before = _unshared(running)
        for _ in range(held.connections):
            sock = closed.enter_context(running.connect())
            sock.sendall(b"PING\r\n")
            if sock.recv(100) != b"+PONG\r\n":
                raise WrongError("a connection was not answered")
        return (_unshared(running) - before) / held.connections


def _unshared(running: Running) -> int:
    return sum(processes.memory(pid)["uss"] for pid in processes.tree(running.process.pid))
