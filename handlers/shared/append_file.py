"""A file, or standard output, to which whole records are appended; what `append`, `syslog` and `static` write to.

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

    from srvctl.loader.builtin import SandboxNeeds

_STANDARD_OUTPUT = ("", "-")
# O_NONBLOCK: a named pipe that nobody reads is an error at once, and not a worker that hangs, open(2).
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
_LARGEST_MODE = 0o7777

# One descriptor a file and process: closing a second one would give up the locks of the first, fcntl(2).
_opened: dict[str, Output] = {}
_opening = _thread.allocate_lock()


class OutputError(Exception):
    """Writing failed: the disk is full, the reader is gone. Not the peer's fault, so it is logged as the handler's."""


def output(path: str, mode: int) -> Output:
    """Return the one `Output` of this process for `path`, made now if there is none yet. Raises `LoadError`."""
    with _opening:
        if path not in _opened:
            _opened[path] = Output(path, mode)
        return _opened[path]


def directories(path: str) -> tuple[str, ...]:
    """Return the directory that the file `path` is in, which must be writable; none for standard output."""
    return () if path in _STANDARD_OUTPUT else (os.path.dirname(os.path.abspath(path)),)


class Output:
    """A descriptor that records are appended to; it stays open as long as the process lives.

    An empty path, or ``-``, is standard output; a socket, a terminal and a pipe with a name will do as well. What is
    there is opened at once. What is not, and could be, is a file that `opened` makes, with the permissions `mode`: a
    check, and a reload that fails, leave none behind. Raises `LoadError`.
    """

    def __init__(self, path: str, mode: int) -> None:
        self.name = "standard output" if path in _STANDARD_OUTPUT else path
        self._path, self._mode = path, mode
        self._lock = _thread.allocate_lock()
        self.fd, self._is_file = -1, False
        try:
            self._use(1 if path in _STANDARD_OUTPUT else _open(path))
        except FileNotFoundError:
            if not _can_be_made(path):
                raise LoadError("open", f"{self.name!r}", "there is no such file, and none can be made") from None
        except OSError as error:
            raise LoadError("open", f"{self.name!r}", error.strerror or str(error)) from error

    def _use(self, fd: int) -> None:
        self.fd, self._is_file = fd, stat.S_ISREG(os.fstat(fd).st_mode)

    def opened(self) -> Output:
        """Return itself, with the file made if there was none; `append` is for what is open. Raises `OutputError`."""
        with self._lock:
            try:
                if self.fd < 0:
                    self._use(_make(self._path, self._mode))
            except OSError as error:
                raise OutputError(f"cannot make {self.name}: {error.strerror}") from error
        return self

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
        """Return what to append to. Raises `UsageError` and `LoadError`."""
        if cls.sync not in ("no", "record", "end"):
            raise UsageError("set", f"sync={cls.sync!r}", "expected no, record or end")
        if cls.longest < 1:
            raise UsageError("set", f"longest={cls.longest}", "expected a number of bytes above 0")
        if not 0 <= cls.mode <= _LARGEST_MODE:
            raise UsageError("set", f"mode={cls.mode:#o}", f"expected permissions, 0 to {_LARGEST_MODE:#o}")
        return output(cls.file, cls.mode)

    @classmethod
    def needs(cls) -> SandboxNeeds:
        """Return what a sandbox must leave it."""
        from srvctl.loader.builtin import SandboxNeeds

        return SandboxNeeds(writes=directories(cls.file))


def _open(path: str, flags: int = 0, mode: int = 0) -> int:
    fd = os.open(path, _FLAGS | flags, mode)
    os.set_blocking(fd, True)
    return fd


def _make(path: str, mode: int) -> int:
    """Open the file that was not there; it is made, unless somebody else has done so since."""
    with contextlib.suppress(FileNotFoundError):
        return _open(path)
    fd = _open(path, os.O_CREAT, mode)
    with contextlib.suppress(OSError):
        _sync_directory(os.path.dirname(os.path.abspath(path)))
    return fd


def _can_be_made(path: str) -> bool:
    """Tell whether this user may make a file at `path`; behind a link that leads nowhere, where it leads to."""
    directory = os.path.dirname(os.path.realpath(path))
    return not path.endswith("/") and os.access(directory, os.W_OK | os.X_OK, effective_ids=True)


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
