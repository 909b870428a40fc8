"""The wire format: whatever `dumps` writes is read back, and whatever else comes is a ValueError, at once."""

from __future__ import annotations

import contextlib
import marshal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srvctl.runtime import wire

PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False)
    | st.text()
    | st.text(st.characters(categories=["Cs"]))
    | st.binary()
)
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=8,
)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list | tuple) else 0


@given(VALUES.filter(lambda value: depth(value) <= 8))
def test_what_is_written_is_read_back(value: object) -> None:
    """Plain values, as deep as messages are; `marshal` itself reads them, too."""
    data = wire.dumps(value)
    assert wire.loads(data) == value == marshal.loads(data)


@given(st.binary(max_size=200))
def test_any_other_bytes_are_a_value_error_or_plain_values(data: bytes) -> None:
    """Never a crash, nor another exception."""
    try:
        value = wire.loads(data)
    except ValueError:
        return
    assert wire.loads(wire.dumps(value)) == value or value != value


@given(VALUES, st.data())
def test_a_message_that_was_cut_or_changed_is_a_value_error_or_plain_values(value: object, data: st.DataObject) -> None:
    """Of bytes that were right once."""
    whole = bytearray(wire.dumps(value))
    position = data.draw(st.integers(0, len(whole) - 1))
    whole[position] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        wire.loads(bytes(whole[: data.draw(st.integers(0, len(whole)))]))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe\xfd",
        b"[\xff\xff\xff\x7f",  # a list of two thousand million
        b"s\xff\xff\xff\xff",
        b"l\xff\xff\xff\x7f",  # a number of as many digits
        b"(\x01\x00\x00\x00" * 3000,
        b"{N",
        b"{0N",  # something after the value
        b"[\x01\x00\x00\x000",
        b"u\x01\x00\x00\x00\xff",  # not UTF-8
        marshal.dumps("name", 4),  # an interned string of a later version
        marshal.dumps((lambda: 0).__code__, 2),
        marshal.dumps({(1, 2): 3}, 2),
        marshal.dumps(1 << 3000, 2),
        marshal.dumps(1j, 2),
        marshal.dumps(frozenset("a"), 2),
    ],
)
def test_what_no_message_has_is_refused(data: bytes) -> None:
    """Code, numbers without a bound, depth without a bound, and lengths that are lies."""
    with pytest.raises(ValueError):
        wire.loads(data)
