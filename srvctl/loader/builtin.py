"""Handlers by name: the entry point group ``srvctl.handlers``, ours and those of other packages.

These may have two class methods that srvctl calls when there is no request yet: ``prepare()``, in the worker, raises
for attributes that it cannot serve with (`srvctl.loader.importer`), and ``needs()`` returns `SandboxNeeds`
(`srvctl.unit.service`).
"""

from __future__ import annotations

from collections import namedtuple

from srvctl.errors import LoadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.metadata import EntryPoint
    from typing import Any

GROUP = "srvctl.handlers"

# What ready-made handlers were called in 0.1.0, and what they are called now.
RENAMED = {"sink": "append"}


class SandboxNeeds(namedtuple("SandboxNeeds", "reads writes connects", defaults=((), (), ()))):
    """What a sandbox must leave a handler: directories in which it reads, directories in which it makes or appends to
    files, and each `Family` that it connects to; tuples.
    """

    __slots__ = ()


def installed() -> list[EntryPoint]:
    """Return the entry points of every ready-made handler that is installed, by name."""
    from importlib.metadata import entry_points  # 10 ms, which a handler of the user's own does not need

    return sorted(entry_points(group=GROUP), key=lambda point: point.name)


def lookup(handler: str) -> tuple[str, bool]:
    """Return what to import for `handler` as it stands on the command line, and whether it is a ready-made one.

    A bare word is looked up; everything else is returned as it is. Raises `LoadError`.
    """
    if not handler.isidentifier():
        return handler, False
    points = installed()
    for point in points:
        if point.name == handler:
            return point.value, True
    if handler in RENAMED:
        raise LoadError("load", f"handler {handler!r}", f"it is called {RENAMED[handler]!r} now")
    names = ", ".join(point.name for point in points) or "none is installed"
    raise LoadError(
        "load", f"handler {handler!r}", f"there is no ready-made handler of that name ({names}); expected MODULE:NAME"
    )


def needs_of(handler: str, is_stream: bool, assignments: Sequence[tuple[str, str]]) -> SandboxNeeds:
    """Return what `handler` needs by its own word, with `assignments`; nothing of one that is not ready-made.

    That one is not imported either. Raises `LoadError`, and `UsageError` for an assignment.
    """
    target, is_ready_made = lookup(handler)
    if not is_ready_made:
        return SandboxNeeds()
    from srvctl.loader.attributes import set_attributes
    from srvctl.loader.importer import find, own_classmethod

    cls = find(target, is_ready_made, is_stream).handler
    if own_classmethod(cls, "needs") is None:
        return SandboxNeeds()
    configured: Any = type(cls.__name__, (cls,), {})  # who asks for other assignments finds the class as it was
    set_attributes(configured, assignments, f"handler {handler!r}")
    needs: SandboxNeeds = configured.needs()
    return needs


def describe(point: EntryPoint) -> str:
    """Return the first line of what a handler says of itself; imports it, so it may raise anything."""
    text = (point.load().__doc__ or "").strip()
    return text.splitlines()[0] if text else ""
