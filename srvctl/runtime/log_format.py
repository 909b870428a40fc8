"""Form of a line of the log: text, terminal, plain, journal or JSON.

Whatever bytes a peer put into a field, an event is one line of printable ASCII, or of valid JSON, of bounded length.
At a terminal the traceback follows on lines of its own.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Priorities of syslog(3), which the journal reads from a leading <N>.
ERROR, WARNING, NOTICE, INFO, DEBUG = 3, 4, 5, 6, 7
NAMES = {ERROR: "error", WARNING: "warning", NOTICE: "notice", INFO: "info", DEBUG: "debug"}
_COLOURS = {ERROR: "\x1b[31m", WARNING: "\x1b[33m", NOTICE: "\x1b[1m", INFO: "", DEBUG: "\x1b[2m"}

# A field is cut here, so that a peer cannot fill the disk with one event; frames of a traceback get more.
FIELD_MAX = 1024
TRACEBACK_MAX = 8192
_NEEDS_QUOTES = frozenset(' "=\\')

_second = (0, "")


def is_plain(text: str, limit: int = FIELD_MAX) -> bool:
    """Tell whether `escape` would return `text` as it is."""
    return text.isascii() and text.isprintable() and 0 < len(text) <= limit and _NEEDS_QUOTES.isdisjoint(text)


def escape(value: object, limit: int = FIELD_MAX) -> str:
    """Return `value` as printable ASCII on one line, quoted where it needs to be, at most about `limit` long."""
    if type(value) is float:
        return f"{value:.3f}"
    text = str(value)
    if type(value) is int or is_plain(text, limit):
        return text
    if len(text) > limit:
        text = text[:limit] + "..."
    plain = text.encode("unicode_escape").decode("ascii")
    if len(plain) > limit + 3:
        plain = plain[:limit].rstrip("\\") + "..."
    if plain == text and plain and not any(c in plain for c in ' "='):
        return plain
    return '"' + plain.replace('"', '\\"') + '"'


def line(style: str, priority: int, event: str, fields: dict[str, Any]) -> str:
    """Return the line of an event, with its end, in a style of `srvctl.runtime.log.configure`."""
    if style == "json":
        return _json(priority, event, fields)
    frames = fields.pop("traceback", "")
    text = event + "".join([f" {key}={escape(_joined(value))}" for key, value in fields.items()])
    if style in ("terminal", "plain"):
        on, off = (_COLOURS[priority], "\x1b[0m") if style == "terminal" else ("", "")
        below = "".join(
            f"\n    {line.encode('unicode_escape').decode()}" for line in frames[-TRACEBACK_MAX:].splitlines()
        )
        return f"{time.strftime('%H:%M:%S')} {on}{text}{off}{below}\n"
    if frames:
        text += f" traceback={escape(frames, TRACEBACK_MAX)}"
    if style == "journal":
        return f"<{priority}>{text}\n"
    return f"{timestamp()} {NAMES[priority]} {text}\n"


def timestamp() -> str:
    """Return the time of the clock in UTC, to the millisecond."""
    global _second
    now = time.time()
    second = int(now)
    if _second[0] != second:
        _second = (second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)))
    return f"{_second[1]}.{int(now % 1 * 1000):03d}Z"


def _joined(value: object) -> object:
    return " < ".join(value) if type(value) is list else value


def _json(priority: int, event: str, fields: dict[str, Any]) -> str:
    import json

    record: dict[str, Any] = {"time": timestamp(), "level": NAMES[priority], "event": event}
    for key, value in fields.items():
        if isinstance(value, float):
            value = round(value, 6)
        elif type(value) is list:
            value = _cut_list(value)
        elif not isinstance(value, int):
            value = str(value)[: TRACEBACK_MAX if key == "traceback" else FIELD_MAX]
        record[key] = value
    return json.dumps(record) + "\n"


def _cut_list(texts: list[str]) -> list[str]:
    """Return the first of `texts`, as many as a field may hold, the last of them cut."""
    kept = []
    room = FIELD_MAX
    for text in texts:
        if room > 0:
            kept.append(text[:room])
            room -= len(text)
    return kept
