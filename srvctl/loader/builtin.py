"""Ready-made handlers: those of srvctl and other packages, registered in the entry point group ``srvctl.handlers``.

srvctl's own are found by `OWN`, without a search. A handler may have a class method ``needs()``, which returns
`SandboxNeeds` for ``srvctl unit`` (`srvctl.unit.service`), and as every handler the hooks of the service's life
(`srvctl.worker.service_life`).
"""

from __future__ import annotations

import os
from collections import namedtuple

from srvctl.errors import LoadError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.metadata import EntryPoint
    from typing import Any

GROUP = "srvctl.handlers"

# Our own, which are found without looking through everything that is installed: 40 ms of a start. Nobody else's handler
# takes the place of one of them.
OWN = frozenset(("append", "chargen", "daytime", "discard", "echo", "proxy", "qotd", "static", "syslog", "time"))

# Names of handlers in 0.1.0, and their names now.
RENAMED = {"sink": "append"}


class SandboxNeeds(namedtuple("SandboxNeeds", "reads writes connects", defaults=((), (), ()))):
    """What a sandbox must allow a handler, as three tuples.

    `reads` are directories in which it reads files, `writes` directories in which it creates or appends to files, and
    `connects` each `Family` that it connects to.
    """

    __slots__ = ()


def installed() -> list[EntryPoint]:
    """Return the entry points of all installed ready-made handlers, sorted by name."""
    from importlib.metadata import entry_points  # slow to import, and only a ready-made handler needs it

    return sorted(entry_points(group=GROUP), key=lambda point: point.name)


def lookup(handler: str) -> tuple[str, bool]:
    """Return what to import for the command line's `handler`, and whether it is a ready-made one.

    Only a bare word is looked up; anything else is returned unchanged, unless it is a file without a name in it. Raises
    `LoadError`, and `UsageError` for a program.
    """
    if handler.rpartition(":")[2].isdecimal():
        why = "it is an address, and one command line serves one; start another srvctl for it"
        raise UsageError("serve", repr(handler), why)
    if not handler.isidentifier():
        if ":" not in handler and os.path.isfile(handler):
            from srvctl.loader.mistaken_handler import explain_file

            if mistake := explain_file(handler):
                raise mistake
        return handler, False
    if handler in OWN:
        return f"{GROUP}.{handler}", True
    points = installed()
    for point in points:
        if point.name == handler:
            return point.value, True
    if handler in RENAMED:
        raise LoadError("load", f"handler {handler!r}", f"it is called {RENAMED[handler]!r} now")
    from srvctl.loader.mistaken_handler import explain_word

    raise explain_word(handler, [point.name for point in points])


def needs_of(handler: str, is_stream: bool, assignments: Sequence[tuple[str, str]]) -> SandboxNeeds:
    """Return what a ready-made `handler` needs when `assignments` are made; nothing for any other handler.

    Only a ready-made handler is imported. Raises `LoadError`, and `UsageError` for an assignment.
    """
    target, is_ready_made = lookup(handler)
    if not is_ready_made:
        return SandboxNeeds()
    from srvctl.loader.attributes import set_attributes
    from srvctl.loader.importer import find, own_classmethod

    cls = find(target, is_ready_made, is_stream).handler
    if own_classmethod(cls, "needs") is None:
        return SandboxNeeds()
    configured: Any = type(cls.__name__, (cls,), {})  # a subclass, so that the assignments do not stay on the class
    set_attributes(configured, assignments, f"handler {handler!r}")
    needs: SandboxNeeds = configured.needs()
    return needs


def describe(point: EntryPoint) -> str:
    """Return the first line of a handler's docstring; imports the handler, so it may raise anything."""
    text = (point.load().__doc__ or "").strip()
    return text.splitlines()[0] if text else ""
