"""Descriptor limit: the soft limit of open files is raised to what a worker's conversations need, setrlimit(2).

The usual soft limit of 1024 is there for programs that use select(2), whose sets have room for no more; the hard limit
is what an administrator allows. The runtime of Go raises it likewise.
"""

from __future__ import annotations

import resource

# A connection, and what its handler opens for it, or what follows its process.
_FOR_EACH = 2
# The interpreter's own, the log, the listener, and what the handler opens for all.
_FOR_ALL = 64
# Connections that have been served, whose peers have not closed them: at most so many, for two seconds each.
CLOSING_MAX = 512


def raise_soft_limit(conversations: int) -> tuple[int, int] | None:
    """Raise the soft limit of this process, for `conversations` at a time, as far as it may.

    Return the limit and what would be needed if not even each connection has a descriptor; None when all is well.
    """
    needed = conversations * _FOR_EACH + _FOR_ALL + CLOSING_MAX
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return None
    soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return None if soft >= conversations + _FOR_ALL else (soft, needed)


def closing_limit(conversations: int) -> int:
    """Return how many connections may wait for their peers to close while `conversations` are served."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return CLOSING_MAX
    return max(_FOR_ALL, min(CLOSING_MAX, soft - conversations * _FOR_EACH - _FOR_ALL))
