"""Start of a worker's process: a fresh interpreter, by posix_spawn(3)."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

import srvctl
from srvctl.runtime.channel import Channel
from srvctl.supervisor.signals import SIGNALS
from srvctl.systemd import protocol as systemd
from srvctl.worker.protocol import FromWorker

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


def spawn_process(is_session: bool) -> tuple[int, int, int, int, Channel]:
    """Start a worker's process, which waits for its setup.

    Return its process id, its pidfd, the pipe of its stack traces, its lifeline and its channel, which the caller owns.
    Raises OSError.
    """
    with contextlib.ExitStack() as on_failure:
        channel, theirs = Channel.pair(FromWorker)
        on_failure.callback(channel.close)
        with theirs, contextlib.ExitStack() as always:
            stacks, their_stacks = os.pipe()
            on_failure.callback(os.close, stacks)
            always.callback(os.close, their_stacks)
            os.set_blocking(stacks, False)
            os.set_blocking(their_stacks, False)  # stacks that do not fit are lost; the worker never blocks
            their_lifeline, lifeline = os.pipe()
            on_failure.callback(os.close, lifeline)
            always.callback(os.close, their_lifeline)
            pid = spawn_worker(theirs.fileno(), their_stacks, their_lifeline, is_session)
        on_failure.callback(os.waitpid, pid, 0)
        on_failure.callback(os.kill, pid, signal.SIGKILL)
        pidfd = os.pidfd_open(pid)
        on_failure.pop_all()
    return pid, pidfd, stacks, lifeline, channel
