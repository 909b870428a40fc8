"""posix_spawn(3) with everything that is the same each time settled beforehand."""

from __future__ import annotations

import errno
import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    class PendingSpawn(Protocol):
        """One program that is about to be started; ended by `result` or `cancel`."""

        def run(self) -> int:
            """Start it, in whatever thread; return 0, or an error number, errno(3). Blocks until it was executed."""

        def result(self, number: int) -> int:
            """Return its process id, and that of its group, behind a `run` that returned `number`.

            Raises OSError as posix_spawn(3) and execve(2) do.
            """

        def cancel(self) -> None:
            """Do without it: it was not run."""

    class Spawn(Protocol):
        """What starts the same program again and again. All of it is for one thread, but for `PendingSpawn.run`."""

        def prepare(self, descriptors: tuple[int, ...], assignments: bytes) -> PendingSpawn:
            """Return one with `descriptors` as the first ones, and `assignments` besides what all have.

            They are ``NAME=value``, each with a null character behind it.
            """


# Each has its default action in a program, whatever it is here.
SIGNALS = frozenset(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}


def prepared(path: str, words: Sequence[str], base: Sequence[bytes]) -> Spawn:
    """Return what executes the file at `path`, with `words` as its arguments, in a process group of its own.

    Its environment has `base`, and what comes on top of that each time. While it is started, one thread waits where
    ctypes is there (`srvctl.programs.spawn_ctypes`), and the whole process otherwise.
    """
    try:
        from srvctl.programs.spawn_ctypes import CtypesSpawner
    except ImportError:  # a Python that was built without it, or another system than Linux
        return GilSpawner(path, words, base)
    return CtypesSpawner(path, words, base)


class GilSpawner:
    """`os.posix_spawn`, which keeps the interpreter's lock."""

    def __init__(self, path: str, words: Sequence[str], base: Sequence[bytes]) -> None:
        self._path, self._words, self._base = path, list(words), base

    def prepare(self, descriptors: tuple[int, ...], assignments: bytes) -> _LockedSpawning:
        environ = dict(assignment.split(b"=", 1) for assignment in (*self._base, *assignments.split(b"\0")[:-1]))
        return _LockedSpawning(self._path, self._words, environ, descriptors)


class _LockedSpawning:
    def __init__(self, path: str, words: list[str], environ: dict[bytes, bytes], descriptors: tuple[int, ...]) -> None:
        self._path, self._words, self._environ, self._descriptors = path, words, environ, descriptors
        self._pid = 0

    def run(self) -> int:
        try:
            self._pid = os.posix_spawn(
                self._path,
                self._words,
                self._environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(self._descriptors)],
                setpgroup=0,
                setsigmask=(),
                setsigdef=SIGNALS,
            )
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    def result(self, number: int) -> int:
        check(number)
        return self._pid

    def cancel(self) -> None:
        pass


def check(number: int) -> None:
    """Raise OSError for an error number that is not 0."""
    if number:
        raise OSError(number, os.strerror(number))
