"""Footprint of a service: the directories and files that it reads, from its interpreter to its handler.

Names are kept as they were given, and what their symbolic links lead to is added: the service opens the one, and the
kernel looks up both.
"""

from __future__ import annotations

import os
import shutil
import site
import sys
from collections import namedtuple
from importlib.util import find_spec

import srvctl
from srvctl.loader.builtin import lookup
from srvctl.runtime.directory import logical
from srvctl.unit.places import is_hidden_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from srvctl.config.settings import Settings

# The kernel's limit, path_resolution(7).
_MOST_LINKS = 40


class Footprint(namedtuple("Footprint", "trees files", defaults=((), ()))):
    """What a service reads: `trees` are directories with all that is in them, `files` are single files."""

    __slots__ = ()

    @classmethod
    def union(cls, parts: Iterable[Footprint]) -> Footprint:
        """Return all that is in the parts, each once."""
        parts = tuple(parts)
        trees = dict.fromkeys(tree for part in parts for tree in part.trees)
        return cls(tuple(trees), tuple(dict.fromkeys(file for part in parts for file in part.files)))


def footprint(settings: Settings, command: str, reads: Iterable[str]) -> Footprint:
    """Return what a service reads that executes `command`, and whose handler reads the directories `reads`.

    Imports at most the packages that a ready-made handler is in. Raises `LoadError` for one that is not there.
    """
    target, is_ready_made = lookup(settings.handler) if settings.handler else ("", False)
    return Footprint.union(
        (
            Footprint((*working_directory(), *map(os.path.abspath, reads))),
            interpreter(),
            Footprint(files=tuple(_executable(command))),
            Footprint(files=tuple(_executable(settings.program[0]) if settings.program else ())),
            _packages(target) if is_ready_made else _code(target),
            *map(_code, settings.mixin),
        )
    )


def interpreter() -> Footprint:
    """Return what the interpreter that runs now reads: its prefixes, the packages, and the links that lead to it."""
    prefixes = (sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix)
    # The service does not have the variable.
    from_environment = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    packages = (entry for entry in sys.path if os.path.isabs(entry) and entry not in from_environment)
    trees = [path for path in (*prefixes, *packages, os.path.dirname(srvctl.__file__)) if os.path.isdir(path)]
    links = [*_links(sys.executable), *(link for prefix in prefixes for link in _links(prefix))]
    trees += [*map(os.path.realpath, trees), *filter(os.path.isdir, links)]
    files = [link for link in links if os.path.isfile(link)]
    return Footprint(tuple(trees), (*files, os.path.realpath(sys.executable), srvctl.__file__, os.__file__))


def user_base() -> str:
    """Return the directory of the packages that a user installed for herself, if the interpreter looks there.

    It is below the home of the user. A service has another user, or no home.
    """
    return site.getuserbase() if site.ENABLE_USER_SITE and site.getusersitepackages() in sys.path else ""


def working_directory() -> list[str]:
    """Return the working directory, and the directories of the symbolic links in its name.

    A reload follows such a link to where it leads by then, so the link itself must be visible.
    """
    name = logical()
    links = list(_links(name))
    shown = [link if is_hidden_root(os.path.dirname(link)) else os.path.dirname(link) for link in links]
    return [*shown, os.path.realpath(name)] if links else [name]


def _code(target: str) -> Footprint:
    """Return where the code of a handler or a mix-in is, as far as that is known without importing it."""
    location = target.partition(":")[0]
    if location.endswith(".py") or "/" in location:
        file = os.path.abspath(location)
        return _existing([os.path.dirname(file), os.path.dirname(os.path.realpath(file))], [file])
    top = location.partition(".")[0]
    own = (os.path.join(logical(), f"{top}.py"), os.path.join(logical(), top, "__init__.py"))
    if any(map(os.path.exists, own)):
        return _existing([], own)
    return _module(top)


def _packages(target: str) -> Footprint:
    """Return where the module of a ready-made handler is, and each package above it.

    An editable installation may have each of them in another directory.
    """
    parts = target.partition(":")[0].split(".")
    return Footprint.union(_module(".".join(parts[: n + 1])) for n in range(len(parts)))


def _module(name: str) -> Footprint:
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):  # a module without a spec
        spec = None
    if spec is None:
        return Footprint()
    return _existing(spec.submodule_search_locations or [], [spec.origin] if spec.origin else [])


def _existing(trees: Iterable[str], files: Iterable[str]) -> Footprint:
    return Footprint(tuple(filter(os.path.isdir, trees)), tuple(filter(os.path.isfile, files)))


def _executable(word: str) -> list[str]:
    """Return the file that is executed, as it is named and as it is, and the links that lead to it."""
    if not (found := shutil.which(word)):
        return []
    path = os.path.abspath(found)
    return [path, *filter(os.path.isfile, _links(path)), os.path.realpath(path)]


def _links(path: str) -> Iterator[str]:
    """Yield each symbolic link that the kernel follows on its way to `path`."""
    done, rest, count = "/", _parts(path), 0
    while rest and count < _MOST_LINKS:
        part = rest.pop(0)
        place = os.path.dirname(done) if part == ".." else os.path.join(done, part)
        if not os.path.islink(place):
            done = place
            continue
        if not is_hidden_root(place):  # /home may be one, and all homes below it stay hidden
            yield place
        count += 1
        target = os.readlink(place)
        done = "/" if os.path.isabs(target) else done
        rest[:0] = _parts(target)


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
