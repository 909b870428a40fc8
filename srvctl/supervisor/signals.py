"""The signals of the supervisor: which there are, and what comes of each as something that its loop reads."""

from __future__ import annotations

import contextlib
import os
import signal
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
SIGNALS = (
    *STOPPING,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTTIN,
    signal.SIGTTOU,
)


class Signals:
    """The signals that came and were not followed yet; owns a wake-up descriptor.

    From `take` on none of them ends the process by itself; `give_back` undoes that. The bytes of the wake-up descriptor
    only wake: in a storm they can be lost, and the one that says stop with them. Which signals came is kept by the
    handler, which Python calls at least once for each number.
    """

    def __init__(self) -> None:
        self._came: list[signal.Signals] = []
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)

    def fileno(self) -> int:
        return self._read.fileno()

    def take(self) -> None:
        """Receive them from now on; for the main thread."""
        signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, self._note)

    def give_back(self) -> None:
        """Let them do again what they do by default."""
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        self._read.close()
        self._write.close()

    def pending(self) -> list[signal.Signals]:
        """Return those that came, in order."""
        with contextlib.suppress(BlockingIOError):
            while self._read.recv(4096):
                pass
        came, self._came = self._came, []
        return came

    def _note(self, number: int, frame: FrameType | None) -> None:
        # One TERM more is another word; one HUP more is not. TTIN and TTOU count too: two mean two workers.
        if number not in self._came or number not in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            self._came.append(signal.Signals(number))


class StoppedEarly(Exception):
    """A signal to stop came before the server was ready; it has never served."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.number = number


def die_of(number: signal.Signals) -> None:
    """End this process by a signal, as if it had never been handled: the shell and systemd see which."""
    with contextlib.suppress(OSError):
        os.kill(os.getpid(), number)
