"""The log of srvctl in a test: what is written to it, event by event."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from srvctl.runtime import log
from srvctl.runtime.rate_limit import RateLimiter


@contextlib.contextmanager
def logged(threshold: int = log.INFO) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Configure the log; what this yields returns the events so far, without their times."""
    before = log._sink, log._threshold, log._style, log._traceback_rate
    with tempfile.TemporaryFile() as file:
        log.configure("json", threshold, file.fileno())
        log._traceback_rate = RateLimiter()

        def read() -> list[dict[str, Any]]:
            file.seek(0)
            records = [json.loads(line) for line in file.read().splitlines()]
            return [{key: value for key, value in record.items() if key != "time"} for record in records]

        try:
            yield read
        finally:
            log._sink, log._threshold, log._style, log._traceback_rate = before
