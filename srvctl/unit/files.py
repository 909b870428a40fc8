"""Unit files: written at once or not at all, over those of srvctl alone, and the commands that put them to use."""

from __future__ import annotations

import contextlib
import os
import shlex
import tempfile

from srvctl.errors import UsageError, from_os_error
from srvctl.unit.service import MARK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Where systemd looks for units that an administrator or a package has put there: systemd.unit(5).
_UNIT_PATH = ("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system")
_ANYBODY_READS = 0o644


class Written:
    """The files that were written, and those of them that replaced another."""

    def __init__(self, paths: list[str], replaced: list[str]) -> None:
        self.paths, self._replaced = paths, replaced

    def next_commands(self) -> Iterator[str]:
        """Yield the commands that start the units, or start them again."""
        names = [os.path.basename(path) for path in self.paths]
        sockets = [name for name in names if name.endswith(".socket")]
        directory, replaced = os.path.dirname(self.paths[0]), self._replaced
        if os.path.realpath(directory) not in map(os.path.realpath, _UNIT_PATH):
            yield f"cp {shlex.join(self.paths)} {_UNIT_PATH[0]}/"
            replaced = [name for name in names if os.path.lexists(os.path.join(_UNIT_PATH[0], name))]
        yield "systemctl daemon-reload"
        yield f"systemctl enable --now {shlex.join(sockets or names)}"
        if replaced:
            yield f"systemctl restart {shlex.join([*sockets, *(name for name in names if name not in sockets)])}"


def write(directory: str, texts: Mapping[str, str], is_forced: bool) -> Written:
    """Write each text into its file in `directory`, with mode 0644; a file is replaced in one step.

    Raises `UsageError` for a file that srvctl did not write, unless `is_forced`, before any is written. Raises
    `LaunchError` for an error of the system.
    """
    if not os.path.isdir(directory):
        raise UsageError("use", f"--write {directory!r}", "there is no such directory")
    paths = {os.path.join(directory, name): text for name, text in texts.items()}
    found = [path for path in paths if os.path.lexists(path)]
    for path in found:
        if not is_forced and not _is_ours(path):
            raise UsageError("write", path, "it is there, and srvctl did not write it; add --force to replace it")
    for path, text in paths.items():
        try:
            _replace(path, text)
        except OSError as error:
            raise from_os_error("write", path, error) from error
    return Written(list(paths), found)


def _is_ours(path: str) -> bool:
    try:
        with open(path, encoding="utf-8", errors="replace") as unit:
            return unit.readline(len(MARK) + 1).rstrip("\n") == MARK
    except OSError as error:
        raise from_os_error("read", path, error) from error


def _replace(path: str, text: str) -> None:
    """Write `text` into a new file and rename it to `path`, which is a complete file at any time."""
    descriptor, temporary = tempfile.mkstemp(prefix=".", dir=os.path.dirname(path))
    try:
        with open(descriptor, "w", encoding="utf-8") as unit:
            unit.write(text)
            unit.flush()
            os.fchmod(descriptor, _ANYBODY_READS)
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
