"""P21: whatever bytes a peer sends, one event is one line of printable ASCII, or of valid JSON."""

from __future__ import annotations

import json
import re
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srvctl.runtime import log_format
from tests.promises.faults import asked, lines_with, short_and_long

PRINTABLE = frozenset(string.ascii_letters + string.digits + string.punctuation + " ")
# What peers can put into an event: text of any code point, lone surrogates included, and bytes as the log gets them.
ANYTHING = st.one_of(
    st.text(st.characters(), max_size=2000),
    st.binary(max_size=2000).map(lambda data: data.decode("utf-8", "surrogateescape")),
    st.binary(max_size=2000).map(lambda data: data.decode("latin-1")),
    st.text(st.sampled_from('\\"= \n\r\x1b\x00\x7f\x85\u2028\u2029\ud800a'), max_size=2000),
)
FIELDS = st.dictionaries(st.sampled_from(["peer", "error", "why", "traceback"]), ANYTHING, min_size=1)


def check_text(line: str, most: int) -> None:
    """Check that `line` is one line of at most `most` printable characters."""
    assert line.endswith("\n")
    assert set(line[:-1]) <= PRINTABLE
    assert len(line) <= most


@short_and_long("examples", 300, 250_000)
def test_a_field_is_printable_bounded_and_can_be_told_from_the_next(examples):
    """P21: an escaped value is printable ASCII, about 1 KiB at most, and has no end but its own."""

    @settings(max_examples=examples, deadline=None, database=None)
    @given(ANYTHING)
    def check(value: str) -> None:
        escaped = log_format.escape(value)
        assert set(escaped) <= PRINTABLE
        if escaped.startswith('"'):
            assert re.fullmatch(r'"(?:[^"\\]|\\.)*"', escaped)
        else:
            assert not set(escaped) & set(' "=')
        # Quotation marks of what was cut are the only thing that can make it longer than the cap.
        assert len(escaped.replace('\\"', '"')) <= log_format.FIELD_MAX + len('"..."')

    check()


@short_and_long("examples", 200, 250_000)
@pytest.mark.parametrize("style", ["text", "journal"])
def test_an_event_is_one_line(style, examples):
    """P21: whatever its fields hold, an event is one line of printable ASCII."""

    @settings(max_examples=examples, deadline=None, database=None)
    @given(FIELDS)
    def check(fields: dict[str, str]) -> None:
        most = 200 + 2 * (log_format.TRACEBACK_MAX + 3 * log_format.FIELD_MAX)
        check_text(log_format.line(style, log_format.ERROR, "event", dict(fields)), most)

    check()


@short_and_long("examples", 200, 250_000)
def test_an_event_is_valid_json(examples):
    """P21: with ``--log-format json`` an event is one line that parses, of printable ASCII, with its fields cut."""

    @settings(max_examples=examples, deadline=None, database=None)
    @given(FIELDS, st.floats(allow_nan=False, allow_infinity=False), st.integers())
    def check(fields: dict[str, str], seconds: float, count: int) -> None:
        line = log_format.line("json", log_format.ERROR, "event", {**fields, "seconds": seconds, "count": count})
        assert set(line[:-1]) <= PRINTABLE
        assert line[-1] == "\n"

        def refuse(name: str) -> None:
            raise AssertionError(f"{name} is not JSON, RFC 8259")

        record = json.loads(line, parse_constant=refuse)
        for name, value in fields.items():
            most = log_format.TRACEBACK_MAX if name == "traceback" else log_format.FIELD_MAX
            assert record[name] == value[:most]
        assert record["count"] == count

    check()


# Each ends a line for somebody: a terminal, a pager, Python's splitlines, a parser of key=value.
INJECTIONS = [
    b"\xff\xfe\x00",
    b"\x1b[2J\x1b]0;title\x07",
    b"\r2026-01-01T00:00:00.000Z notice stopped cut=0",
    b"\x0b\x0c\x1c\x1d\x1e\xc2\x85\xe2\x80\xa8\xe2\x80\xa9",
    b'" how=done peer="',
    b"\\" * 2000,
    b'"' * 3000,
    b"x" * 100_000,
]


@pytest.mark.parametrize("style", ["text", "json"])
@pytest.mark.parametrize("model", ["--threads", "--fork"])
def test_an_exception_with_a_clients_bytes_in_it_is_one_line(launch, style, model):
    """P21: a real server's handler raises what a client sent, and the log has one line for it, cut at 1 KiB."""
    server = launch("tcp4", "127.0.0.1:0", model, "--log-format", style, "promised:RaiseAny")
    for n, text in enumerate(INJECTIONS):
        assert asked(server, b"ValueError " + text + b"\n") == b""
        server.wait_for_log("handler failed", n + 1)
    assert server.stop() == 0
    assert set(server.log) <= PRINTABLE | {"\n"}
    failed = lines_with(server.log, "handler failed")
    assert len(failed) == len(INJECTIONS)
    # The first has the frames of its traceback too.
    assert max(map(len, failed[1:])) < 2 * log_format.FIELD_MAX + 300
    # Each line begins as one of ours does, the start's and the stop's included.
    begin = r"\{\"time\": \"" if style == "json" else r""
    assert all(re.match(begin + r"\d{4}-\d\d-\d\dT", line) for line in server.log.splitlines())
    if style == "json":
        assert all(json.loads(line)["event"] for line in server.log.splitlines())
    else:
        assert len(lines_with(server.log, " notice stopped ")) == 2
        assert server.log.count("\n") == len(server.log.splitlines())
