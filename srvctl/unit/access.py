"""Access of the service's user to files: by owner, group and mode, before the service is started.

Files with an access control list, acl(5), are not judged.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections import namedtuple

from srvctl.errors import UsageError
from srvctl.unit.places import is_home, is_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from srvctl.unit.footprint import Footprint

READ, WRITE, SEARCH = 4, 2, 1

# A dynamic user owns no file, and its group has none.
_DYNAMIC = -1


class Account(namedtuple("Account", "name uid groups", defaults=("", _DYNAMIC, frozenset()))):
    """The user that a service runs as, without capabilities; without a name, a dynamic user of systemd's."""

    __slots__ = ()

    @classmethod
    def named(cls, name: str) -> Account:
        """Return the account `name` with its groups, or a dynamic user for no name. Raises `UsageError`."""
        if not name:
            return cls()
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise UsageError("use", f"--user {name!r}", "there is no such user") from None
        return cls(name, entry.pw_uid, frozenset(os.getgrouplist(name, entry.pw_gid)))

    def can(self, bits: int, path: str) -> bool:
        """Tell whether the mode of `path` has these bits for the account; yes for what cannot be looked at."""
        try:
            status = os.stat(path)
        except OSError:
            return True
        if _has_access_list(path):
            return True
        shift = 6 if status.st_uid == self.uid else 3 if status.st_gid in self.groups else 0
        return status.st_mode >> shift & bits == bits

    def check_reads(self, footprint: Footprint, bound: Iterable[str]) -> None:
        """Check that the account can read all of `footprint`; see `_check`. Raises `UsageError`."""
        bound = tuple(bound)
        for path in (*footprint.trees, *footprint.files):
            self._check(path, "read", READ | SEARCH if os.path.isdir(path) else READ, bound)

    def check_writes(self, directories: Iterable[str], bound: Iterable[str]) -> None:
        """Check that the account can create files in `directories`; see `_check`. Raises `UsageError`."""
        bound = tuple(bound)
        for directory in directories:
            self._check(directory, "write in", WRITE | SEARCH, bound)

    def _check(self, path: str, verb: str, bits: int, bound: tuple[str, ...]) -> None:
        """Check the bits of `path`, and that the directories above it can be searched.

        systemd makes the directories above those of `bound`, and so they can be.
        """
        own = max((place for place in bound if is_in([place], path)), key=len, default="/")
        for place in _between(own, path):
            if not self.can(bits if place == path else SEARCH, place):
                raise UsageError("print", "a unit", self._why(path, verb, place))

    def _why(self, path: str, verb: str, place: str) -> str:
        status = os.stat(place)
        user = f"user {self.name!r}" if self.name else "the dynamic user of the service"
        owner, mode = _name_of(status.st_uid), stat.S_IMODE(status.st_mode)
        subject = "it" if place == path else repr(place)
        why = f"{user} cannot {verb} {path!r}: {subject} has mode {mode:04o} and belongs to {owner}"
        if verb != "read":
            ways = ["choose a directory below /run, /var/lib, /var/cache or /var/log, which systemd makes"]
        elif is_home(place):
            ways = [f"use a directory of its own that others can read, such as {place}/app"]
        else:
            ways = [f"chmod o+{'rx' if stat.S_ISDIR(status.st_mode) else 'r'} {place}", "move it, to /srv for example"]
        if status.st_uid and not self.name:
            ways.append(f"add --user {owner}")
        return f"{why}; {', or '.join(ways)}"


def _between(top: str, path: str) -> Iterator[str]:
    """Yield `top`, each directory below it on the way to `path`, and `path`."""
    yield top
    place = top
    for part in os.path.relpath(path, top).split("/"):
        if part != ".":
            place = os.path.join(place, part)
            yield place


def _has_access_list(path: str) -> bool:
    try:
        return "system.posix_acl_access" in os.listxattr(path)
    except OSError:  # the file system has no attributes
        return False


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
