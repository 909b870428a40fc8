"""Whether output for a person has colour: NO_COLOR (no-color.org), FORCE_COLOR (force-color.org) and TERM=dumb."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def is_wanted(is_terminal: bool, environ: Mapping[str, str]) -> bool:
    """Tell whether to write colour: never with NO_COLOR, else always with FORCE_COLOR, else at a terminal that can.

    A variable that is empty counts as not set.
    """
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return is_terminal and environ.get("TERM") != "dumb"
