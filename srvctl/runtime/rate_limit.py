"""Something that would be told with every connection is told once in a while, with a count."""

from __future__ import annotations

import time

REPEAT_SECONDS = 5.0


class RateLimiter:
    """Let one event through in `REPEAT_SECONDS` and count the others."""

    def __init__(self) -> None:
        self._next = 0.0
        self._suppressed = 0

    def allow(self) -> int | None:
        """Return how many were held back since the last that went through, or None to hold this one back."""
        now = time.monotonic()
        if now < self._next:
            self._suppressed += 1
            return None
        self._next = now + REPEAT_SECONDS
        suppressed, self._suppressed = self._suppressed, 0
        return suppressed
