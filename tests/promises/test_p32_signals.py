"""P32: signals at bad times, and too many of them."""

from __future__ import annotations

import os
import random
import re
import select
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.launched import COMMAND, PATIENCE, clean_environment, wait_until
from tests.promises.faults import asked, descendants, is_gone, needs_strace, processes_in, short_and_long

SOURCE = (signal.SIGTERM, signal.SIGINT)


class Life:
    """One life of a server on a unix socket in `place`, under strace with `options`: TERM when ready, and the end.

    strace -D keeps it our child, and its parent is not the tracer.
    """

    def __init__(self, place: Path, model: str, *options: str) -> None:
        self.place = place
        self.trace = place / "strace.txt"
        words = ["unix", "s", model, "--announce", "myapp:Echo"]
        with (place / "stderr.log").open("wb") as log:
            process = subprocess.Popen(
                ["strace", "-D", "-o", str(self.trace), *options, *COMMAND, *words],
                cwd=place,
                env=clean_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert process.stdout is not None
        with process.stdout:
            ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
            self.was_ready = bool(ready and process.stdout.readline())
        process.send_signal(signal.SIGTERM) if self.was_ready else None
        try:
            self.status = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            self.status = process.wait()
            self.hung = True
        else:
            self.hung = False

    @property
    def faults(self) -> list[str]:
        """What was promised and not kept."""
        found = ["it hung"] if self.hung else []
        if self.status == 0 and not self.was_ready:
            found.append("it exited with 0 and was never ready")
        # Python itself ends with 1 on INT while it starts, before a line of ours has run.
        is_pythons = self.status == 1 and not self.was_ready and self.log.endswith("KeyboardInterrupt\n")
        if self.status not in (0, -signal.SIGTERM, -signal.SIGINT) and not is_pythons:
            found.append(f"exit status {self.status}")
        if (self.place / "s").exists():
            found.append("the socket file is left")
        if self._left():
            found.append(f"processes are left: {self._left()}")
        return found

    def _left(self) -> list[int]:
        tracer = {pid for pid in processes_in(self.place) if _name_of(pid) == "strace"}  # it ends behind its tracee
        return [pid for pid in processes_in(self.place) if pid not in tracer]

    @property
    def log(self) -> str:
        return (self.place / "stderr.log").read_text()


def _name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return "strace"  # gone


def steps_of(trace: str) -> list[tuple[str, int]]:
    """Return the system calls of a life in order, each with how many of its kind there were, itself included."""
    steps: list[tuple[str, int]] = []
    counts: dict[str, int] = {}
    for name in re.findall(r"^(\w+)\(", trace, re.MULTILINE):
        counts[name] = counts.get(name, 0) + 1
        steps.append((name, counts[name]))
    return steps


def chosen(steps: list[tuple[str, int]], most: int) -> list[tuple[str, int]]:
    """Return at most `most` steps, spread over the life, three in four from where the server takes the signals on."""
    if most >= len(steps):
        return steps
    begin = next(n for n, (name, _) in enumerate(steps) if name == "socketpair")
    early, late = steps[:begin], steps[begin:]
    rest = most - most // 4
    return [*early[:: len(early) // (most // 4) + 1], *late[:: max(1, len(late) // rest)]]


@needs_strace
@short_and_long("most", 12, 100_000, seconds=4 * 3600)
@pytest.mark.parametrize(("number", "model"), [(signal.SIGTERM, "--sync"), (signal.SIGINT, "--fork")])
def test_a_signal_at_any_step_ends_it_in_order(place, number, model, most):
    """P32: TERM or INT at every system call of the supervisor's life: it ends, 0 only if it was ready, nothing left."""
    places = []
    for name in ("a", "b"):
        (place / name).mkdir()
        (place / name / "myapp.py").write_text((place / "myapp.py").read_text())
        places.append(place / name)
    life = Life(places[0], model)
    assert (life.faults, life.status, life.was_ready) == ([], 0, True), life.log
    steps = chosen(steps_of(life.trace.read_text()), most)
    assert len(steps) > most // 2 or len(steps) > 500

    def live(work: tuple[Path, list[tuple[str, int]]]) -> list[str]:
        where, mine = work
        broken = []
        for call, nth in mine:
            fault = f"inject={call}:signal={number.name.removeprefix('SIG')}:when={nth}"
            life = Life(where, model, "-e", f"trace={call}", "-e", fault)
            if life.faults:
                broken.append(f"{call} {nth}: {', '.join(life.faults)}\n{life.log}")
            for path in where.glob("s"):
                path.unlink()
        return broken

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(live, [(places[0], steps[::2]), (places[1], steps[1::2])])
    broken = first + second
    print(f"{len(steps)} steps")
    assert broken == [], "\n".join(broken)


STORM = [
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGHUP,
    signal.SIGCHLD,
    signal.SIGCONT,
    signal.SIGWINCH,
    signal.SIGURG,
    signal.SIGPIPE,
]


@short_and_long("count", 3_000, 100_000)
def test_a_storm_of_signals_ends_with_a_stop_in_order(launch, place, count):
    """P32: 100,000 random signals, then TERM: a client is served all the while, 0, and nothing is left."""
    server = launch("unix", str(place / "s"), "--threads", "myapp:Echo")
    generator = random.Random(32)
    family = set()
    for n in range(count):
        os.kill(server.pid, generator.choice(STORM))
        if n % (count // 20) == 0:
            assert asked(server) == b"ping\n"
            family |= set(descendants(server.pid))
    assert asked(server) == b"ping\n"
    family |= set(descendants(server.pid))
    assert server.stop() == 0
    wait_until(lambda: all(map(is_gone, family)), "end of the workers", server)
    assert not (place / "s").exists()
    assert "Traceback" not in server.log
    assert "reload failed" not in server.log


def two_workers(pid: int) -> list[int]:
    """Return the supervisor's workers if they are two, else nothing."""
    workers = descendants(pid)
    return workers if len(workers) == 2 else []


@short_and_long("count", 2, 200)
@pytest.mark.parametrize("number", SOURCE)
def test_a_stop_in_the_middle_of_a_reload_ends_both_workers(launch, place, number, count):
    """P32: HUP, and TERM or INT while the new worker starts: in order, and neither worker is left."""
    for _ in range(count):
        server = launch("unix", str(place / "s"), "--fork", "myapp:Echo")
        server.send_signal(signal.SIGHUP)
        family = wait_until(lambda pid=server.pid: two_workers(pid), "a second worker")
        assert server.stop(number) == 0
        assert all(map(is_gone, family))
        assert not (place / "s").exists()
