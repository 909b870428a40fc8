"""A session, setsid(2): a worker that runs programs leads one, and they are in it, each in a process group of its own.

So whoever outlives the worker finds them all. A program that is to live on calls setsid itself.
"""

from __future__ import annotations

import contextlib
import os
import signal

# Between a look and the kill one of them may have forked; who is killed forks no more, so each look finds fewer.
_LOOKS = 20


def kill_session(leader: int) -> None:
    """Kill every process of the session of `leader` but the leader; none when it leads no session. Does not block."""
    with contextlib.suppress(OSError):  # it is gone; no descriptor for a look
        if os.getsid(leader) == leader:
            kill_members(leader, spared=leader)


def kill_members(session: int, spared: int) -> None:
    """Kill every process of a session but `spared`; its leader may have ended. Does not block. Raises OSError."""
    for _ in range(_LOOKS):
        found = _members(session, spared)
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def _members(leader: int, spared: int) -> list[int]:
    """Return the processes of a session that live, proc(5)."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdecimal() or int(name) == spared:
            continue
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as stat:
            state, _, _, session = stat.read().rpartition(b") ")[2].split()[:4]
            if int(session) == leader and state not in (b"Z", b"X"):
                found.append(int(name))
    return found
