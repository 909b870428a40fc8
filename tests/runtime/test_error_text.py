"""Text of an exception: what it says, where, why, and what it holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from srvctl.runtime import error_text
from srvctl.runtime.error_text import causes_of, describe, frames_of, members_of, notes_of, traceback_of

HERE = str(Path(__file__).parent)


def failure(text: str) -> ValueError:
    """Return an exception that was raised."""
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


def chained(count: int) -> Exception:
    """Return an exception with `count` causes, one of another."""
    error: Exception = KeyError(0)
    for number in range(1, count + 1):
        try:
            raise KeyError(number) from error
        except KeyError as another:
            error = another
    return error


def test_an_exception_that_cannot_be_told_is_told() -> None:
    """Its own text may raise."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert describe(Mute()) == "Mute: (its text cannot be had)"
    assert describe(KeyError()) == "KeyError"


def test_frames_below_a_directory_are_left_out() -> None:
    """srvctl's own say nothing to a handler's author."""
    assert "in failure" in frames_of(failure("x"))
    assert "in failure" not in frames_of(failure("x"), HERE)


def test_a_cause_is_told_with_its_innermost_frame() -> None:
    """`raise X from e`."""
    try:
        raise LookupError("no such user") from failure("bad id")
    except LookupError as error:
        (cause,) = causes_of(error)
    assert cause.startswith("ValueError: bad id at " + __file__)
    assert cause.endswith(" in failure")


def test_what_was_handled_when_another_was_raised_is_a_cause() -> None:
    """`__context__`, unless `raise X from None` says that it is none."""
    try:
        try:
            {}["key"]
        except KeyError:
            raise LookupError("no such user")  # noqa: B904
    except LookupError as error:
        assert [cause.partition(" at ")[0] for cause in causes_of(error)] == ["KeyError: 'key'"]
        error.__suppress_context__ = True
        assert causes_of(error) == []


def test_a_cause_without_frames_of_the_users_is_told_without_a_place() -> None:
    """Frames of srvctl say nothing to a handler's author."""
    assert causes_of(chained(1), HERE) == ["KeyError: 0"]


def test_a_chain_that_is_long_is_cut() -> None:
    """At eight, the nearest first."""
    causes = causes_of(chained(20))
    assert len(causes) == error_text.PARTS_MAX
    assert [cause.partition(" at ")[0] for cause in causes[:2]] == ["KeyError: 19", "KeyError: 18"]


def test_a_chain_that_goes_round_ends() -> None:
    """A handler can make one by hand."""
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert causes_of(one) == ["ValueError: two"]


def test_notes_are_told() -> None:
    """PEP 678; what is no note is left out, and what is too long is cut."""
    error = failure("x")
    assert notes_of(error) == []
    error.add_note("while row 7 was read")
    error.add_note("x" * 5000)
    assert notes_of(error) == ["while row 7 was read", "x" * error_text.TEXT_MAX]
    error.__notes__ = [1, "text"]  # type: ignore[list-item]
    assert notes_of(error) == ["text"]
    error.__notes__ = "no list"  # type: ignore[assignment]
    assert notes_of(error) == []


def test_the_exceptions_of_a_group_are_told() -> None:
    """PEP 654: those of groups within it too, in order, and not more than eight."""
    inner = ExceptionGroup("inner", [failure("two"), TypeError("three")])
    group = ExceptionGroup("outer", [failure("one"), inner, *(OSError(n) for n in range(20))])
    members = members_of(group)
    assert [member.partition(" at ")[0] for member in members[:4]] == [
        "ValueError: one", "ValueError: two", "TypeError: three", "OSError: 0",
    ]  # fmt: skip
    assert len(members) == error_text.PARTS_MAX
    assert members_of(failure("x")) == []


def test_a_traceback_has_source_lines_and_causes_without_the_frames_of_a_directory() -> None:
    """As Python prints it."""
    try:
        raise LookupError("no such user") from failure("bad id")
    except LookupError as error:
        error.add_note("a note")
        whole, cut = traceback_of(error), traceback_of(error, HERE)
    for text in (whole, cut):
        assert "ValueError: bad id" in text and "direct cause" in text and text.endswith("a note")
    assert "in failure" in whole and "raise ValueError(text)" in whole
    assert "in failure" not in cut


@pytest.mark.parametrize("tell", [causes_of, members_of])
def test_a_text_that_is_long_is_cut(tell) -> None:  # type: ignore[no-untyped-def]
    """A client may have sent it."""
    long = ValueError("x" * 100_000)
    group = ExceptionGroup("group", [long])
    group.__cause__ = long
    (told,) = tell(group)
    assert len(told) == error_text.TEXT_MAX
