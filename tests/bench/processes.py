"""What the kernel says of a server's processes: which they are, how often they woke, what memory is theirs alone."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from tests.launched import children_of


def tree(pid: int) -> list[int]:
    """Return `pid` and all its descendants, itself first."""
    found = [pid]
    for known in found:
        found += children_of(known)
    return found


def wakeups(pid: int) -> int:
    """Return how often any thread of `pid` has been switched away from: each time it ran, it was, once."""
    count = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            status = Path(f"/proc/{pid}/task/{task}/status").read_text()
            count += sum(map(int, re.findall(r"ctxt_switches:\s+(\d+)", status)))
    return count


def states(pid: int) -> list[str]:
    """Return the state of each thread of `pid`, as proc(5) has them: ``S`` sleeps, ``R`` runs."""
    found = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found.append(Path(f"/proc/{pid}/task/{task}/stat").read_text().rpartition(")")[2].split()[0])
    return found


def memory(pid: int) -> dict[str, int]:
    """Return KiB of `pid`: ``pss``, its fair share, and ``uss``, what is its alone; nothing when it has just ended."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return {"pss": 0, "uss": 0}
    found = dict(re.findall(r"^(\w+):\s+(\d+) kB", rollup, re.MULTILINE))
    return {"pss": int(found["Pss"]), "uss": int(found["Private_Clean"]) + int(found["Private_Dirty"])}
