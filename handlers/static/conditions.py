"""Which part of a file a request wants, if any: the conditions and ranges of HTTP (RFC 9110, 13 and 14).

Pure: headers as text in, an answer out.
"""

from __future__ import annotations

import email.utils
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from email.message import Message

_RANGE = re.compile(r"bytes=([0-9]{1,18})?-([0-9]{1,18})?", re.ASCII)


class Unsatisfiable(Exception):
    """The range begins behind the end of the file."""


def is_unchanged(headers: Message, etag: str, modified: int) -> bool:
    """Tell whether what the client has already is the same; the tag, where it sends one, decides alone (13.2.2)."""
    if tags := headers.get("If-None-Match"):
        return tags.strip() == "*" or etag in [tag.strip().removeprefix("W/") for tag in tags.split(",")]
    since = _read_date(headers.get("If-Modified-Since", ""))
    return since is not None and modified <= since


def wanted_range(headers: Message, etag: str, modified: str, size: int) -> tuple[int, int] | None:
    """Return the first byte and the one behind the last, or None for the whole. Raises `Unsatisfiable`.

    More than one range, and what is not understood, is the whole, as 14.2 allows; so is one of a file that the client
    has an older part of.
    """
    found = _RANGE.fullmatch(headers.get("Range", "").strip())
    if not found or headers.get("If-Range", etag) not in (etag, modified):
        return None
    first, last = (None if digits is None else int(digits) for digits in found.groups())
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
