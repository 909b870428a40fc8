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

import srvctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Neither reaches a worker: the one is taken out of the environment when it is read, and a rehearsal starts none.
HANDED_OVER, REHEARSAL = "SRVCTL_HANDED_OVER", "SRVCTL_REHEARSAL"
REHEARSAL_SECONDS = 30.0


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


def rehearse() -> int:
    """Start the new program on the same command line, to see whether it would take over; return its process id."""
    environment = os.environ | {REHEARSAL: "1"}
    actions = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1)]
    return os.posix_spawn(sys.executable, _command(), environment, file_actions=actions)


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
