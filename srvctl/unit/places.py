"""Places in a sandbox: which directories it hides, and the settings that show or create what the service uses."""

from __future__ import annotations

import os
from collections import namedtuple

from srvctl.unit.syntax import listed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# Settings by which systemd creates a directory for the service and gives it to the service's user, by parent directory.
_OWN_DIRECTORIES = {
    "/run/": "RuntimeDirectory",
    "/var/lib/": "StateDirectory",
    "/var/cache/": "CacheDirectory",
    "/var/log/": "LogsDirectory",
}


def _with_targets(*places: str) -> tuple[str, ...]:
    """Return directories, and what they are links to: systemd resolves those before it hides them."""
    return tuple(dict.fromkeys([*places, *map(os.path.realpath, places)]))


# Hidden by PrivateTmp=, which DynamicUser= implies, and by ProtectHome=.
_TEMPORARY = _with_targets("/tmp", "/var/tmp")
_HOMES = _with_targets("/home", "/root", "/run/user")


class Places(namedtuple("Places", "writable bound_writable bound_readable own")):
    """Directories of a sandbox, each sorted into the setting that makes it usable.

    `bound_writable` and `bound_readable` are in directories that the sandbox hides. `own` are directories that systemd
    creates for the service, `writable` all others in which it creates files.
    """

    __slots__ = ()

    @classmethod
    def sorted(cls, writes: Iterable[str], reads: Iterable[str]) -> Places:
        """Return the places of a service that creates files in `writes`, and reads the files and trees `reads`."""
        # PrivateDevices= creates a new /dev, which ProtectSystem=strict leaves writable: systemd.exec(5).
        writes = [path for path in writes if not is_in(["/dev"], path)]
        hidden = [path for path in writes if is_hidden(path)]
        visible = [path for path in writes if path not in hidden]
        own = [path for path in visible if _own_setting(path)]
        readable = [path for path in reads if is_hidden(path) and not is_in(hidden, path)]
        return cls(
            [path for path in visible if path not in own],
            hidden,
            [path for path in dict.fromkeys(readable) if not is_in(_others(readable, path), path)],
            own,
        )

    @property
    def bound(self) -> list[str]:
        """What is shown in directories that are hidden; systemd makes the directories above it."""
        return [*self.bound_writable, *self.bound_readable]

    def settings(self) -> list[str]:
        """Return the settings, each once."""
        homes = any(is_in(_HOMES, path) for path in self.bound)
        lines = [f"ProtectHome={'tmpfs' if homes else 'yes'}"]
        lines += [_own_setting(path) for path in self.own]
        if any(line.startswith("RuntimeDirectory=") for line in lines):
            lines.append("RuntimeDirectoryPreserve=restart")
        lines += [f"ReadWritePaths={listed(path)}" for path in self.writable]
        lines += [f"BindPaths={_both(path)}" for path in self.bound_writable]
        lines += [f"BindReadOnlyPaths={_both(path)}" for path in self.bound_readable]
        return list(dict.fromkeys(lines))


def is_hidden(path: str) -> bool:
    """Tell whether a sandbox hides `path`."""
    return is_in((*_TEMPORARY, *_HOMES), path)


def is_hidden_root(path: str) -> bool:
    """Tell whether `path` is one of the directories whose contents a sandbox hides."""
    return path in (*_TEMPORARY, *_HOMES)


def is_home(path: str) -> bool:
    """Tell whether `path` is the home of a user."""
    return path == "/root" or os.path.dirname(path) in _HOMES


def is_in(places: Iterable[str], path: str) -> bool:
    """Tell whether `path` is one of `places` or below one of them."""
    return any(f"{path}/".startswith(f"{place.rstrip('/')}/") for place in places)


def _others(paths: Iterable[str], path: str) -> list[str]:
    return [other for other in paths if other != path]


def _own_setting(directory: str) -> str:
    """Return the setting by which systemd creates `directory`, or an empty string."""
    for place, setting in _OWN_DIRECTORIES.items():
        if directory.startswith(place) and ":" not in directory:
            return f"{setting}={listed(directory.removeprefix(place))}"
    return ""


def _both(path: str) -> str:
    """Return `path` as source and destination of a bind mount; a colon must be quoted, it separates the two."""
    word = listed(path)
    return f'"{word}"' if ":" in word and not word.startswith('"') else word
