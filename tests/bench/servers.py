"""A server under test: how it is started, how one knows that it is ready, and how it ends."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.launched import clean_environment

from .cores import CORES, pinned_to

ROOT = Path(__file__).parents[2]
PATIENCE = 20.0
STREAMS = ("tcp4", "unix")
INET = ("tcp4", "udp4")


class NotServedError(Exception):
    """A server did not start; the text says why, and the row is left out."""


@dataclass(frozen=True)
class Server:
    """A row: its name in the table, its command line, and what it is compared with.

    In `command`, ``{python}``, ``{programs}``, ``{family}``, ``{address}``, ``{port}`` and ``{place}`` are filled in.
    `peer` is the name of the row that it is compared with: the standard library's of the same model, as a rule. A
    server that `announces` writes a line to standard output when it is ready; the others are asked until they accept a
    connection. `cwd` is where it runs, the root of the checkout unless told otherwise. A server that is not `pinned`
    has every core, the client's too.
    """

    name: str
    command: str
    peer: str = ""
    needs: tuple[str, ...] = ()
    announces: bool = True
    cwd: str = ""
    pinned: bool = True


def free_address(family: str, place: Path) -> str:
    """Return an address that nobody has now."""
    if family not in INET:
        return str(place / f"{os.urandom(4).hex()}.sock")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if family in STREAMS else socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{sock.getsockname()[1]}"


class Running:
    """A started server; `await_ready` returns when it serves, `end` stops it, or kills it if it would not stop.

    A context manager: ready at its begin, gone at its end. `pace` is what a client that counts requests, and not
    seconds, has found out about its rate.
    """

    pace: float = 0.0

    def __init__(self, server: Server, family: str, place: Path) -> None:
        self.server, self.family = server, family
        self.address = free_address(family, place)
        words = {"family": family, "address": self.address, "port": self.address.rpartition(":")[2]}
        words |= {"python": sys.executable, "programs": str(place), "place": str(place)}
        self._log = place / f"{os.urandom(4).hex()}.log"
        environment = clean_environment(PYTHONPATH=f"{place}:{ROOT}")
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed has been compiled
        with self._log.open("wb") as log, pinned_to(CORES.server if server.pinned else CORES.available):
            self.process = subprocess.Popen(
                [word.format(**words) for word in server.command.split()],
                cwd=server.cwd.format(**words) or ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if server.announces else log,
                stderr=log,
                start_new_session=True,
            )

    def await_ready(self) -> None:
        """Return when it serves; raises `NotServedError` when it does not start."""
        if self.server.announces:
            self._await_announcement()
        else:
            self._await_connection()

    def _await_announcement(self) -> None:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        if not ready or not self.process.stdout.readline():
            raise NotServedError(self._why())

    def _await_connection(self) -> None:
        """Ask until it accepts: these programs tell nobody when they are ready."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(ConnectionRefusedError, FileNotFoundError), self.connect():
                return
            time.sleep(0.001)
        raise NotServedError(self._why())

    def _why(self) -> str:
        self.process.poll()
        lines = self._log.read_text(errors="backslashreplace").strip().splitlines()
        return lines[-1] if lines else f"it said nothing (exit status {self.process.returncode})"

    def connect(self) -> socket.socket:
        """Return a client's connection, or a datagram socket that is connected."""
        sock = socket.socket(
            socket.AF_INET if self.family in INET else socket.AF_UNIX,
            socket.SOCK_STREAM if self.family in STREAMS else socket.SOCK_DGRAM,
        )
        sock.settimeout(PATIENCE)
        try:
            if self.family == "unix-dgram":
                sock.bind("")  # autobind, unix(7): an answer needs a name to go to
            host, _, port = self.address.rpartition(":")
            sock.connect((host, int(port)) if self.family in INET else self.address)
        except BaseException:
            sock.close()
            raise
        return sock

    def end(self) -> None:
        """Stop the server and what it started; returns when it is gone."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(2)
        with contextlib.suppress(ProcessLookupError):  # its session is its own: nothing of it is left behind
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def __enter__(self) -> Running:
        try:
            self.await_ready()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, frames: TracebackType | None) -> None:
        self.end()
