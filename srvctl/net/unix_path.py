"""A unix socket's name in the file system: made, probed and removed without touching anything else.

Every step goes through a descriptor of the directory, and a change of owner through one of the inode itself,
so that whoever can rename things meanwhile gains nothing. No lock file is left behind: the lock is flock(2) on
the directory, and two servers that start at once take turns.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

# Promise P25: a second start fails within a second; the lock is held for some microseconds.
LOCK_SECONDS = 0.8
_LOCK_RETRY_SECONDS = 0.01


class BoundPath:
    """The file that a bind made, and who made it.

    Holds the inode by a descriptor, `pin`, until `unlink`: while that is open the inode's number is nobody else's, and
    a file of the same number is this one. In a forked child `unlink` does nothing.
    """

    __slots__ = ("_pid", "path", "pin")

    def __init__(self, path: str, pin: int) -> None:
        """Take over `pin`, an O_PATH descriptor of the file at `path`."""
        self.path = os.path.abspath(path)
        self.pin = pin
        self._pid = os.getpid()

    @property
    def inode(self) -> int:
        """The file's inode number."""
        return os.fstat(self.pin).st_ino

    def unlink(self) -> None:
        """Remove the file if it is still the one that was made; never raises OSError, and twice is not an error."""
        if os.getpid() != self._pid or self.pin < 0:
            return
        directory, name = os.path.split(self.path)
        with contextlib.suppress(OSError), _opened(directory) as at, _locked(at):
            if os.path.samestat(os.stat(name, dir_fd=at, follow_symlinks=False), os.fstat(self.pin)):
                os.unlink(name, dir_fd=at)
        os.close(self.pin)
        self.pin = -1


def bind_path(
    sock: socket.socket,
    address: Any,
    *,
    mode: int = -1,
    owner: tuple[int, int] = (-1, -1),
    listen: Callable[[], None] | None = None,
    on_stale: Callable[[str], None] | None = None,
) -> BoundPath | None:
    """Bind `sock` to a unix `address`; return the file that was made, or None in the abstract namespace.

    A socket file on which nobody listens is removed first (`on_stale` is told); one that is alive, and any other
    kind of file, is an OSError with EADDRINUSE. The file has `mode` (permission bits; -1: what the umask leaves of
    0777) and `owner` (uid, gid; -1: unchanged) before anyone can connect. `listen` is called under the lock, so that
    nobody takes a server between its bind and its listen for a dead one. As root, a directory in which others can
    rename is refused with EPERM. May block for `LOCK_SECONDS`.
    """
    path = os.fsdecode(address)
    if not path or path[0] == "\0":
        sock.bind(address)
        if listen:
            listen()
        return None
    directory, name = _split(path)
    with _opened(directory) as at:
        _refuse_unsafe(at, directory)
        with _locked(at):
            _remove_stale(sock, at, name, path, on_stale)
            bound = _bind(sock, address, at, name, path, mode, owner)
            try:
                if listen:
                    listen()
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(name, dir_fd=at)
                raise
            return bound


def _split(path: str) -> tuple[str, str]:
    directory, name = os.path.split(path)
    return directory or ".", name


@contextlib.contextmanager
def _opened(directory: str) -> Iterator[int]:
    # O_PATH would do for the *at calls, but not for flock; a directory that cannot be read is locked by nobody.
    try:
        at = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        at = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield at
    finally:
        os.close(at)


@contextlib.contextmanager
def _locked(at: int) -> Iterator[None]:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(at, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise OSError(errno.EADDRINUSE, "another server is starting there") from None
            time.sleep(_LOCK_RETRY_SECONDS)
        except OSError:  # EBADF: opened with O_PATH; or a file system without locks
            break
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(at, fcntl.LOCK_UN)


def _refuse_unsafe(at: int, directory: str) -> None:
    if os.geteuid() != 0:
        return
    mode = os.fstat(at).st_mode
    if mode & (stat.S_IWGRP | stat.S_IWOTH) and not mode & stat.S_ISVTX:
        raise PermissionError(errno.EPERM, f"as root: others can write to directory {directory!r}")


def _remove_stale(sock: socket.socket, at: int, name: str, path: str, on_stale: Callable[[str], None] | None) -> None:
    try:
        found = os.stat(name, dir_fd=at, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        kind = "a directory" if stat.S_ISDIR(found.st_mode) else "a file that is not a socket"
        raise OSError(errno.EADDRINUSE, f"it is {kind}")
    if _is_alive(path, sock.type):
        raise OSError(errno.EADDRINUSE, "a server is listening there")
    again = os.stat(name, dir_fd=at, follow_symlinks=False)
    if (again.st_dev, again.st_ino) == (found.st_dev, found.st_ino):
        os.unlink(name, dir_fd=at)
        if on_stale:
            on_stale(path)


def _is_alive(path: str, type: int) -> bool:
    """Tell whether somebody has the socket at `path`; when in doubt, somebody has."""
    with socket.socket(socket.AF_UNIX, type) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:  # unix(7): nobody listens, or has it bound
            return False
        except OSError:  # EAGAIN: the queue is full; EPROTOTYPE: of another type; EACCES: not ours to know
            return True
        return True


def _bind(
    sock: socket.socket, address: Any, at: int, name: str, path: str, mode: int, owner: tuple[int, int]
) -> BoundPath:
    changes_owner = owner != (-1, -1)
    # The inode is made with the socket's own mode less the umask (unix(7), and net/unix/af_unix.c). Until the
    # owner is right, nobody but root gets more than that.
    umask = os.umask(0o777 if changes_owner else 0) if mode >= 0 else -1
    try:
        if mode >= 0:
            os.fchmod(sock.fileno(), mode)
        sock.bind(address)
    finally:
        if umask >= 0:
            os.umask(umask)
    inode = pin(name, at)
    try:
        if not stat.S_ISSOCK(os.fstat(inode).st_mode):
            raise OSError(errno.EADDRINUSE, "somebody replaced it while it was made")
        if changes_owner:
            # chown(2) and chmod(2) through the descriptor reach this inode and no other.
            try:
                os.chown(f"/proc/self/fd/{inode}", *owner)
                if mode >= 0:
                    os.chmod(f"/proc/self/fd/{inode}", mode)
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(name, dir_fd=at)
                raise
    except BaseException:
        os.close(inode)
        raise
    return BoundPath(path, inode)


def pin(name: str, at: int | None = None) -> int:
    """Return a descriptor that holds the inode of `name`, relative to `at`, and follows no link. Raises OSError."""
    return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
