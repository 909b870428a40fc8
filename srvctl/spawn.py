"""posix_spawn(3) with everything that is the same each time settled beforehand."""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    # Called with descriptors and with assignments, ``NAME=value``; returns a process id, or raises OSError.
    Spawn = Callable[[tuple[int, ...], Sequence[bytes]], int]

# Each has its default action in a program, whatever it is here.
SIGNALS = frozenset(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}


def prepared(path: str, words: Sequence[str], base: Sequence[bytes]) -> Spawn:
    """Return what executes the file at `path`, with `words` as its arguments, in a process group of its own.

    It is called with the first descriptors that the program gets, and with what its environment has besides `base`. It
    blocks until the program has been executed: one thread where ctypes is there (`srvctl.spawn_unlocked`), and the
    whole process otherwise.
    """
    try:
        from srvctl.spawn_unlocked import UnlockedSpawn
    except ImportError:  # a Python that was built without it, or another system than Linux
        return LockedSpawn(path, words, base)
    return UnlockedSpawn(path, words, base)


class LockedSpawn:
    """`os.posix_spawn`, which keeps the interpreter's lock."""

    def __init__(self, path: str, words: Sequence[str], base: Sequence[bytes]) -> None:
        self._path, self._words, self._base = path, list(words), base

    def __call__(self, descriptors: tuple[int, ...], assignments: Sequence[bytes]) -> int:
        environ = dict(assignment.split(b"=", 1) for assignment in (*self._base, *assignments))
        return os.posix_spawn(
            self._path,
            self._words,
            environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(descriptors)],
            setpgroup=0,
            setsigmask=(),
            setsigdef=SIGNALS,
        )
