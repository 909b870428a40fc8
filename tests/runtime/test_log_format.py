"""Form of a line of the log: one event is one line, whatever a peer sends."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srvctl.runtime import log_format

anything = st.text() | st.binary() | st.binary().map(lambda data: data.decode("utf-8", "surrogateescape"))
PRINTABLE = re.compile(r"[ -~]+\n")


@given(peer=anything, path=anything)
def test_any_bytes_of_a_peer_make_one_line_of_text(peer: object, path: object) -> None:
    """Promise P21: printable ASCII, in the styles of text and the journal."""
    for style in ("text", "journal"):
        line = log_format.line(style, log_format.INFO, "event", {"peer": peer, "traceback": str(path)})
        assert PRINTABLE.fullmatch(line)


@given(peer=anything, path=anything)
def test_any_bytes_of_a_peer_make_one_object_of_json(peer: object, path: object) -> None:
    """Promise P21: valid JSON on one line."""
    line = log_format.line("json", log_format.INFO, "event", {"peer": peer, "traceback": str(path)})
    assert PRINTABLE.fullmatch(line)
    assert json.loads(line)["peer"] == str(peer)[: log_format.FIELD_MAX]


@given(value=anything, limit=st.integers(1, 50))
def test_a_field_is_quoted_so_that_it_can_be_read_back(value: object, limit: int) -> None:
    """Whatever is in it, it ends where it ends; and it is no longer than it may be."""
    text = log_format.escape(value, limit)
    assert re.fullmatch(r'[^ "=\\]+|"(?:[^"\\]|\\.)*"', text)
    assert len(text.replace('\\"', '"')) <= limit + len('"..."')


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("", '""'),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('say "x"', r'"say \"x\""'),
        ("line\nline", r'"line\nline"'),
        ("\x1b[31m", r'"\x1b[31m"'),
        ("é", r'"\xe9"'),
        (0.12345, "0.123"),
        (7, "7"),
    ],
)
def test_a_value_is_written_as_people_read_it(value: object, text: str) -> None:
    """Quoted where a space or a quote would end it."""
    assert log_format.escape(value) == text


def test_a_field_that_is_too_long_is_cut() -> None:
    """A peer cannot fill the disk with one event."""
    assert log_format.escape("x" * 5000) == "x" * log_format.FIELD_MAX + "..."


@given(causes=st.lists(anything.map(str), max_size=8))
def test_a_list_is_one_field_of_text_and_a_list_of_json_of_bounded_length(causes: list[str]) -> None:
    """Promise P21: however long a chain of causes is."""
    text = log_format.line("text", log_format.ERROR, "event", {"causes": list(causes)})
    assert PRINTABLE.fullmatch(text)
    assert len(text) < 60 + 2 * log_format.FIELD_MAX
    record = json.loads(log_format.line("json", log_format.ERROR, "event", {"causes": list(causes)}))
    assert "".join(record["causes"]) == "".join(causes)[: log_format.FIELD_MAX]


def test_a_list_of_json_ends_where_a_field_does() -> None:
    """The last text that has room is cut, and those after it are left out."""
    record = json.loads(log_format.line("json", log_format.ERROR, "event", {"causes": ["a" * 1000, "b" * 1000, "c"]}))
    assert record["causes"] == ["a" * 1000, "b" * 24]


def test_plain_is_the_terminals_form_without_colour() -> None:
    """For NO_COLOR and for terminals that have none."""
    fields = {"peer": "\x1b[2J", "traceback": "one\ntwo"}
    coloured = log_format.line("terminal", log_format.ERROR, "event", dict(fields))
    plain = log_format.line("plain", log_format.ERROR, "event", dict(fields))
    assert re.fullmatch(r'\d\d:\d\d:\d\d event peer="\\x1b\[2J"\n    one\n    two\n', plain)
    assert re.sub(r"\x1b\[\d+m", "", coloured)[8:] == plain[8:]
