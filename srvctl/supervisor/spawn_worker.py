"""Start of a worker's process: a fresh interpreter, by posix_spawn(3)."""

from __future__ import annotations

import os
import signal
import sys

import srvctl
from srvctl.supervisor.signals import SIGNALS
from srvctl.systemd import protocol as systemd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Run with -P: neither the current directory nor this file's comes before the standard library in the path. The
# directory that srvctl itself was imported from comes last; it matters only where srvctl is not installed.
_SCRIPT = (
    "import gc, sys\n"
    "if sys.argv[1] not in sys.path: sys.path.append(sys.argv[1])\n"
    "gc.disable()\n"  # until everything is imported, as in `srvctl.__main__`
    "from srvctl.worker.main import main\n"
    "gc.freeze()\n"
    "gc.enable()\n"
    "main(*map(int, sys.argv[2:]))\n"
)


def spawn_worker(control: int, stacks: int, lifeline: int, is_session: bool) -> int:
    """Start the interpreter of a worker; return its process id. Raises OSError.

    The child keeps the descriptors `control`, `stacks` and `lifeline`, which stay the caller's here, and the first
    three. It leads a process group, with `is_session` also a session. Its signals have their default actions, even if
    this process was started with some of them ignored or blocked.
    """
    root = os.path.dirname(os.path.dirname(os.path.abspath(srvctl.__file__)))
    actions: list[Any] = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
    # A descriptor that is duplicated onto itself stays open over the exec, posix_spawn(3).
    actions += [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in (control, stacks, lifeline)]
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-P", "-c", _SCRIPT, root, str(control), str(stacks), str(lifeline)],
        systemd.without_private(),
        file_actions=actions,
        setsigmask=(),
        setsigdef=(*SIGNALS, signal.SIGCHLD),
        **({"setsid": True} if is_session else {"setpgroup": 0}),
    )
