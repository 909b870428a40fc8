"""Errors and exit statuses: one line and one number that say who can fix it.

Every error that srvctl reports has the form ``cannot <verb> <object>: <why>``. Its class says whose fault it is, and
has the exit status of sysexits(3), which systemd prints by name. A bug in srvctl has no class here: it stays a plain
exception with its traceback. What was probably meant is said by `did_you_mean`.
"""

from __future__ import annotations

import errno
from enum import IntEnum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class ExitStatus(IntEnum):
    """The exit status of the command. README and the manual page print the `meaning` of each."""

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
    """A request that srvctl cannot fulfil: ``cannot <verb> <what>: <why>``.

    `detail` has further lines to print after the error, such as the traceback of a module that failed to import.
    """

    status = ExitStatus.SOFTWARE

    def __init__(self, verb: str, what: str, why: str, detail: str = "") -> None:
        super().__init__(f"cannot {verb} {what}: {why}")
        self.verb, self.what, self.why, self.detail = verb, what, why, detail


class UsageError(LaunchError):
    """The command line is wrong."""

    status = ExitStatus.USAGE


class AddressError(LaunchError):
    """The address is in use, or does not exist on this machine."""

    status = ExitStatus.UNAVAILABLE


class AddressInUse(AddressError):
    """Another process has the address."""


class NoPermission(LaunchError):
    """This user does not have the permission."""

    status = ExitStatus.NOPERM


class LoadError(LaunchError):
    """The handler, or a file that an option names, cannot be loaded."""

    status = ExitStatus.CONFIG


class ResourceError(LaunchError):
    """The system has no resources for it; `errno` is the system's error."""

    status = ExitStatus.OSERR
    errno: int | None = None


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """Return the end of an error's line, ``; did you mean A or B?``, or an empty string if none of `words` is similar.

    Case and leading dashes do not count. Those that begin with `word` come before those that are spelled like it.
    """
    import difflib  # slow to import, and needed for an error alone

    typed = word.lstrip("-").lower()
    plain = {candidate.lstrip("-").lower(): candidate for candidate in words}
    if typed in plain:
        return f"; did you mean {plain[typed]}?"
    begun = [name for name in plain if len(typed) >= 3 and name.startswith(typed)]
    similar = begun[:3] or difflib.get_close_matches(typed, plain)
    ratios = [difflib.SequenceMatcher(None, name, typed).ratio() for name in similar]
    # One letter is wrong as a rule; then all but the best are noise, such as the many options that end in -timeout.
    near = [plain[name] for name, ratio in zip(similar, ratios, strict=True) if begun or ratio > max(ratios) - 0.1]
    return f"; did you mean {' or '.join(near)}?" if near else ""


# Errors of the system that mean: choose another address (69), or get the permission (77). All others are 71.
_ADDRESS_ERRNOS = frozenset(
    (
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
    """Return the `LaunchError` of the class that fits `error`, which the system raised for an address."""
    why = error.strerror or str(error)
    why = why[:1].lower() + why[1:]
    if error.errno == errno.EADDRINUSE:
        return AddressInUse(verb, what, why)
    if error.errno in _ADDRESS_ERRNOS:
        return AddressError(verb, what, why)
    if error.errno in _PERMISSION_ERRNOS:
        return NoPermission(verb, what, why)
    refused = ResourceError(verb, what, why)
    refused.errno = error.errno
    return refused
