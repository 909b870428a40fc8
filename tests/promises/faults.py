"""Faults of the real thing, and what the operating system knows about processes.

System calls are made to fail by strace(1) and limits are set by prlimit(2): nothing in srvctl is replaced.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from srvctl.programs import guardian
from tests.launched import Launched, children_of, wait_until

MODELS = ("--sync", "--threads", "--fork")


def _can_trace() -> str:
    """Return why strace cannot be used here, or an empty string."""
    if not shutil.which("strace"):
        return "there is no strace(1) here"
    tried = subprocess.run(["strace", "-e", "trace=none", "true"], capture_output=True, text=True, check=False)
    return "" if tried.returncode == 0 else f"ptrace(2) is not permitted here: {tried.stderr.strip()}"


_WHY_NOT = _can_trace()
needs_strace = pytest.mark.skipif(bool(_WHY_NOT), reason=_WHY_NOT)


def short_and_long(name: str, short: Any, long: Any, seconds: float = 3600) -> pytest.MarkDecorator:
    """Run a test with the figure of CI, and under ``-m long``, with `seconds` for it, with that of promises.md."""
    marks = (pytest.mark.long, pytest.mark.timeout(seconds))
    return pytest.mark.parametrize(name, [pytest.param(short), pytest.param(long, marks=marks)])


class Strace:
    """``strace -f -p PID OPTIONS``, attached when the constructor returns; `text` is what it wrote so far.

    A context manager: at its end the processes go on without it.
    """

    def __init__(self, pid: int, place: Path, *options: str) -> None:
        self._path = place / f"strace-{os.urandom(4).hex()}.txt"
        said = self._path.with_suffix(".err")
        with said.open("wb") as stderr:
            self._process = subprocess.Popen(
                ["strace", "-f", "-ttt", "-o", str(self._path), "-p", str(pid), *options], stderr=stderr
            )
        wait_until(lambda: "attached" in said.read_text() or self._process.poll() is not None, "strace attached")
        if "attached" not in said.read_text():  # otherwise it may have ended since, with what it is attached to
            raise AssertionError(f"strace ended: {said.read_text()}")

    def __enter__(self) -> Strace:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, frames: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the processes; of one that is delayed only when the delay is over, or after 10 s."""
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def kill(self) -> None:
        """Let go of the processes at once, whatever they are in."""
        self._process.kill()
        self._process.wait()

    @property
    def text(self) -> str:
        return self._path.read_text()

    def times(self, call: str) -> list[float]:
        """Return when each call of `call` was made that has ended with an injected error, in seconds."""
        return [float(t) for t in re.findall(rf"^\d+ +(\d+\.\d+) {call}\(.*\(INJECTED\)$", self.text, re.MULTILINE)]


def inject(calls: str, fault: str) -> list[str]:
    """Return the options with which strace makes the system calls `calls` fail, or be met by a signal."""
    return ["-e", f"trace={calls}", "-e", f"inject={calls}:{fault}"]


def rate(times: list[float]) -> float:
    """Return how many a second of `times` there were."""
    return (len(times) - 1) / (times[-1] - times[0])


def limit_descriptors(pid: int, most: int) -> None:
    """Let process `pid` have descriptors below `most` and none above, as ``prlimit --nofile`` does."""
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, most))


def as_somebody_else(*capabilities: str) -> tuple[str, ...]:
    """Return what starts a program as a user who has no other process, with some of root's capabilities."""
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    if not (shutil.which("setpriv") and shutil.which("prlimit")):
        pytest.skip("there is no setpriv(1) or no prlimit(1) here")
    user = f"--reuid={4_000_000 + os.getpid()}"
    kept = ",".join(f"+{name}" for name in capabilities)
    return ("setpriv", user, *((f"--inh-caps={kept}", f"--ambient-caps={kept}") if kept else ()))


def descendants(pid: int) -> list[int]:
    """Return the children of process `pid`, theirs, and so on; without the guardian of programs."""
    found = []
    for child in children_of(pid):
        if not is_guardian(child):
            found += [child, *descendants(child)]
    return found


def is_guardian(pid: int) -> bool:
    """Tell whether a process is the guardian of a worker's programs."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == guardian.NAME
    except (FileNotFoundError, ProcessLookupError):
        return False


def stat_of(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat behind the name, so that the state is the first; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def is_gone(pid: int) -> bool:
    """Tell whether process `pid` has ended; one that only waits for a parent that is not ours to have counts."""
    fields = stat_of(pid)
    if not fields or fields[0] not in "ZX":
        return not fields
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return len(os.listdir(f"/proc/{pid}/task")) <= 1  # the first thread can be gone before the others
    return True


def processor_seconds(pid: int) -> float:
    """Return the processor time that process `pid` has used."""
    fields = stat_of(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def processes_in(place: Path) -> list[int]:
    """Return the processes whose current directory is `place`: whatever a server that was started there left."""
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cwd").readlink() == place:
                found.append(int(pid))
    return found


@contextlib.contextmanager
def clients(server: Launched, count: int) -> Iterator[list[socket.socket]]:
    """Connect `count` clients, and close them at the end."""
    with contextlib.ExitStack() as opened:
        yield [opened.enter_context(server.connect()) for _ in range(count)]


def ask(client: socket.socket, line: bytes = b"ping\n") -> bytes:
    """Send `line` and return one line of reply, or what came before the end."""
    client.sendall(line)
    return read_line(client)


def read_line(client: socket.socket) -> bytes:
    """Return the next line, or what came before the end."""
    received = b""
    while not received.endswith(b"\n") and (data := client.recv(1)):
        received += data
    return received


def asked(server: Launched, line: bytes = b"ping\n") -> bytes:
    """Connect, ask, and return the reply."""
    with server.connect() as client:
        return ask(client, line)


def lines_with(log: str, text: str) -> list[str]:
    """Return the lines of `log` with `text` in them."""
    return [line for line in log.splitlines() if text in line]


def all_answer(connected: Iterable[socket.socket]) -> None:
    """Check that a conversation still goes on with each client."""
    for client in connected:
        assert ask(client) == b"ping\n"
