"""Trust: what root may run. A file that only root can change, in directories that only root can change.

Whoever can rename a directory above the file can put another tree in its place. In a sticky directory, such as /tmp,
only the owner of an entry can rename it.
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def why_unsafe(path: str) -> str:
    """Return why root must not run the file at `path`, or import from that directory; otherwise an empty string.

    Looks at each directory above it, at symbolic links on the way, and at what they lead to. Raises OSError.
    """
    if os.geteuid() != 0:
        return ""
    path = os.path.abspath(path)
    for place in dict.fromkeys([*_with_parents(path), *_with_parents(os.path.realpath(path))]):
        if why := _why_unsafe(place):
            return why if place == path else f"{why.removesuffix('it')}{place!r}"
    return ""


def _with_parents(path: str) -> Iterator[str]:
    while True:
        yield path
        parent = os.path.dirname(path)
        if parent == path:
            return
        path = parent


def _why_unsafe(place: str) -> str:
    status = os.lstat(place)
    if status.st_uid != 0:
        return f"user {status.st_uid} can write to it"
    if stat.S_ISLNK(status.st_mode):  # its bits mean nothing, and it cannot be written to
        return ""
    is_sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not is_sticky:
        return "others can write to it"
    return ""
