"""The file of a unix socket: bound, probed and removed safely in a directory that others can write to.

Every step uses a descriptor of the directory, and the owner is changed through a descriptor of the inode, so that an
attacker gains nothing by renaming files in between. Servers that start at the same time take turns by flock(2) on the
directory; there is no lock file.
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

# Promise P25: a second start fails within a second. The lock is held for microseconds only.
LOCK_SECONDS = 0.8
_LOCK_RETRY_SECONDS = 0.01
_SAME_OWNER = (-1, -1)  # chown(2)


class BoundPath:
    """The file that a bind created, and the process that did.

    `pin` is a descriptor of the inode, open until `unlink`. While it is open the kernel does not reuse the inode
    number, so a file with this number is ours. In a forked child `unlink` does nothing.
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
        """Remove the file if it is still ours. May be called twice; never raises OSError."""
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
    owner: tuple[int, int] = _SAME_OWNER,
    listen: Callable[[], None] | None = None,
    on_stale: Callable[[str], None] | None = None,
) -> BoundPath | None:
    """Bind `sock` to a unix `address`; return the file that was created, or None in the abstract namespace.

    A stale socket file, which no process listens on, is removed first and reported to `on_stale`. A live one, or any
    other file, raises OSError with EADDRINUSE. The file has `mode` (permission bits; -1: what the umask leaves of
    0777) and `owner` (uid, gid; -1: unchanged) before a client can connect. `listen` is called under the lock: between
    bind and listen the socket would look stale to another server. As root, a directory in which others can rename files
    is refused with EPERM. May block for `LOCK_SECONDS`.
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
            _bind(sock, address, mode, owner)
            bound = BoundPath(path, _pin_and_chown(name, at, mode, owner))
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
    # The *at() calls would accept O_PATH, but flock(2) does not. A directory that we cannot read is not locked.
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
        except OSError:  # EBADF: opened with O_PATH. Or the file system has no locks
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
        status = os.stat(name, dir_fd=at, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        kind = "a directory" if stat.S_ISDIR(status.st_mode) else "a file that is not a socket"
        raise OSError(errno.EADDRINUSE, f"it is {kind}")
    if _is_alive(path, sock.type):
        raise OSError(errno.EADDRINUSE, "a server is listening there")
    again = os.stat(name, dir_fd=at, follow_symlinks=False)
    if (again.st_dev, again.st_ino) == (status.st_dev, status.st_ino):
        os.unlink(name, dir_fd=at)
        if on_stale:
            on_stale(path)


def _is_alive(path: str, type: int) -> bool:
    """Tell whether a process has the socket at `path` bound; an unclear answer counts as yes."""
    with socket.socket(socket.AF_UNIX, type) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:  # unix(7): no process listens on it
            return False
        except OSError:  # EAGAIN: its queue is full; EPROTOTYPE: another type; EACCES: no permission to ask
            return True
        return True


def _bind(sock: socket.socket, address: Any, mode: int, owner: tuple[int, int]) -> None:
    # bind(2) creates the inode with the mode of the socket less the umask: unix(7), net/unix/af_unix.c. A file whose
    # owner is changed afterwards has no permissions until then.
    umask = os.umask(0o777 if owner != _SAME_OWNER else 0) if mode >= 0 else -1
    try:
        if mode >= 0:
            os.fchmod(sock.fileno(), mode)
        sock.bind(address)
    finally:
        if umask >= 0:
            os.umask(umask)


def _pin_and_chown(name: str, at: int, mode: int, owner: tuple[int, int]) -> int:
    """Return a descriptor of the socket's inode, which has `owner`, and its `mode` again, afterwards."""
    inode = pin(name, at)
    try:
        if not stat.S_ISSOCK(os.fstat(inode).st_mode):
            raise OSError(errno.EADDRINUSE, "another process replaced the file")
        if owner != _SAME_OWNER:
            # Through the descriptor, chown(2) and chmod(2) change this inode and no other.
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
    return inode


def pin(name: str, at: int | None = None) -> int:
    """Return an O_PATH descriptor of `name`, relative to directory `at`; follows no link. Raises OSError."""
    return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
