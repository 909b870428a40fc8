"""Conditional and range requests of HTTP (RFC 9110, 13 and 14): whether to send a file, and which part of it.

Pure functions of the request's headers.
"""

from __future__ import annotations

import email.utils
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from email.message import Message

_RANGE = re.compile(r"bytes=([0-9]{1,18})?-([0-9]{1,18})?", re.ASCII)


class Unsatisfiable(Exception):
    """The range begins after the end of the file."""


def is_unchanged(headers: Message, etag: str, modified: int) -> bool:
    """Tell whether the client already has this version. If it sends an entity tag, its date is ignored (13.2.2)."""
    if tags := headers.get("If-None-Match"):
        return tags.strip() == "*" or etag in [tag.strip().removeprefix("W/") for tag in tags.split(",")]
    since = _read_date(headers.get("If-Modified-Since", ""))
    return since is not None and modified <= since


def wanted_range(headers: Message, etag: str, modified: str, size: int) -> tuple[int, int] | None:
    """Return the start and the stop (exclusive) of the range, or None for the whole file. Raises `Unsatisfiable`.

    The whole file is sent for several ranges or an invalid one, as 14.2 allows, and if the file has changed since the
    client got its other part (If-Range).
    """
    match = _RANGE.fullmatch(headers.get("Range", "").strip())
    if not match or headers.get("If-Range", etag) not in (etag, modified):
        return None
    first, last = (None if digits is None else int(digits) for digits in match.groups())
    if first is None:
        if last is None:
            return None
        start, stop = max(0, size - last), size
    else:
        if last is not None and last < first:
            return None  # 14.1.1: invalid
        start, stop = first, size if last is None else min(size, last + 1)
    if start >= stop:
        raise Unsatisfiable
    return start, stop


def _read_date(text: str) -> float | None:
    try:
        when = email.utils.parsedate_to_datetime(text)
        return when.timestamp() if when.tzinfo else None
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
