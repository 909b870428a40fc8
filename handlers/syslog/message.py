"""A syslog message: parsed from any bytes, and formatted as exactly one line.

Parsed as RFC 5424, or else as RFC 3164 with its common variants. No input is an error: what cannot be parsed is the
text of the message. Pure functions: nothing here reads a clock, a socket or a file.
"""

from __future__ import annotations

import re
import time
from collections import namedtuple

FACILITIES = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news"),
    *("uucp", "cron", "authpriv", "ftp", "ntp", "audit", "alert", "clock"),
    *(f"local{number}" for number in range(8)),
)
SEVERITIES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
UNKNOWN_PRIORITY = 13  # RFC 3164, 4.3.3: user, notice
# RFC 3164 times have no year. A sender's clock may be ahead by this much before its time is taken for last year's.
MAX_AHEAD_SECONDS = 7 * 86400
MAX_LEAP_GAP_YEARS = 8  # between two leap years: 1896 and 1904

_PRIORITY = re.compile(rb"<(0|[1-9][0-9]{0,2})>")
_ISO_TIME = (
    rb"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    rb"(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:?[0-9]{2})"
)
# Possessive quantifiers: no input causes backtracking. A backslash escapes "]" and quotes in a value, 6.3.3.
_ELEMENT = rb'\[[^\s"=\]]++(?: [^\s"=\]]++="(?:[^"\\\]]++|\\.)*+")*+\]'
_RFC_5424 = re.compile(
    rb"1 (-|" + _ISO_TIME + rb") ([!-~]{1,255}) ([!-~]{1,255}) ([!-~]{1,255}) ([!-~]{1,255}) "
    rb"(-|(?:" + _ELEMENT + rb")++)(?: (.*))?",
    re.DOTALL,
)
_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_RFC_3164_TIME = re.compile(
    rb"(" + rb"|".join(_MONTHS) + rb") {1,2}([0-9]{1,2}) ([0-9]{2}):([0-9]{2}):([0-9]{2})(?: |(?=:)|\Z)"
)
_ISO_3164_TIME = re.compile(rb"(" + _ISO_TIME + rb") ")
_TAG = re.compile(rb"([^\s:\[\]]{1,64})(?:\[([^\s\]]{0,64})\])?:(?=\s|\Z)")
# After a host name any text may come: its first word is a tag when it ends in "[PID]:", or in a colon and a space. In
# "http://x", "12:30" and "aa:bb:cc" it is not.
_HOST_AND_TAG = re.compile(rb"([^\s\[\]]{1,255}) ([^\s:\[\]]{1,64})(?:\[([^\s\]]{0,64})\]:|:(?=\s|\Z))")
_HOST = re.compile(rb"([0-9A-Za-z._:-]{1,255}) ")


class Message(namedtuple("Message", "facility severity time host app procid msgid data text")):
    """The fields of a message, each a str, empty if it is missing. Bytes that are not UTF-8 are surrogate escapes."""

    __slots__ = ()


def parse(raw: bytes, now: float, is_local: bool = False) -> Message:
    """Parse `raw`, received at `now`. Local senders (`is_local`) send no host name in RFC 3164. Never raises."""
    priority, rest = UNKNOWN_PRIORITY, raw
    if (match := _PRIORITY.match(raw)) and int(match[1]) <= 191:
        priority, rest = int(match[1]), raw[match.end() :]
    if match and (full := _RFC_5424.fullmatch(rest)):
        when, *names, text = full.groups()
        fields = [b"" if name == b"-" else name for name in (when, *names)]
        fields.append((text or b"").removeprefix(b"\xef\xbb\xbf"))  # the byte order mark of UTF-8, 6.4
    else:
        fields = _parse_3164(rest, now, is_local)
    fields[0] = fields[0] or _iso(now).encode()
    severity = SEVERITIES[priority % 8]
    return Message(FACILITIES[priority // 8], severity, *(field.decode("utf-8", "surrogateescape") for field in fields))


def _parse_3164(rest: bytes, now: float, is_local: bool) -> list[bytes]:
    """Return time, host, app, procid, msgid, data and text."""
    when, text = _take_time(rest, now)
    host = app = procid = b""
    if match := _TAG.match(text):
        app, procid = match[1], match[2] or b""
    elif when and not is_local:
        if match := _HOST_AND_TAG.match(text):
            host, app, procid = match[1], match[2], match[3] or b""
        elif match := _HOST.match(text):
            host = match[1]
    if match:
        text = text[match.end() :].removeprefix(b" ")
    return [when, host, app, procid, b"", b"", text]


def _take_time(rest: bytes, now: float) -> tuple[bytes, bytes]:
    if match := _ISO_3164_TIME.match(rest):  # not in the RFC, but most senders of today use it
        return match[1], rest[match.end() :]
    if (match := _RFC_3164_TIME.match(rest)) and (when := _latest(match, now)):
        return _iso(when, "").encode(), rest[match.end() :].removeprefix(b": ")
    return b"", rest


def _latest(match: re.Match[bytes], now: float) -> float:
    """Return the matched local time, which has no year, in the latest year that fits; 0 if none does."""
    month = _MONTHS.index(match[1]) + 1
    day, hour, minute, second = (int(match[n]) for n in range(2, 6))
    if hour > 23 or minute > 59 or second > 59:
        return 0.0
    this_year = time.localtime(now).tm_year
    for year in range(this_year + 1, this_year - MAX_LEAP_GAP_YEARS - 1, -1):
        when = time.mktime((year, month, day, hour, minute, second, 0, 0, -1))
        exists = time.localtime(when)[1:3] == (month, day)  # mktime(3) turns February 30 into a day of March
        if exists and when <= now + MAX_AHEAD_SECONDS:
            return when
    return 0.0


def _iso(when: float, fraction: str | None = None) -> str:
    """Return a time in UTC in the format of RFC 3339, with microseconds unless `fraction` is given."""
    if fraction is None:
        fraction = f".{int(when % 1 * 1e6):06d}"
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(when)) + fraction + "Z"


def as_text(message: Message) -> str:
    """Return one line: time, host, facility.severity, app, procid, msgid, data, and the text.

    A missing field is ``-``, as in RFC 5424. Only the text, and quoted values in the data, have spaces.
    """
    m = message
    head = [m.time, m.host, f"{m.facility}.{m.severity}", m.app, m.procid, m.msgid, m.data]
    line = " ".join(field or "-" for field in head)
    return escaped(f"{line} {m.text}" if m.text else line)


def as_json(message: Message) -> str:
    """Return a JSON object on one line, in ASCII, without the missing fields."""
    import json

    fields = {
        name: value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        for name, value in message._asdict().items()
        if value
    }
    return json.dumps(fields)


def escaped(text: str) -> str:
    r"""Return `text` on one line, with escapes such as ``\xNN`` for characters that are not printable.

    These are control characters, line ends of every kind, bytes that are not UTF-8, and marks that reverse the order of
    text. A backslash is doubled, so that a sender cannot forge an escape.
    """
    text = text.replace("\\", "\\\\")
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
