"""A file, or standard output, to which whole records are appended; what `sink`, `syslog` and `static` write to.

However many threads, children and workers append to the same file, a record has nothing of another one in it.
"""

from __future__ import annotations

import _thread
import contextlib
import errno
import fcntl
import os
import select
import stat

from srvctl.errors import LoadError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# One descriptor a file and process: closing a second one would give up the locks of the first, fcntl(2).
_opened: dict[str, Output] = {}
_opening = _thread.allocate_lock()


class OutputError(Exception):
    """Writing failed: the disk is full, the reader is gone. Not the peer's fault, so it is logged as the handler's."""


def output(path: str, mode: int) -> Output:
    """Return the one `Output` of this process for `path`, opened now if it is not open yet. Raises `LoadError`."""
    with _opening:
        if path not in _opened:
            _opened[path] = Output(path, mode)
        return _opened[path]


class Output:
    """A descriptor that records are appended to; it stays open as long as the process lives.

    An empty path, or ``-``, is standard output. A file is made with the permissions `mode`; a socket, a terminal and a
    pipe with a name will do as well.
    """

    def __init__(self, path: str, mode: int) -> None:
        self.name = "standard output" if path in ("", "-") else path
        self._lock = _thread.allocate_lock()
        try:
            self.fd = 1 if path in ("", "-") else _open(path, mode)
            self._is_file = stat.S_ISREG(os.fstat(self.fd).st_mode)
        except OSError as error:
            raise LoadError("open", f"{self.name!r}", error.strerror or str(error)) from error

    def append(self, records: bytes, sync: bool = False) -> None:
        """Write `records` in one piece, and with `sync` to the disk; may block.

        Raises `OutputError`; a part of them that was written is taken back from a file, as far as that goes.
        """
        with self._locked():
            before = self._size()
            written = 0
            try:
                while written < len(records):
                    written += self._write(records[written:] if written else records)
            except OSError as error:
                self._take_back(before, written)
                raise OutputError(f"cannot write to {self.name}: {error.strerror}") from error
        if sync:
            self.sync()

    def sync(self) -> None:
        """Have what was written reach the disk, if it is a file. Raises `OutputError`."""
        try:
            if self._is_file:
                os.fdatasync(self.fd)
        except OSError as error:
            raise OutputError(f"cannot write to {self.name}: {error.strerror}") from error

    def _write(self, data: bytes) -> int:
        try:
            return os.write(self.fd, data)
        except BlockingIOError:  # a pipe or terminal that somebody else made non-blocking
            poll = select.poll()
            poll.register(self.fd, select.POLLOUT)
            poll.poll()
            return 0

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Exclude the other threads, and the other processes that write to it with this class.

        O_APPEND alone keeps records whole while each goes in one write(2), which a full disk and a pipe can cut short.
        """
        with self._lock:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.lockf(self.fd, fcntl.LOCK_EX)
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    fcntl.lockf(self.fd, fcntl.LOCK_UN)

    def _size(self) -> int:
        return os.fstat(self.fd).st_size if self._is_file else -1

    def _take_back(self, before: int, written: int) -> None:
        """Remove a part of a record from the end of a file, if nobody else has appended to it since."""
        if before >= 0 and written and self._size() == before + written:
            with contextlib.suppress(OSError):
                os.ftruncate(self.fd, before)


class Appending:
    """The options of a handler that appends records, and what they mean."""

    file: str = ""
    mode: int = 0o640
    sync: str = "no"
    longest: int = 65536

    @classmethod
    def prepare(cls) -> Output:
        """Return what to append to, open. Raises `UsageError` and `LoadError`."""
        if cls.sync not in ("no", "record", "end"):
            raise UsageError("set", f"sync={cls.sync!r}", "expected no, record or end")
        if cls.longest < 1:
            raise UsageError("set", f"longest={cls.longest}", "expected a number of bytes above 0")
        return output(cls.file, cls.mode)


def _open(path: str, mode: int) -> int:
    # O_NONBLOCK: a named pipe that nobody reads is an error at once, and not a worker that hangs, open(2).
    flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    try:
        fd = os.open(path, flags)
    except FileNotFoundError:
        fd = os.open(path, flags | os.O_CREAT, mode)
        with contextlib.suppress(OSError):
            _sync_directory(os.path.dirname(os.path.abspath(path)))
    os.set_blocking(fd, True)
    return fd


def _sync_directory(path: str) -> None:
    """Have the name of a new file reach the disk, fsync(2)."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(fd)
