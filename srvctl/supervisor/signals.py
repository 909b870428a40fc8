"""Signals of the supervisor, as events that its loop reads."""

from __future__ import annotations

import contextlib
import os
import signal
import socket

from srvctl.supervisor.terminal import Terminal

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
    """Signals that were received and not handled yet; owns a wake-up descriptor.

    After `install` none of them ends the process by itself; `restore` undoes that. The bytes on the wake-up descriptor
    only wake the loop: in a storm of signals some are lost, and that of SIGTERM could be among them. The handler keeps
    the signals themselves; Python calls it at least once for each number.
    """

    def __init__(self, ignores_hangup: bool = False) -> None:
        """`ignores_hangup` says that the program before this one was started with SIGHUP ignored, as nohup(1) does."""
        self._terminal = Terminal()
        self.ignores_hangup = ignores_hangup or signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        self._received: list[signal.Signals] = []
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)

    def fileno(self) -> int:
        return self._read.fileno()

    def is_hangup(self) -> bool:
        """Tell, of a SIGHUP, whether it came because the terminal has gone."""
        return self._terminal.has_gone()

    def install(self) -> None:
        """Receive them from now on; for the main thread only."""
        signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, self._receive)

    def restore(self) -> None:
        """Restore the default actions."""
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        self._read.close()
        self._write.close()

    def pending(self) -> list[signal.Signals]:
        """Return those that were received since the last call, in order."""
        with contextlib.suppress(BlockingIOError):
            while self._read.recv(4096):
                pass
        received, self._received = self._received, []
        return received

    def _receive(self, number: int, frame: FrameType | None) -> None:
        # A second TERM means more than the first, and two TTIN mean two workers; a second HUP means nothing more.
        if number not in self._received or number not in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            self._received.append(signal.Signals(number))


class StoppedBeforeReady(Exception):
    """A signal to stop came before the server was ready; it has never served."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.number = number


def kill_self(number: signal.Signals) -> None:
    """End this process by a signal, as if it had no handler: the shell and systemd see which signal it was."""
    with contextlib.suppress(OSError):
        os.kill(os.getpid(), number)
