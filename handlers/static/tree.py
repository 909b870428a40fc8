"""The document tree: maps the path of a URL to a file that may be served, and opens it."""

from __future__ import annotations

import contextlib
import os
import stat
from urllib.parse import unquote_to_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO


def path_of(target: str) -> bytes:
    """Return the decoded path of a request target, from its first slash, without query and fragment."""
    if not target.startswith("/"):  # RFC 9112, 3.2.2: the absolute form
        target = "/" + target.partition("://")[2].partition("/")[2]
    return unquote_to_bytes(target.partition("?")[0].partition("#")[0])


class Tree:
    """The files below `root`, a real path, without those whose name or directory begins with a dot.

    `well_known` makes ``/.well-known/`` visible, RFC 8615.
    """

    def __init__(self, root: bytes, well_known: bool) -> None:
        self._root = root
        self._well_known = well_known

    def find(self, path: bytes) -> bytes | None:
        """Return the real path of the file or directory `path`, or None if it is missing or must not be served."""
        parts = [part for part in path.split(b"/") if part and part != b"."]
        if b"\0" in path or not self._is_visible(parts):  # ".." begins with a dot, too
            return None
        try:
            real = os.path.realpath(os.path.join(self._root, *parts), strict=True)
        except OSError:
            return None
        return real if self._has(real) else None

    def open(self, real: bytes) -> BinaryIO | None:
        """Open a regular file whose real path `find` returned; None if that has become impossible."""
        try:
            if not stat.S_ISREG(os.stat(real).st_mode):
                return None
            file = open(real, "rb", buffering=0, opener=_open)  # noqa: SIM115 (the caller closes it)
        except OSError:
            return None
        # The path may have been replaced by a link since `find`: check the file that was really opened.
        with contextlib.suppress(OSError):
            again = os.path.realpath(real, strict=True)
            if self._has(again) and os.path.samestat(os.stat(again), os.fstat(file.fileno())):
                return file
        file.close()
        return None

    def entries(self, real: bytes) -> Iterator[bytes]:
        """Yield the names in a directory that `find` returned; the name of a directory ends in a slash."""
        for name in sorted(os.listdir(real), key=bytes.lower):
            target = self.find(os.path.join(real, name)[len(self._root) :])
            if target:
                yield name + b"/" if os.path.isdir(target) else name

    def _has(self, real: bytes) -> bool:
        if real == self._root:
            return True
        inside = self._root.rstrip(b"/") + b"/"
        return real.startswith(inside) and self._is_visible(real[len(inside) :].split(b"/"))

    def _is_visible(self, parts: list[bytes]) -> bool:
        if self._well_known and parts[:1] == [b".well-known"]:
            parts = parts[1:]
        return not any(part.startswith(b".") for part in parts)


def _open(path: str, flags: int) -> int:
    # O_NONBLOCK: if a named pipe has replaced the file, do not wait for its writer.
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC)
