"""What an error of accept(2) means for the server: three classes, and how long to hold back.

The classes follow accept(2)'s own list ("Error handling": Linux passes pending network errors on as errors of
accept), the one that trio's ``serve_listeners`` argues for, and what HAProxy's listener does with EINVAL.
"""

from __future__ import annotations

import errno
from enum import Enum

# Long enough that a server without descriptors makes ten tries a second and uses no CPU to speak of, short
# enough that the first client after it waits no longer than people notice. nginx takes 500 ms
# (accept_mutex_delay), trio 100 ms.
PAUSE_SECONDS = 0.1


class AcceptFailure(Enum):
    """What to do when a request cannot be taken."""

    CONNECTION = "that connection is lost; go on"
    RESOURCES = "the system has none left; pause"
    FATAL = "the listening socket is not usable"


RESOURCE_ERRNOS = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_FATAL = frozenset((errno.EBADF, errno.ENOTSOCK, errno.EFAULT))

# EINVAL says that the socket does not listen any more. When a sibling shut down the one that is shared, it
# is closing; so it is worth one pause before it counts as fatal.
_FATAL_WHEN_REPEATED = frozenset((errno.EINVAL,))


def classify(error: OSError, *, repeated: bool = False) -> AcceptFailure:
    """Return the class of `error`; `repeated` says that the last try failed with the same one."""
    if error.errno in RESOURCE_ERRNOS:
        return AcceptFailure.RESOURCES
    if error.errno in _FATAL:
        return AcceptFailure.FATAL
    if error.errno in _FATAL_WHEN_REPEATED:
        return AcceptFailure.FATAL if repeated else AcceptFailure.RESOURCES
    return AcceptFailure.CONNECTION


class RequestDeferred(Exception):
    """The system has no process or thread for a request: it is kept and tried again, nothing is lost.

    Raised by a concurrency mix-in's ``process_request``; its cause is what the system said.
    """
