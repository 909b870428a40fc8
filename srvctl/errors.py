"""Errors and exit statuses: who can mend it, said as one line and one number.

Every error that srvctl reports has the form ``cannot <verb> <object>: <why>``. The class says whose
fault it is and with that the exit status, from sysexits(3), whose names systemd prints. A bug in
srvctl is not in here: it stays a plain exception with its traceback.
"""

from __future__ import annotations

import errno
from enum import IntEnum


class ExitStatus(IntEnum):
    """The command's exit status; `meaning` is what README and the manual page print of each."""

    OK = 0
    USAGE = 2
    UNAVAILABLE = 69
    SOFTWARE = 70
    OSERR = 71
    TEMPFAIL = 75
    NOPERM = 77
    CONFIG = 78

    @property
    def meaning(self) -> str:
        return _MEANINGS[self]


_MEANINGS = {
    ExitStatus.OK: "stopped as asked, nothing cut",
    ExitStatus.USAGE: "usage",
    ExitStatus.UNAVAILABLE: "the address is in use or cannot be had",
    ExitStatus.SOFTWARE: "a fault in srvctl, or workers that keep dying",
    ExitStatus.OSERR: "the system refused (fork, memory, descriptors)",
    ExitStatus.TEMPFAIL: "the drain deadline cut something",
    ExitStatus.NOPERM: "no permission",
    ExitStatus.CONFIG: "the handler or a file that was named cannot be loaded",
}


class LaunchError(Exception):
    """Something that was asked for cannot be done: ``cannot <verb> <what>: <why>``.

    `detail` is for lines that follow the one line of the error, such as the frames of a module that
    raises when it is imported.
    """

    status = ExitStatus.SOFTWARE

    def __init__(self, verb: str, what: str, why: str, detail: str = "") -> None:
        super().__init__(f"cannot {verb} {what}: {why}")
        self.verb, self.what, self.why, self.detail = verb, what, why, detail


class UsageError(LaunchError):
    """The caller's words are wrong."""

    status = ExitStatus.USAGE


class AddressError(LaunchError):
    """The address is in use, or is not to be had on this machine."""

    status = ExitStatus.UNAVAILABLE


class NoPermission(LaunchError):
    """The system forbids it to this user."""

    status = ExitStatus.NOPERM


class LoadError(LaunchError):
    """The handler, or a file that was named, cannot be loaded."""

    status = ExitStatus.CONFIG


class ResourceError(LaunchError):
    """The system refused; `errno` keeps its reason."""

    status = ExitStatus.OSERR
    errno: int | None = None


# What the system says of an address, by whose fault it is. Anything else is the system's (71).
_ADDRESS_ERRNOS = frozenset(
    (
        errno.EADDRINUSE,
        errno.EADDRNOTAVAIL,
        errno.EAFNOSUPPORT,
        errno.ENODEV,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ELOOP,
        errno.EROFS,
    )
)
_PERMISSION_ERRNOS = frozenset((errno.EACCES, errno.EPERM))


def from_os_error(verb: str, what: str, error: OSError) -> LaunchError:
    """Turn what the system said while an address was being had into the error of the right class."""
    why = error.strerror or str(error)
    why = why[:1].lower() + why[1:]
    if error.errno in _ADDRESS_ERRNOS:
        return AddressError(verb, what, why)
    if error.errno in _PERMISSION_ERRNOS:
        return NoPermission(verb, what, why)
    refused = ResourceError(verb, what, why)
    refused.errno = error.errno
    return refused
