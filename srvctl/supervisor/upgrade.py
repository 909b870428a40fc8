"""A new srvctl in the place of the running one, in the same process: execve(2), with socket and workers handed on.

It happens as part of a reload (HUP) when srvctl's own files have changed since the start, so that who upgrades has one
thing to do, ``systemctl reload``, and it is the same whether the handler changed or srvctl did. The new program proves
first, in a process of its own, that it reads the same command line; until it has, nothing happens to the old one.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import signal
import sys
from time import monotonic

import srvctl
from srvctl.runtime import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from srvctl.runtime.loop import Loop

# Neither reaches a worker: the one is taken out of the environment when it is read, and a rehearsal starts none.
HANDED_OVER, REHEARSAL = "SRVCTL_HANDED_OVER", "SRVCTL_REHEARSAL"
REHEARSAL_SECONDS = 30.0
# Workers that are being replaced are not handed over in the middle of it; it is over within a second as a rule.
RETRY_SECONDS = 0.1


def fingerprint() -> tuple[tuple[str, int, int], ...]:
    """Return what tells whether srvctl's own files are the same as before: their names, sizes and times."""
    found = []
    for directory, _, files in os.walk(os.path.dirname(os.path.abspath(srvctl.__file__))):
        for file in files:
            if file.endswith(".py"):
                with contextlib.suppress(OSError):  # removed this moment: changed
                    status = os.stat(os.path.join(directory, file))
                    found.append((os.path.join(directory, file), status.st_size, status.st_mtime_ns))
    return tuple(sorted(found))


def is_rehearsal() -> bool:
    """Tell whether this process is such a try: it is to get as far as it can without touching anything."""
    return REHEARSAL in os.environ


def take_over(state: dict[str, Any]) -> None:
    """Become the new program, which finds `state` with `handed_over`; returns only by raising OSError.

    Signals wait meanwhile: whoever is exec'ed starts with the defaults, and TERM's would leave everything lying about.
    """
    memory = os.memfd_create("srvctl", 0)
    os.write(memory, marshal.dumps(state, 2))
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        os.execve(sys.executable, _command(), os.environ | {HANDED_OVER: str(memory)})
    except OSError:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
        os.close(memory)
        raise


def handed_over() -> dict[str, Any] | None:
    """Return the state that the program before this one left, or None. To be called once."""
    number = os.environ.pop(HANDED_OVER, None)
    if number is None:
        return None
    with open(int(number), "rb") as memory:
        memory.seek(0)
        state: dict[str, Any] = marshal.loads(memory.read())
    return state


def admit_signals() -> None:
    """Let those in that waited for the new program to be ready for them."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())


def _command() -> list[str]:
    return [sys.executable, *sys.orig_argv[1:]]


class Upgrade:
    """Make way for a new srvctl, if its files have changed since this was made.

    `state` is asked for what to hand over when the new one has proved itself, None for not now; `on_failed` is called
    when it has not.
    """

    def __init__(self, loop: Loop, state: Callable[[], dict[str, Any] | None], on_failed: Callable[[], None]) -> None:
        self._loop, self._state, self._on_failed = loop, state, on_failed
        self._fingerprint = fingerprint()
        self._rehearsal = 0  # the process id of the new program that is tried, until it is known to have failed
        self._has_ended = False

    def begin(self) -> bool:
        """Try the new program, if there is one; return whether it is being tried. Does not block."""
        if self._rehearsal or fingerprint() == self._fingerprint:
            return bool(self._rehearsal)
        try:
            pid = _rehearse()
        except OSError as error:
            log.upgrade_failed(error.strerror or "")
            return False
        log.upgrading()
        self._rehearsal, self._has_ended = pid, False
        pidfd = os.pidfd_open(pid)
        self._loop.watch(pidfd, lambda events: self._on_exit(pid, pidfd))
        self._loop.call_at(monotonic() + REHEARSAL_SECONDS, lambda: self._on_overtime(pid))
        return True

    def _on_overtime(self, pid: int) -> None:
        if self._rehearsal == pid and not self._has_ended:
            os.kill(pid, signal.SIGKILL)

    def _on_exit(self, pid: int, pidfd: int) -> None:
        self._loop.unwatch(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
        self._has_ended = True
        code = os.waitstatus_to_exitcode(status)
        if code == 0:
            self._make_way()
        else:
            self._fail(f"the new program ends with status {code}")

    def _make_way(self) -> None:
        """Hand over, as soon as nothing is under way that would be lost."""
        state = self._state()
        if state is None:
            self._loop.call_at(monotonic() + RETRY_SECONDS, self._make_way)
            return
        try:
            take_over(state)
        except OSError as error:
            self._fail(error.strerror or str(error))

    def _fail(self, why: str) -> None:
        self._rehearsal = 0
        log.upgrade_failed(why)
        self._on_failed()


def _rehearse() -> int:
    """Start the new program on the same command line, to see whether it would take over; return its process id."""
    environment = os.environ | {REHEARSAL: "1"}
    actions = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1)]
    return os.posix_spawn(sys.executable, _command(), environment, file_actions=actions)
