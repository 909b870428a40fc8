"""Append-only output: a file or standard output that `append`, `syslog` and `static` write whole records to.

Any number of threads, children and workers may append to the same file. Their records are never mixed.
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
    from typing import Any

    from srvctl.loader.builtin import SandboxNeeds

_STANDARD_OUTPUT = ("", "-")
# O_NONBLOCK: opening a named pipe without a reader fails at once, instead of blocking the worker, open(2).
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
_MAX_MODE = 0o7777

# One descriptor for each file in a process: closing a second one would release the locks of the first, fcntl(2).
_outputs: dict[str, Output] = {}
_outputs_lock = _thread.allocate_lock()


class OutputError(Exception):
    """Writing failed: the disk is full, or the reader has gone. It is logged as a failure of the handler."""


def shared_output(path: str, mode: int) -> Output:
    """Return the one `Output` of this process for `path`; the first call creates it. Raises `LoadError`."""
    with _outputs_lock:
        if path not in _outputs:
            _outputs[path] = Output(path, mode)
        return _outputs[path]


def written_directories(path: str) -> tuple[str, ...]:
    """Return the directory of the file `path`, which must be writable; nothing for standard output."""
    return () if path in _STANDARD_OUTPUT else (os.path.dirname(os.path.abspath(path)),)


class Output:
    """A descriptor that records are appended to, open until the process ends.

    An empty path, or ``-``, is standard output. A path may also name a socket, a terminal or a named pipe. An existing
    target is opened now. A missing file is created by `ensure_open`, with the permissions `mode`, so that
    ``srvctl check`` or a failed reload creates nothing. Raises `LoadError`.
    """

    def __init__(self, path: str, mode: int) -> None:
        self.name = "standard output" if path in _STANDARD_OUTPUT else path
        self._path, self._mode = path, mode
        self._lock = _thread.allocate_lock()
        self.fd, self._is_file = -1, False
        try:
            self._use(1 if path in _STANDARD_OUTPUT else _open(path))
        except FileNotFoundError:
            if not _can_create(path):
                raise LoadError("open", f"{self.name!r}", "there is no such file, and it cannot be created") from None
        except OSError as error:
            raise LoadError("open", f"{self.name!r}", error.strerror or str(error)) from error

    def _use(self, fd: int) -> None:
        self.fd, self._is_file = fd, stat.S_ISREG(os.fstat(fd).st_mode)

    def ensure_open(self) -> Output:
        """Create the file if it is missing, and return `self`; call it before `append`. Raises `OutputError`."""
        with self._lock:
            try:
                if self.fd < 0:
                    self._use(_create(self._path, self._mode))
            except OSError as error:
                raise OutputError(f"cannot create {self.name}: {error.strerror}") from error
        return self

    def append(self, records: bytes, sync: bool = False) -> None:
        """Write all of `records`, and with `sync` wait until they are on the disk. May block.

        Raises `OutputError`. What was written before the error is removed again, if the output is a file and no other
        program has appended to it.
        """
        with self._locked():
            before = self._size()
            written = 0
            try:
                while written < len(records):
                    written += self._write(records[written:] if written else records)
            except OSError as error:
                self._truncate(before, written)
                raise OutputError(f"cannot write to {self.name}: {error.strerror}") from error
        if sync:
            self.sync()

    def sync(self) -> None:
        """Wait until a file's records are on the disk; do nothing for other outputs. Raises `OutputError`."""
        try:
            if self._is_file:
                os.fdatasync(self.fd)
        except OSError as error:
            raise OutputError(f"cannot write to {self.name}: {error.strerror}") from error

    def _write(self, data: bytes) -> int:
        try:
            return os.write(self.fd, data)
        except BlockingIOError:  # a pipe or terminal that another process made non-blocking
            poll = select.poll()
            poll.register(self.fd, select.POLLOUT)
            poll.poll()
            return 0

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock against other threads, and against other processes that write with this class.

        O_APPEND alone keeps a record whole only if one write(2) takes all of it; a full disk or a pipe may take less.
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

    def _truncate(self, before: int, written: int) -> None:
        """Remove a partly written record, unless another program has appended to the file since."""
        if before >= 0 and written and self._size() == before + written:
            with contextlib.suppress(OSError):
                os.ftruncate(self.fd, before)


class AppendOptions:
    """The options of a handler that appends records, and the two class methods that srvctl calls before serving."""

    file: str = ""
    mode: int = 0o640
    sync: str = "no"
    longest: int = 65536

    @classmethod
    def service_start(cls, server: Any) -> Output:
        """Check the options, and return the output. Raises `UsageError` and `LoadError`."""
        if cls.sync not in ("no", "record", "end"):
            raise UsageError("set", f"sync={cls.sync!r}", "expected no, record or end")
        if cls.longest < 1:
            raise UsageError("set", f"longest={cls.longest}", "expected a number of bytes above 0")
        if not 0 <= cls.mode <= _MAX_MODE:
            raise UsageError("set", f"mode={cls.mode:#o}", f"expected permissions, 0 to {_MAX_MODE:#o}")
        return shared_output(cls.file, cls.mode)

    @classmethod
    def needs(cls) -> SandboxNeeds:
        """Return what ``srvctl unit`` must leave accessible."""
        from srvctl.loader.builtin import SandboxNeeds

        return SandboxNeeds(writes=written_directories(cls.file))


def _open(path: str, flags: int = 0, mode: int = 0) -> int:
    fd = os.open(path, _FLAGS | flags, mode)
    os.set_blocking(fd, True)
    return fd


def _create(path: str, mode: int) -> int:
    """Create the file, or open it if another process has created it since it was found missing."""
    with contextlib.suppress(FileNotFoundError):
        return _open(path)
    fd = _open(path, os.O_CREAT, mode)
    with contextlib.suppress(OSError):
        _sync_directory(os.path.dirname(os.path.abspath(path)))
    return fd


def _can_create(path: str) -> bool:
    """Tell whether this user may create a file at `path`, or at the target of a symbolic link there."""
    directory = os.path.dirname(os.path.realpath(path))
    return not path.endswith("/") and os.access(directory, os.W_OK | os.X_OK, effective_ids=True)


def _sync_directory(path: str) -> None:
    """Wait until the name of a new file is on the disk, fsync(2)."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(fd)
