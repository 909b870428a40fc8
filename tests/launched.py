"""A real srvctl process for a test: started, waited for by what it announces, stopped, and never left behind."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

# How long a test waits for an event before it fails. Nothing is asserted about how long things take.
PATIENCE = 20.0

COMMAND = [sys.executable, "-m", "srvctl"]

# vsock(7): the way to oneself, where the kernel has it (vsock_loopback).
VMADDR_CID_LOCAL = 1


def clean_environment(**more: str) -> dict[str, str]:
    """Return this process's environment without what would steer srvctl, and with `more`."""
    private = ("SRVCTL_", "LISTEN_", "NOTIFY_SOCKET", "WATCHDOG_", "JOURNAL_STREAM")
    return {k: v for k, v in os.environ.items() if not k.startswith(private)} | more


def run(
    *words: str, cwd: Path | None = None, prefix: tuple[str, ...] = (), **options: object
) -> subprocess.CompletedProcess[str]:
    """Run srvctl to its end and return what it said; for command lines that do not serve."""
    options.setdefault("env", clean_environment())
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [*prefix, *COMMAND, *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
        **options,
    )


class Launched:
    """``srvctl WORDS --announce``, ready when the constructor returns; `address` is what it announced.

    A context manager: at its end the process has been stopped, or killed if it would not. `log` is standard error
    so far, `stop` sends TERM and returns the exit status.
    """

    def __init__(
        self,
        *words: str,
        cwd: Path,
        prefix: tuple[str, ...] = (),
        command: Sequence[str] = tuple(COMMAND),
        **options: object,
    ) -> None:
        self.cwd = cwd
        self._log_path = cwd / f"stderr-{os.urandom(4).hex()}.log"
        options.setdefault("env", clean_environment())
        # --announce goes before the handler and before anything behind --.
        with self._log_path.open("wb") as log:
            options.setdefault("stderr", log)
            self.process = subprocess.Popen(  # type: ignore[call-overload]
                [*prefix, *command, *words[:2], "--announce", *words[2:]],
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                **options,
            )
        try:
            self.address = self._read_announcement()
        except BaseException:
            self._kill()
            raise

    def _read_announcement(self) -> str:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        line = self.process.stdout.readline().decode() if ready else ""
        if not line:
            raise AssertionError(f"srvctl announced nothing; exit status {self.process.poll()}; it said:\n{self.log}")
        return line.rstrip("\n")

    def __enter__(self) -> Launched:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, frames: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(PATIENCE)
        self._kill()

    def _kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        """Standard error so far."""
        return self._log_path.read_text(errors="backslashreplace")

    @property
    def scheme(self) -> str:
        return self.address.partition("://")[0]

    @property
    def sockaddr(self) -> tuple[str | int, int] | str:
        """What a client connects to; loopback where the server is bound to every interface."""
        scheme, _, rest = self.address.partition("://")
        if scheme.startswith("unix"):
            return "\0" + rest[1:] if rest.startswith("@") else str(self.cwd / rest)
        host, _, port = rest.rpartition(":")
        if scheme == "vsock":
            return (VMADDR_CID_LOCAL, int(port))
        host = host.strip("[]")
        return ({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), int(port))

    def connect(self, timeout: float = PATIENCE) -> socket.socket:
        """Return a client's socket, connected (datagram ones too); a unix datagram client is given a name."""
        scheme = self.scheme
        type_ = socket.SOCK_DGRAM if scheme in ("udp", "unix-dgram") else socket.SOCK_STREAM
        if scheme == "unix-seqpacket":
            type_ = socket.SOCK_SEQPACKET
        sockaddr = self.sockaddr
        if isinstance(sockaddr, str):
            family = socket.AF_UNIX
        elif isinstance(sockaddr[0], int):
            family = socket.AF_VSOCK
        else:
            family = socket.AF_INET6 if ":" in sockaddr[0] else socket.AF_INET
        sock = socket.socket(family, type_)
        try:
            sock.settimeout(timeout)
            if family == socket.AF_UNIX and type_ == socket.SOCK_DGRAM:
                sock.bind("\0srvctl-test-" + os.urandom(8).hex())
            sock.connect(sockaddr)
        except BaseException:
            sock.close()
            raise
        return sock

    def send_signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, TERM unless told otherwise, and return the exit status."""
        self.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end and return the exit status (negative: a signal's number)."""
        return self.process.wait(PATIENCE)

    def wait_for_log(self, text: str, count: int = 1) -> str:
        """Wait until `text` has been logged `count` times; return the log."""
        return wait_until(lambda: self.log if self.log.count(text) >= count else "", f"{text!r} in the log", self)

    def children(self, pid: int | None = None) -> list[int]:
        """Return the process ids of the children of `pid`, the supervisor unless told otherwise."""
        return children_of(self.pid if pid is None else pid)

    @property
    def worker(self) -> int:
        """The process id of the one worker."""
        (worker,) = self.children()
        return worker


def children_of(pid: int) -> list[int]:
    """Return the children of process `pid`, all of its threads' together."""
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
    return found


def descriptors(pid: int) -> dict[int, str]:
    """Return the open descriptors of process `pid`, by number, with what they are."""
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found[int(name)] = str(Path(f"/proc/{pid}/fd/{name}").readlink())
    return found


def wait_until(condition, what: str, launched: Launched | None = None):  # type: ignore[no-untyped-def]
    """Wait for a fact of the operating system that no event tells; return what `condition` said when it was true."""
    deadline = time.monotonic() + PATIENCE
    while not (outcome := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"no {what} within {PATIENCE} s" + (f"; the log:\n{launched.log}" if launched else ""))
        select.select([], [], [], 0.01)
    return outcome


def insist(launched: Launched, number: signal.Signals, text: str) -> None:
    """Send a signal again and again until the log has `text`: one that comes too soon after another may be the same."""

    def is_followed() -> bool:
        launched.send_signal(number)
        return text in launched.log

    wait_until(is_followed, f"{text!r} in the log", launched)


def freeze(pid: int) -> None:
    """Stop a process as a debugger does; returns when each of its threads stands, which a signal alone does not say."""
    os.kill(pid, signal.SIGSTOP)
    stats = Path(f"/proc/{pid}/task").glob("*/stat")
    for stat in list(stats):
        wait_until(lambda stat=stat: stat.read_text().rpartition(")")[2].split()[0] == "T", f"stop of {stat}")


def receive_all(sock: socket.socket) -> bytes:
    """Read until the peer has shut down."""
    received = b""
    while data := sock.recv(65536):
        received += data
    return received


def receive_exactly(sock: socket.socket, count: int) -> bytes:
    """Read `count` bytes, or fewer when the peer has shut down before."""
    received = b""
    while len(received) < count and (data := sock.recv(count - len(received))):
        received += data
    return received


def ask(sock: socket.socket, question: bytes) -> bytes:
    """Send `question` and return an answer of the same length, or what of it came before the end."""
    sock.sendall(question)
    if sock.type != socket.SOCK_STREAM:
        return sock.recv(65536)
    return receive_exactly(sock, len(question))
