"""Servers that nobody talks to: how often they wake up, what system calls they make, what memory they hold.

They wait while the rest of the bench runs: what is counted here does not depend on who else uses the machine.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from . import checks, needs, processes, rounds
from .figures import Figures
from .life import GUNICORN
from .progress import say
from .scenarios import GEVENT, OURS, PROTOCOL, srvctl, standard
from .servers import Running, Server

SERVERS = (
    srvctl("--sync", f"{OURS}:Pong", ""),
    srvctl("--threads", f"{OURS}:Pong", ""),
    srvctl("--threads --workers 2", f"{OURS}:Pong", ""),
    srvctl("--fork", f"{OURS}:Pong", ""),
    standard("threads", "Pong"),
    GEVENT,
    PROTOCOL,
    Server("gunicorn sync", GUNICORN, needs=("gunicorn",), announces=False),
)
# These are also looked at with strace, each as a second instance: a traced process is not an idle one.
TRACED = SERVERS[:4]
SECONDS = 10.0
# What a server may still be doing after its first answer, and what attaching makes of a call that waits.
SETTLED_SECONDS = 1.0


@dataclass(frozen=True)
class Waiting:
    """A server that waits, its processes, and their wake-ups at the begin."""

    running: Running
    pids: list[int]
    before: int


class Idle:
    """Servers that wait from `begin` to `finish`; `close` ends them."""

    def __init__(self, figures: Figures, place: Path) -> None:
        self._figures, self._place = figures, place
        self._ended = contextlib.ExitStack()
        self._waiting: list[Waiting] = []
        self._traces: list[tuple[Running, subprocess.Popen[bytes], Path]] = []

    def begin(self) -> None:
        """Start them and let them come to rest; takes some seconds."""
        running = self._start(SERVERS)
        if lacking := needs.missing(["strace"]):
            self._figures.left_out.append(f"idle system calls: {needs.in_words(lacking)}")
        else:
            self._traces = [self._trace(one) for one in self._start(TRACED)]
        time.sleep(SETTLED_SECONDS)
        self._began = time.time()
        for one in running:
            pids = processes.tree(one.process.pid)
            self._waiting.append(Waiting(one, pids, sum(map(processes.wakeups, pids))))

    def _start(self, servers: Iterable[Server]) -> list[Running]:
        here = [server for server in servers if rounds.is_here(server, "idle", self._figures)]
        running = rounds.start(here, "tcp4", "idle", self._figures, self._place, self._ended)
        for one in running:
            if one.server.announces:
                checks.pong(one)  # what serves for the first time loads and starts what it needs
        return running

    def _trace(self, running: Running) -> tuple[Running, subprocess.Popen[bytes], Path]:
        path = self._place / f"{running.process.pid}.strace"
        pids = [word for pid in processes.tree(running.process.pid) for word in ("-p", str(pid))]
        tracer = subprocess.Popen(["strace", "-f", "-qq", "-ttt", "-o", str(path), *pids], stderr=subprocess.DEVNULL)
        self._ended.callback(tracer.wait)
        self._ended.callback(tracer.send_signal, signal.SIGINT)
        return running, tracer, path

    def finish(self) -> None:
        """Wait until ten seconds are over, and write down what was seen, for each ten seconds."""
        say("idle")
        time.sleep(max(0.0, self._began + SECONDS - time.time()))
        elapsed = time.time() - self._began
        for one in self._waiting:
            name = one.running.server.name
            after = sum(map(processes.wakeups, one.pids))
            self._figures.add("wake-ups", name, (after - one.before) / elapsed * SECONDS)
            memory = [processes.memory(pid) for pid in one.pids]
            self._figures.add("memory, first process (USS)", name, memory[0]["uss"])
            self._figures.add("memory, first process (PSS)", name, memory[0]["pss"])
            self._figures.add("memory, its workers (USS)", name, sum(m["uss"] for m in memory[1:]))
            self._figures.add("memory, its workers (PSS)", name, sum(m["pss"] for m in memory[1:]))
        for running, tracer, path in self._traces:
            tracer.send_signal(signal.SIGINT)
            tracer.wait()
            calls = count_calls(path.read_text(), self._began, self._began + elapsed)
            self._figures.add("system calls", running.server.name, calls / elapsed * SECONDS)

    def close(self) -> None:
        self._ended.close()


def count_calls(trace: str, began: float, ended: float) -> int:
    """Return the lines of ``strace -f -ttt`` between the two times."""
    stamps = (float(line.split()[1]) for line in trace.splitlines() if "<detached" not in line)
    return sum(began <= stamp < ended for stamp in stamps)
