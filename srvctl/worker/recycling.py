"""Recycling: when a worker asks for a successor, because of the requests it has served or the memory it holds."""

from __future__ import annotations

import os
from time import monotonic, monotonic_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvctl.config.settings import Settings

# How often a worker that serves looks at its memory.
MEMORY_CHECK_SECONDS = 1.0


class RecyclePolicy:
    """The limits of ``--max-requests`` and ``--max-worker-memory``; `is_enabled` says whether there is one."""

    def __init__(self, settings: Settings) -> None:
        self._max_memory = settings.max_worker_memory
        # Not from `random`, which a worker would have to import: the low bits of a clock are random enough.
        jitter = monotonic_ns() % (settings.max_requests_jitter + 1)
        self._max_requests = settings.max_requests and settings.max_requests + jitter
        self._next_memory_check = 0.0
        self.is_enabled = bool(self._max_requests or self._max_memory)

    def reason(self, requests: int) -> str:
        """Return why the worker, which has served so many `requests`, is to be replaced, or an empty string."""
        if self._max_requests and requests >= self._max_requests:
            return f"it has served {requests} requests"
        if self._max_memory and (now := monotonic()) >= self._next_memory_check:
            self._next_memory_check = now + MEMORY_CHECK_SECONDS
            if (memory := resident_bytes()) >= self._max_memory:
                return f"it holds {memory} bytes of memory"
        return ""


def resident_bytes() -> int:
    """Return the resident memory of this process, proc(5)."""
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
