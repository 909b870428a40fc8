"""A load of clients that miss nothing: each question is unique, and has to be answered once, whole, and then ended."""

from __future__ import annotations

import errno
import itertools
import os
import select
import signal
import socket
import threading
from collections import Counter
from pathlib import Path
from types import TracebackType

from tests.launched import Launched, receive_all, wait_until

CLIENTS = 4
# Between two conversations of one client: four of them make some 300 a second, and leave the machine to the server.
PAUSE_SECONDS = 0.01


class Load:
    """Ask `server`, which echoes, for as long as the context lasts; `outcomes` counts what came of each question.

    An outcome is ``answered``, ``refused``, ``reset``, ``truncated``, ``twice`` (more came than was asked for), or
    ``unanswered``. `faults` are all but the first.
    """

    def __init__(self, server: Launched, clients: int = CLIENTS, pause: float = PAUSE_SECONDS) -> None:
        self._server, self._pause = server, pause
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.outcomes: Counter[str] = Counter()
        ask = self._ask_datagrams if "udp" in server.scheme or "dgram" in server.scheme else self._ask_connections
        self._threads = [threading.Thread(target=ask, args=(f"client-{n}",)) for n in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        self.wait_for_more()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, frames: TracebackType | None) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    @property
    def answered(self) -> int:
        """How many questions were answered as they should be."""
        return self.outcomes["answered"]

    @property
    def faults(self) -> dict[str, int]:
        """How many had each other outcome."""
        return {outcome: count for outcome, count in self.outcomes.items() if outcome != "answered"}

    def wait_for_more(self, count: int = 50) -> None:
        """Wait until `count` more questions have been answered."""
        enough = self.answered + count
        wait_until(lambda: self.answered >= enough, f"{count} answers more, faults: {self.faults}", self._server)

    def _note(self, outcome: str) -> None:
        with self._lock:
            self.outcomes[outcome] += 1

    def _ask_connections(self, name: str) -> None:
        for number in itertools.count():
            if self._over.wait(self._pause):
                return
            self._note(self._converse(f"{name} {number}\n".encode()))

    def _converse(self, question: bytes) -> str:
        try:
            with self._server.connect() as sock:
                sock.sendall(question)
                sock.shutdown(socket.SHUT_WR)
                answer = receive_all(sock)
        except ConnectionRefusedError:
            return "refused"
        except TimeoutError:
            return "unanswered"
        except ConnectionError:
            return "reset"
        except OSError as error:
            if error.errno == errno.ENOTCONN:  # reset, before the client's shutdown
                return "reset"
            raise
        if answer == question:
            return "answered"
        return "twice" if answer.startswith(question) else "truncated"

    def _ask_datagrams(self, name: str) -> None:
        with self._server.connect() as sock:
            for number in itertools.count():
                if self._over.wait(self._pause):
                    break
                self._note(_exchange(sock, f"{name} {number}".encode()))
            if select.select([sock], [], [], 0)[0]:
                self._note("twice")


def _exchange(sock: socket.socket, question: bytes) -> str:
    """Send one datagram, and never again; what else comes meanwhile is an answer too many."""
    try:
        sock.send(question)
        return "answered" if sock.recv(65536) == question else "twice"
    except TimeoutError:
        return "unanswered"
    except ConnectionError:
        return "refused"


class Tail:
    """What `server` logs from now on, or from its start, read once: under load a log grows too big for more."""

    def __init__(self, server: Launched, *, from_start: bool = False) -> None:
        self._server = server
        self._file = server._log_path.open(errors="backslashreplace")
        self._file.seek(0, os.SEEK_SET if from_start else os.SEEK_END)
        self.lines: list[str] = []
        self._rest = ""

    def __enter__(self) -> Tail:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, frames: TracebackType | None) -> None:
        self._file.close()

    def count(self, text: str) -> int:
        """Return in how many lines, of those that matter, `text` is; conversations that went well do not matter."""
        *lines, self._rest = (self._rest + self._file.read()).split("\n")
        self.lines += [line for line in lines if "how=done" not in line and " began " not in line]
        return sum(text in line for line in self.lines)

    def wait_for(self, text: str, count: int) -> None:
        """Wait until `text` has been logged in `count` lines."""
        wait_until(lambda: self.count(text) >= count, f"{count} lines with {text!r}", self._server)


def reload(server: Launched) -> None:
    """Have `server` reload, and wait until it has."""
    with Tail(server) as tail:
        server.send_signal(signal.SIGHUP)
        tail.wait_for("notice reloaded", 1)


def wait_for_workers(server: Launched, count: int) -> list[int]:
    """Wait until `server` has `count` workers, and those that retired are gone; return their process ids."""

    def workers() -> list[int]:
        return found if len(found := server.children()) == count else []

    found: list[int] = wait_until(workers, f"{count} workers", server)
    return found


def resources_at_rest(server: Launched) -> tuple[int, int]:
    """Return what the supervisor has when it waits: it is not there yet when it has announced itself."""
    server.send_signal(signal.SIGUSR1)
    server.wait_for_log(" state ")
    return resources(server.pid)


def resources(pid: int) -> tuple[int, int]:
    """Return how many descriptors and threads process `pid` has."""
    return len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task"))


def resident_kilobytes(pid: int) -> int:
    """Return the resident memory of process `pid`."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def is_gone(pid: int) -> bool:
    """Tell whether process `pid` has ended; one that nobody has reaped yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True
