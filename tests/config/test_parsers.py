"""Parsers of option values: what each takes, and what it refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srvctl.config import parsers as module

PARSERS = [
    module.parse_count,
    module.parse_backlog,
    module.parse_seconds,
    module.parse_mode,
    module.parse_owner,
    module.parse_assignment,
    module.parse_size,
    module.parse_text,
    module.parse_variable,
    module.parse_limit,
    module.parse_nice,
    module.or_off(module.parse_seconds),
    module.or_off(module.parse_size),
]


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__name__)
@given(text=st.text() | st.text("0123456789.-+e:=_msh٣²", max_size=12))
def test_any_text_is_a_value_or_a_value_error(parse, text: str) -> None:  # type: ignore[no-untyped-def]
    """The command line turns ValueError, and nothing else, into a usage error."""
    try:
        parse(text)
    except ValueError as error:
        assert str(error).startswith("expected ")


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("30", 30), ("1.5", 1.5), ("250ms", 0.25), ("2s", 2), ("5m", 300), ("1h", 3600)]
)
def test_seconds_may_have_a_unit(text: str, seconds: float) -> None:
    """The units ms, s, m and h are read, as systemd and sleep(1) read them."""
    assert module.parse_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "-1", "nan", "inf", "1d", "s", "1e99", "1 0"])
def test_what_is_no_time_is_refused(text: str) -> None:
    """What a timer could not take is an error."""
    with pytest.raises(ValueError, match="expected seconds"):
        module.parse_seconds(text)


@pytest.mark.parametrize(("text", "mode"), [("660", 0o660), ("0660", 0o660), ("0", 0), ("0777", 0o777)])
def test_a_mode_is_octal(text: str, mode: int) -> None:
    """A mode is read as chmod(1) reads it."""
    assert module.parse_mode(text) == mode


@pytest.mark.parametrize("text", ["", "8", "1777", "-1", "u+w"])
def test_what_is_no_mode_is_refused(text: str) -> None:
    """Set-id and sticky bits are refused too."""
    with pytest.raises(ValueError, match="octal"):
        module.parse_mode(text)


@pytest.mark.parametrize("text", ["0", "-1", "", "x", "1.5", "²"])
def test_a_count_is_at_least_1(text: str) -> None:
    """A limit of zero would serve no request."""
    with pytest.raises(ValueError, match="at least 1"):
        module.parse_count(text)


def test_an_assignment_keeps_what_follows_the_first_equals_sign() -> None:
    """A value may contain more equals signs."""
    assert module.parse_assignment("a=b=c") == ("a", "b=c")
    assert module.parse_assignment("a=") == ("a", "")


@pytest.mark.parametrize("text", ["a", "=b", "a-b=c", ""])
def test_what_is_no_assignment_is_refused(text: str) -> None:
    """The name must be an identifier of Python."""
    with pytest.raises(ValueError, match="NAME=VALUE"):
        module.parse_assignment(text)


@pytest.mark.parametrize("text", ["user", "user:group", ":group", "0:0"])
def test_an_owner_is_read_as_chown_reads_it(text: str) -> None:
    """A group may stand alone."""
    assert module.parse_owner(text) == text


@pytest.mark.parametrize("text", ["", ":", "user:"])
def test_what_is_no_owner_is_refused(text: str) -> None:
    """A colon has a group after it."""
    with pytest.raises(ValueError, match=r"USER, USER:GROUP or :GROUP"):
        module.parse_owner(text)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("NOFILE=64", ("NOFILE", 64, 64)),
        ("cpu=1:2", ("CPU", 1, 2)),
        ("as=64M", ("AS", 64 * 1024**2, 64 * 1024**2)),
        ("core=0:unlimited", ("CORE", 0, -1)),
        ("stack=infinity", ("STACK", -1, -1)),
    ],
)
def test_a_limit_has_a_name_and_one_or_two_values(text: str, limit: tuple[str, int, int]) -> None:
    """The values are read as systemd reads LimitNOFILE= and the like."""
    assert module.parse_limit(text) == limit


def test_a_limit_may_be_off() -> None:
    """Each of the three words is read as 0, and an error names the word off."""
    parse = module.or_off(module.parse_seconds)
    assert [parse(word) for word in (*module.OFF_WORDS, "0", "2s")] == [0.0, 0.0, 0.0, 0.0, 2.0]
    assert type(module.or_off(module.parse_count)("off")) is int
    with pytest.raises(ValueError, match=r"^expected seconds, .*, or off$"):
        parse("x")
