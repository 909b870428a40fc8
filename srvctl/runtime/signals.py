"""Signal dispositions: those that srvctl inherits from its parent, and those that the children of handlers get.

A signal may reach every process of a service: ``systemctl kill``, Ctrl-C in a terminal, a process group. It is meant
for the supervisor, so workers and the children that serve ignore it. What a handler forks is not srvctl's, and has the
default actions, as under the server of the standard library.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import signal
from functools import partial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType
    from typing import Any

# What a supervisor acts on, and nobody else; plain numbers, as a forked child pays for each enumeration.
FOR_SUPERVISOR = tuple(
    int(number)
    for number in (
        *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP),
        *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU),
    )
)
_DEFAULT = int(signal.SIG_DFL)
_BLOCK, _UNBLOCK = int(signal.SIG_BLOCK), int(signal.SIG_UNBLOCK)

# Those whose handlers children do not get, by number.
_reset_in_children: set[int] = set()


def restore_default_of_sigchld() -> None:
    """Have the kernel keep the exit statuses of children, wait(2), also where our parent has ignored SIGCHLD."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def do_nothing(number: int, frame: FrameType | None) -> None:
    """Ignore a signal. SIG_IGN would be inherited by programs that the user's code executes."""


def handle(handlers: Iterable[tuple[int, Callable[[int, FrameType | None], Any]]]) -> None:
    """Install handlers in this process, which forked children lose before any code of theirs runs.

    Only a function written in C is called there: Python code that a child runs for the first time makes it copy pages.
    """
    for number, handler in handlers:
        signal.signal(number, handler)
        if number not in _reset_in_children:
            _reset_in_children.add(number)
            os.register_at_fork(after_in_child=partial(_signal.signal, int(number), _DEFAULT))


def block() -> None:
    """Hold back what is for the supervisor while this process forks children that serve; see `unblock_in_child`."""
    _signal.pthread_sigmask(_BLOCK, FOR_SUPERVISOR)


def unblock() -> None:
    """Let it through again."""
    _signal.pthread_sigmask(_UNBLOCK, FOR_SUPERVISOR)


def unblock_in_child() -> None:
    """Ignore, in a child that serves, what is for the supervisor, and let it through."""
    for number in FOR_SUPERVISOR:
        _signal.signal(number, do_nothing)
    _signal.pthread_sigmask(_UNBLOCK, FOR_SUPERVISOR)
