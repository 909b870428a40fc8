"""Conditional and range requests of HTTP (RFC 9110, 13 and 14): whether to send a file, and which part of it.

Pure functions of the request's header fields, by their names in small letters.
"""

from __future__ import annotations

import email.utils
import re
from datetime import UTC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_RANGE = re.compile(r"bytes=([0-9]{1,18})?-([0-9]{1,18})?", re.ASCII)


class Unsatisfiable(Exception):
    """The range begins after the end of the file."""


class NotModified(Exception):
    """The client already has this version."""


class FailedPrecondition(Exception):
    """The file is not the version that the client wants."""


def check_conditions(fields: Mapping[str, str], etag: str, modified: int) -> None:
    """Raise `FailedPrecondition` or `NotModified` if that is so, in the order of RFC 9110, 13.2.2.

    With an entity tag its date is ignored, both ways.
    """
    if (tags := fields.get("if-match")) is not None:
        if not _has(tags, etag, is_weak=False):
            raise FailedPrecondition
    elif (until := _read_date(fields.get("if-unmodified-since", ""))) is not None and modified > until:
        raise FailedPrecondition
    if (tags := fields.get("if-none-match")) is not None:
        if _has(tags, etag, is_weak=True):
            raise NotModified
    elif (since := _read_date(fields.get("if-modified-since", ""))) is not None and modified <= since:
        raise NotModified


def wanted_range(fields: Mapping[str, str], etag: str, modified: str, size: int) -> tuple[int, int] | None:
    """Return the start and the stop (exclusive) of the range, or None for the whole file. Raises `Unsatisfiable`.

    The whole file is sent for several ranges or an invalid one, as 14.2 allows, and if the file has changed since the
    client got its other part (If-Range).
    """
    match = _RANGE.fullmatch(fields.get("range", "").strip())
    if not match or fields.get("if-range", etag) not in (etag, modified):
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


def _has(tags: str, etag: str, *, is_weak: bool) -> bool:
    """Tell whether a list of entity tags has `etag`, or is any; a weak comparison takes a weak tag for a strong one."""
    if tags.strip() == "*":
        return True
    names = [tag.strip() for tag in tags.split(",")]
    return etag in ([name.removeprefix("W/") for name in names] if is_weak else names)


def _read_date(text: str) -> float | None:
    """Return the time of a date in any of the three forms of RFC 9110, 5.6.7; all of them are UTC."""
    try:
        when = email.utils.parsedate_to_datetime(text)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
