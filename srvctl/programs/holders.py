"""Who has a connection open besides this process: a program, its descendants, and what it left behind when it ended.

The kernel does not tell how many hold a socket, so proc(5) is read for what each process has open. A process that is no
descendant of this one, and got the connection by a message, is not seen.
"""

from __future__ import annotations

import _thread
import contextlib
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_SET_CHILD_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER, linux/prctl.h
_STANDARD = (0, 1)


def has_open(pid: int, inode: int) -> bool:
    """Tell whether process `pid` or a descendant has the socket with this inode number open.

    The first two descriptors are looked at first. A process that may not be looked into is taken to have it.
    """
    name = f"socket:[{inode}]"
    for fd in _STANDARD:
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/fd/{fd}") == name:
                return True
    try:
        for entry in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                if os.readlink(f"/proc/{pid}/fd/{entry}") == name:
                    return True
    except PermissionError:
        return True
    except OSError:  # the process has ended
        return False
    return any(has_open(child, inode) for child in children_of(pid))


def children_of(pid: int) -> Iterator[int]:
    """Return the children of process `pid`, whichever of its threads has made them."""
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/children", "rb") as children:
                yield from map(int, children.read().split())


class Orphans:
    """Descendants whose parents have ended: this process becomes theirs, and reaps them, from `open` to `close`.

    For the main thread of a process that makes its own children in other threads; those that the main thread has when
    it is opened count as known.
    """

    def __init__(self) -> None:
        self._fd = -1
        self._known = b""

    def open(self) -> None:
        """Adopt what programs leave behind, where the system can do that (PR_SET_CHILD_SUBREAPER, prctl(2))."""
        with contextlib.suppress(OSError):
            children = f"/proc/self/task/{_thread.get_native_id()}/children"
            if self._fd < 0 and _set_child_subreaper(True):
                self._fd = os.open(children, os.O_RDONLY | os.O_CLOEXEC)
                self._known = self._read()

    def close(self) -> None:
        """Leave orphans to who has adopted them before."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            _set_child_subreaper(False)

    def _read(self) -> bytes:
        return os.pread(self._fd, 65536, 0)

    def have_open(self, fd: int) -> bool:
        """Tell whether an orphan or a descendant of one has the socket open that is descriptor `fd` here."""
        if self._fd < 0 or fd < 0 or (found := self._read()) == self._known:
            return False  # nearly always
        inode = os.fstat(fd).st_ino
        known = set(self._known.split())
        return any(has_open(int(pid), inode) for pid in found.split() if pid not in known)


def _set_child_subreaper(is_one: bool) -> bool:
    """Tell whether orphans are, or are not, this process' children from now on."""
    try:
        import ctypes

        return bool(ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, int(is_one), 0, 0, 0) == 0)
    except (ImportError, AttributeError):  # no ctypes here, or a library without it
        return False
