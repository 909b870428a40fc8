"""Parsers of option values: each takes a word of the command line, or raises ValueError with what it expected."""

from __future__ import annotations

from srvctl.errors import did_you_mean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# Each of them turns a limit off. The value is 0 then.
OFF_WORDS = ("off", "never", "unlimited")

# listen(2) cuts this to /proc/sys/net/core/somaxconn, the kernel's maximum.
BACKLOG_OF_THE_KERNEL = 2**31 - 1

# getrlimit(2). The resource module has them too, and a worker has no other use for it.
LIMITS = (
    *("AS", "CORE", "CPU", "DATA", "FSIZE", "MEMLOCK", "MSGQUEUE", "NICE"),
    *("NOFILE", "NPROC", "RSS", "RTPRIO", "RTTIME", "SIGPENDING", "STACK"),
)


def parse_count(text: str) -> int:
    """Read a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise ValueError("expected a whole number of at least 1")
    return int(text)


def or_off(parse: Callable[[str], float]) -> Callable[[str], float]:
    """Return a parser of what `parse` reads, and of a word that turns the limit off."""

    def parse_or_off(text: str) -> float:
        if text in OFF_WORDS:
            return parse("1") * 0  # of the same type
        try:
            return parse(text)
        except ValueError as error:
            raise ValueError(f"{error}, or off") from None

    return parse_or_off


def parse_backlog(text: str) -> int:
    """Read a length of the accept queue."""
    if not text.isdecimal() or int(text) > BACKLOG_OF_THE_KERNEL:
        raise ValueError(f"expected a whole number up to {BACKLOG_OF_THE_KERNEL}")
    return int(text)


def parse_seconds(text: str) -> float:
    """Read a time: seconds, or a number with one of the units ms, s, m and h."""
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    number, factor = text, 1.0
    for unit, seconds in units.items():
        if text.endswith(unit):
            number, factor = text[: -len(unit)], seconds
            break
    try:
        value = float(number) * factor
    except ValueError:
        value = -1.0
    if not 0 <= value <= 10 * 365 * 86400:  # also refuses nan and inf
        raise ValueError("expected seconds, or a number with ms, s, m or h, such as 500ms or 2m")
    return value


def parse_size(text: str) -> int:
    """Read a number of bytes; K, M or G after it are powers of 1024."""
    factor = {"K": 1024, "M": 1024**2, "G": 1024**3}.get(text[-1:].upper(), 1)
    number = text if factor == 1 else text[:-1]
    if not number.isdecimal() or int(number) < 1:
        raise ValueError("expected bytes, or a number with K, M or G, such as 512M")
    return int(number) * factor


def parse_mode(text: str) -> int:
    """Read permission bits in octal."""
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise ValueError("expected permission bits in octal, such as 0660")
    return mode


def parse_owner(text: str) -> str:
    """Read USER, USER:GROUP or :GROUP. Whether they exist is checked when the socket is made."""
    _, colon, group = text.partition(":")
    if not text or (colon and not group):
        raise ValueError("expected USER, USER:GROUP or :GROUP")
    return text


def parse_assignment(text: str) -> tuple[str, str]:
    """Read NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise ValueError("expected NAME=VALUE")
    return name, value


def parse_variable(text: str) -> tuple[str, str | None]:
    """Read NAME, a variable to pass on, or NAME=VALUE."""
    from srvctl.net.ucspi import is_reserved

    name, equals, value = text.partition("=")
    if not (name.isidentifier() and name.isascii()) or "\0" in value:
        raise ValueError("expected NAME or NAME=VALUE")
    if is_reserved(name):
        raise ValueError(f"expected another name: srvctl sets {name} itself, or keeps it from a program")
    return name, value if equals else None


def parse_limit(text: str) -> tuple[str, int, int]:
    """Read NAME=VALUE or NAME=SOFT:HARD, a name of getrlimit(2) without RLIMIT_; -1 is unlimited."""
    name, _, values = text.partition("=")
    name = name.upper()
    if name not in LIMITS:
        raise ValueError(f"expected NAME=VALUE, with a name of {', '.join(LIMITS)}{did_you_mean(name, LIMITS)}")
    soft, _, hard = values.partition(":")
    limits = [_limit(value) for value in (soft, hard or soft)]
    if limits[1] != -1 and (limits[0] == -1 or limits[0] > limits[1]):
        raise ValueError("expected a soft limit not above the hard limit")
    return name, limits[0], limits[1]


def _limit(text: str) -> int:
    if text in ("unlimited", "infinity"):
        return -1
    factor = {"K": 1024, "M": 1024**2, "G": 1024**3}.get(text[-1:].upper(), 1)
    number = text if factor == 1 else text[:-1]
    if not (number.isascii() and number.isdecimal()) or int(number) * factor >= 2**63:
        raise ValueError("expected VALUE or SOFT:HARD: numbers, also with K, M or G, or unlimited")
    return int(number) * factor


def parse_nice(text: str) -> int:
    """Read a number to add to the nice value, nice(2)."""
    digits = text.removeprefix("+").removeprefix("-")
    if not (digits.isascii() and digits.isdecimal()) or int(digits) > 39:
        raise ValueError("expected a whole number from -39 to 39")
    return -int(digits) if text.startswith("-") else int(digits)


def parse_text(text: str) -> str:
    """Take any text."""
    return text
