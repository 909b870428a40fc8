"""Upgrade: execve(2) of a new srvctl in the same process, with the listener and the workers handed over.

It is part of a reload (SIGHUP) when srvctl's own files have changed since the start: ``systemctl reload`` is all that
is needed, whether the handler changed or srvctl did. Before that a preflight, which is the new program in a process of
its own, shows that it accepts the same command line and can adopt the workers. If it fails, the old program goes on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from time import monotonic

import srvctl
from srvctl.errors import UsageError
from srvctl.runtime import log, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from srvctl.runtime.loop import Loop

# Environment variables of the new program. Their names are part of the protocol between versions. No worker sees them:
# the first is removed from the environment when it is read, and a preflight starts no worker.
HANDED_OVER, PREFLIGHT = "SRVCTL_HANDED_OVER", "SRVCTL_REHEARSAL"
PREFLIGHT_TIMEOUT_SECONDS = 30.0
# What the memory for the state is called, memfd_create(2).
_MEMORY_NAME = "srvctl"
# Nothing is handed over during a rollout, which takes a second as a rule.
RETRY_SECONDS = 0.1


def fingerprint() -> tuple[tuple[str, int, int], ...]:
    """Return names, sizes and times of srvctl's own files, to compare with those of another time.

    Raises OSError when it cannot look: a directory that cannot be opened for want of a descriptor has not changed.
    """

    def fail(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    files_found = []
    for directory, _, files in os.walk(os.path.dirname(os.path.abspath(srvctl.__file__)), onerror=fail):
        for file in files:
            if file.endswith(".py"):
                with contextlib.suppress(OSError):  # it was removed this moment: that is a change, too
                    status = os.stat(os.path.join(directory, file))
                    files_found.append((os.path.join(directory, file), status.st_size, status.st_mtime_ns))
    return tuple(sorted(files_found))


def is_preflight() -> bool:
    """Tell whether this process is a preflight, which reads its command line and the state, and exits.

    The variable is believed when the parent process runs the same command line: so nobody else's makes a server that
    serves nothing.
    """
    if PREFLIGHT not in os.environ:
        return False
    try:
        with open("/proc/self/cmdline", "rb") as own, open(f"/proc/{os.getppid()}/cmdline", "rb") as parents:
            return own.read() == parents.read()
    except OSError:  # no /proc: nothing can be told
        return True


def exec_new(state: dict[str, Any]) -> None:
    """Become the new program, which reads `state` by `inherited_state`; returns only by raising OSError.

    Signals are blocked until the new program has installed its handlers: the default action of SIGTERM would end it,
    with the socket's file in place and its workers running.
    """
    memory = _memory_of(state)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        os.execve(sys.executable, _command(), os.environ | {HANDED_OVER: str(memory)})
    except OSError:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
        os.close(memory)
        raise


def _memory_of(state: dict[str, Any]) -> int:
    """Return the descriptor of memory that has `state` in it, which a new program inherits."""
    memory = os.memfd_create(_MEMORY_NAME, 0)
    os.write(memory, wire.dumps(state))
    return memory


def inherited_state() -> dict[str, Any] | None:
    """Return the state that the program before this one handed over, or None. To be called once.

    Raises `UsageError` when the variable names anything but memory that such a program has written.
    """
    number = os.environ.pop(HANDED_OVER, None)
    if number is None:
        return None
    try:
        fd = int(number)
        if not os.readlink(f"/proc/self/fd/{fd}").startswith(f"/memfd:{_MEMORY_NAME}"):
            raise ValueError
        with open(fd, "rb") as memory:
            memory.seek(0)
            state: dict[str, Any] = wire.loads(memory.read())
        if not isinstance(state, dict) or not {"listener", "workers"} <= state.keys():
            raise ValueError
    except (OSError, ValueError):
        why = "it is srvctl's own, for an upgrade in place; unset it"
        raise UsageError("use", f"variable {HANDED_OVER}={number!r}", why) from None
    return state


def unblock_signals() -> None:
    """Receive the signals that came while they were blocked, and from now on."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())


def _command() -> list[str]:
    return [sys.executable, *sys.orig_argv[1:]]


class Upgrade:
    """Exec the new srvctl, if its files have changed since this object was made.

    `hand_over` returns the state for the new program, or None when it cannot at the moment; `on_failed` is called when
    the preflight or the exec has failed.
    """

    def __init__(
        self, loop: Loop, hand_over: Callable[[], dict[str, Any] | None], on_failed: Callable[[], None]
    ) -> None:
        self._loop, self._hand_over_state, self._on_failed = loop, hand_over, on_failed
        self._fingerprint = fingerprint()
        self._preflight = 0  # its process id
        self._is_under_way = self._has_exited = False

    def begin(self) -> bool:
        """Start a preflight if the files have changed; return whether one is under way. Does not block."""
        if self._is_under_way:
            return True
        try:
            if fingerprint() == self._fingerprint:
                return False
        except OSError:  # whether anything has changed will show in the next reload
            return False
        self._is_under_way = True
        log.upgrading()
        self._try()
        return True

    def _try(self) -> None:
        """Start a preflight with what would be handed over, now or after the rollout that is under way."""
        before = _inheritable()
        state = self._hand_over_state()
        if state is None:
            self._loop.call_at(monotonic() + RETRY_SECONDS, self._try)
            return
        try:
            pid, pidfd = _start_preflight(state)
        except OSError as error:
            self._fail(error.strerror or str(error))
            return
        finally:
            for fd in _inheritable() - before:  # they are for the preflight, and not for a worker
                os.set_inheritable(fd, False)
        self._preflight, self._has_exited = pid, False
        self._loop.watch(pidfd, lambda events: self._on_exit(pid, pidfd))
        self._loop.call_at(monotonic() + PREFLIGHT_TIMEOUT_SECONDS, lambda: self._on_timeout(pid))

    def _on_timeout(self, pid: int) -> None:
        if self._preflight == pid and not self._has_exited:
            os.kill(pid, signal.SIGKILL)

    def _on_exit(self, pid: int, pidfd: int) -> None:
        self._loop.unwatch(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
        self._has_exited = True
        code = os.waitstatus_to_exitcode(status)
        if code == 0:
            self._hand_over()
        else:
            self._fail(f"the new program ends with status {code}")

    def _hand_over(self) -> None:
        """Exec the new program, now or after the rollout that is under way."""
        state = self._hand_over_state()
        if state is None:
            self._loop.call_at(monotonic() + RETRY_SECONDS, self._hand_over)
            return
        try:
            exec_new(state)
        except OSError as error:
            self._fail(error.strerror or str(error))

    def _fail(self, why: str) -> None:
        self._is_under_way = False
        log.upgrade_failed(why)
        self._on_failed()


def _inheritable() -> set[int]:
    """Return the descriptors that a program inherits which is executed now."""
    found = set()
    for entry in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the one of the listing itself
            if os.get_inheritable(int(entry)):
                found.add(int(entry))
    return found


def _start_preflight(state: dict[str, Any]) -> tuple[int, int]:
    """Start the new program on the same command line, as a preflight, with `state`; return its process id and pidfd.

    Raises OSError.
    """
    memory = _memory_of(state)
    environment = os.environ | {PREFLIGHT: "1", HANDED_OVER: str(memory)}
    actions = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1)]
    try:
        pid = os.posix_spawn(sys.executable, _command(), environment, file_actions=actions)
    finally:
        os.close(memory)
    try:
        return pid, os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
