"""Handlers by name: the entry point group ``srvctl.handlers``, ours and those of other packages."""

from __future__ import annotations

from srvctl.errors import LoadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "srvctl.handlers"


def installed() -> list[EntryPoint]:
    """Return the entry points of every ready-made handler that is installed, by name."""
    from importlib.metadata import entry_points  # 10 ms, which a handler of the user's own does not need

    return sorted(entry_points(group=GROUP), key=lambda point: point.name)


def resolve(handler: str) -> tuple[str, bool]:
    """Return what to import for `handler` as it stands on the command line, and whether it is a ready-made one.

    A bare word is looked up; everything else is returned as it is. Raises `LoadError`.
    """
    if not handler.isidentifier():
        return handler, False
    points = installed()
    for point in points:
        if point.name == handler:
            return point.value, True
    names = ", ".join(point.name for point in points) or "none is installed"
    raise LoadError(
        "load", f"handler {handler!r}", f"there is no ready-made handler of that name ({names}); expected MODULE:NAME"
    )


def describe(point: EntryPoint) -> str:
    """Return the first line of what a handler says of itself; imports it, so it may raise anything."""
    text = (point.load().__doc__ or "").strip()
    return text.splitlines()[0] if text else ""
