"""``--set``: what a handler declares, and texts converted to its types."""

from __future__ import annotations

from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srvctl.errors import UsageError
from srvctl.loader.attributes import declared_attributes, set_attributes


class Base:
    inherited: int = 1
    overridden = "base"


def make() -> Any:
    """Return a handler of the test's own, which it may change."""

    class Handler(Base):
        greeting = "hello"
        times: int = 1
        ratio = 0.5
        loud = False
        prefix = b">"
        limit: float | None = None
        name: Optional[str] = None  # noqa: UP045  as people still write it
        timeout = None
        annotated: int
        overridden = 3
        _private = 1
        things: list[int] = []
        table = {}

        def handle(self) -> None: ...

    return Handler


DECLARED = {
    "inherited": "int",
    "overridden": "int",
    "greeting": "str",
    "times": "int",
    "ratio": "float",
    "loud": "bool",
    "prefix": "bytes",
    "limit": "float or none",
    "name": "str or none",
    "timeout": "any",
    "annotated": "int",
}


def assign(name: str, text: str) -> Any:
    """Return what an attribute is after ``--set``."""
    handler = make()
    set_attributes(handler, [(name, text)], "handler 'x'")
    return getattr(handler, name)


def test_what_can_be_set_is_what_is_declared_with_a_plain_type() -> None:
    """By value or annotation, inherited ones included; nothing private, no method and no container."""
    assert declared_attributes(make()) == DECLARED


def test_annotations_that_are_no_text_count_too() -> None:
    """A module without ``from __future__ import annotations`` has types there."""
    types = {"a": int, "b": float | None, "c": Optional[str], "d": list}  # noqa: UP045
    plain = type("Plain", (), {"__annotations__": types})
    assert declared_attributes(plain) == {"a": "int", "b": "float or none", "c": "str or none"}


def test_a_function_declares_nothing() -> None:
    """It has no attributes that it would look at."""
    assert declared_attributes(lambda request, client_address, server: None) == {}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("greeting", "hi there", "hi there"),
        ("greeting", "", ""),
        ("times", "3", 3),
        ("times", "0x10", 16),
        ("times", "-1", -1),
        ("ratio", "2", 2.0),
        ("ratio", "1e3", 1000.0),
        ("loud", "yes", True),
        ("loud", "TRUE", True),
        ("loud", "on", True),
        ("loud", "1", True),
        ("loud", "no", False),
        ("loud", "Off", False),
        ("loud", "0", False),
        ("prefix", "é", "é".encode()),
        ("limit", "1.5", 1.5),
        ("limit", "none", None),
        ("name", "None", None),
        ("timeout", "5", 5),
        ("timeout", "5.5", 5.5),
        ("timeout", "never", "never"),
        ("annotated", "7", 7),
        ("inherited", "7", 7),
    ],
)
def test_a_text_becomes_a_value_of_the_declared_type(name: str, text: str, value: object) -> None:
    """Not merely an equal one."""
    found = assign(name, text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("times", "many", "expected a whole number"),
        ("times", "1.5", "expected a whole number"),
        ("times", "none", "expected a whole number"),
        ("ratio", "x", "expected a number"),
        ("loud", "maybe", "expected yes or no"),
        ("limit", "x", "expected a number"),
    ],
)
def test_a_value_that_does_not_convert_is_told_with_the_valid_names(name: str, text: str, why: str) -> None:
    """And with the value."""
    with pytest.raises(UsageError, match=f"cannot set {name}='{text}' of handler 'x': {why}; it has .*times \\(int\\)"):
        assign(name, text)


@pytest.mark.parametrize("name", ["nope", "_private", "things", "handle", "__doc__"])
def test_a_name_that_is_not_declared_is_told_those_that_are(name: str) -> None:
    """Whatever else has that name."""
    with pytest.raises(UsageError) as caught:
        assign(name, "1")
    names = ", ".join(f"{name} ({kind})" for name, kind in sorted(DECLARED.items()))
    assert str(caught.value) == f"cannot set '{name}' of handler 'x': no such attribute; it has {names}"


def test_a_misspelt_attribute_is_recognized() -> None:
    """The list of all attributes comes before it."""
    with pytest.raises(UsageError, match=r"no such attribute; it has .*; did you mean times\?$"):
        assign("tmies", "1")


def test_a_handler_without_attributes_says_so() -> None:
    """A function, for one."""
    with pytest.raises(UsageError, match="no such attribute; it has none"):
        set_attributes(print, [("a", "1")], "handler 'print'")


def test_the_last_assignment_wins_and_the_base_class_stays_as_it_is() -> None:
    """Other handlers may derive from it."""
    handler = make()
    set_attributes(handler, [("inherited", "5"), ("inherited", "6")], "handler 'x'")
    assert (handler.inherited, Base.inherited) == (6, 1)


@given(text=st.text())
@pytest.mark.parametrize("name", sorted(DECLARED))
def test_any_text_is_a_value_or_a_usage_error(name: str, text: str) -> None:
    """Of every type."""
    try:
        assign(name, text)
    except UsageError as error:
        assert str(error).startswith(f"cannot set {name}=")
