"""The channel between a supervisor and its worker, and the messages on it."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from srvctl.runtime import wire
from srvctl.runtime.channel import BadMessage, Channel, ChannelClosed, Message


class Word(Message):
    """Messages of these tests."""

    HELLO = "hello"
    TEXT = "text", "text"
    PAIR = "pair", "left", "right"
    NUMBER = "number", "number"

    @classmethod
    def is_valid(cls, name: str, value: object) -> bool:
        return name != "number" or (isinstance(value, int) and value >= 0)


plain = (
    st.none() | st.booleans() | st.integers(-(2**200), 2**200) | st.floats(allow_nan=False) | st.text() | st.binary()
)


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    """Both ends, here in one process."""
    ours, theirs = Channel.pair(Word)
    other = Channel(theirs, Word)
    yield ours, other
    ours.close()
    other.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(left=plain, right=st.dictionaries(st.text(), plain | st.lists(plain)))
def test_a_message_arrives_as_it_was_sent(ends: tuple[Channel, Channel], left: object, right: object) -> None:
    """A word and plain values."""
    ours, other = ends
    ours.send(Word.PAIR, left=left, right=right)
    assert other.receive() == (Word.PAIR, {"left": left, "right": right})


@pytest.mark.parametrize("values", [{}, {"left": 1}, {"left": 1, "right": 2, "more": 3}], ids=len)
def test_a_message_carries_what_it_says(ends: tuple[Channel, Channel], values: dict[str, int]) -> None:
    """A value that is missing, or is one too many, is a mistake of the sender."""
    with pytest.raises(TypeError):
        ends[0].send(Word.PAIR, **values)


def test_a_message_of_another_version_is_skipped(ends: tuple[Channel, Channel]) -> None:
    """The next one is read all the same."""
    ours, other = ends
    ours.socket.send(wire.dumps(("unknown", {})))
    ours.send(Word.HELLO)
    assert other.receive() == (Word.HELLO, {})


@pytest.mark.parametrize(
    "packet",
    [
        b"what a handler wrote to the wrong descriptor",
        wire.dumps(("pair", {"left": 1})),
        wire.dumps(("text", 5)),
        wire.dumps(5),
        wire.dumps((["hello"], {})),
        wire.dumps(("number", {"number": -1})),
    ],
    ids=["no message", "value missing", "no values", "no word", "word of another type", "value not valid"],
)
def test_a_packet_that_is_no_message_is_an_error_of_the_sender(ends: tuple[Channel, Channel], packet: bytes) -> None:
    """Whoever reads decides what becomes of it."""
    ours, other = ends
    ours.socket.send(packet)
    with pytest.raises(BadMessage):
        other.receive()


def test_a_flood_of_messages_is_read_in_parts(ends: tuple[Channel, Channel]) -> None:
    """So that the reader gets to its other work between them; none is lost."""
    ours, other = ends
    for number in range(100):
        ours.send(Word.NUMBER, number=number)
    read = [[values["number"] for _, values in other.pending()] for _ in range(3)]
    assert [number for part in read for number in part] == list(range(100))
    assert len(read[0]) == 64


def test_values_that_a_later_version_adds_are_dropped(ends: tuple[Channel, Channel]) -> None:
    """The reader gets those that it knows."""
    ours, other = ends
    ours.socket.send(wire.dumps(("text", {"text": "x", "more": 1})))
    assert list(other.pending()) == [(Word.TEXT, {"text": "x"})]


def test_words_of_another_version_are_translated() -> None:
    """In both directions."""
    ours, theirs = Channel.pair(Word)
    other = Channel(theirs, Word, lambda message: "old " + message.value, lambda word, values: (word[4:], values))
    with closing(ours), closing(other):
        other.send(Word.HELLO)
        assert wire.loads(ours.socket.recv(100)) == ("old hello", {})
        ours.socket.send(wire.dumps(("old text", {"text": "x"})))
        assert other.receive() == (Word.TEXT, {"text": "x"})


def test_messages_keep_their_boundaries_and_order(ends: tuple[Channel, Channel]) -> None:
    """However many have come before one looks."""
    ours, other = ends
    for n in range(3):
        ours.send(Word.TEXT, text=n)
    assert list(other.pending()) == [(Word.TEXT, {"text": n}) for n in range(3)]
    assert list(other.pending()) == []


def test_a_long_message_is_whole(ends: tuple[Channel, Channel]) -> None:
    """The frames of a module that failed to import."""
    ours, other = ends
    ours.send(Word.TEXT, text="x" * 200_000)
    assert other.receive() == (Word.TEXT, {"text": "x" * 200_000})


def test_the_end_of_the_other_process_comes_after_its_last_message(ends: tuple[Channel, Channel]) -> None:
    """What a worker said last is heard, and then that it is gone."""
    ours, other = ends
    ours.send(Word.TEXT, text=1)
    ours.close()
    messages = other.pending()
    assert next(messages) == (Word.TEXT, {"text": 1})
    with pytest.raises(ChannelClosed):
        next(messages)
    with pytest.raises(ChannelClosed):
        other.receive()


def test_sending_to_who_is_gone_is_no_error(ends: tuple[Channel, Channel]) -> None:
    """That shows as its end."""
    ours, other = ends
    other.close()
    ours.send(Word.HELLO)


def test_sending_never_waits_for_who_does_not_read(ends: tuple[Channel, Channel]) -> None:
    """A stuck worker does not make the supervisor one."""
    ours, other = ends
    for _ in range(100):
        ours.send(Word.TEXT, text="x" * 100_000)
    assert 0 < len(list(other.pending())) < 100


def test_both_directions_are_one_channel(ends: tuple[Channel, Channel]) -> None:
    """Down and up."""
    ours, other = ends
    ours.send(Word.HELLO)
    other.send(Word.TEXT, text="")
    assert ours.receive() == (Word.TEXT, {"text": ""})
    assert other.receive() == (Word.HELLO, {})


def test_neither_end_is_inherited(ends: tuple[Channel, Channel]) -> None:
    """A handler's program would keep a supervisor that is gone alive."""
    assert not any(os.get_inheritable(end.fileno()) for end in ends)


def test_a_message_raises_the_signal_that_was_asked_for(ends: tuple[Channel, Channel]) -> None:
    """For a worker whose loop stands still; so does the end of the other side."""
    ours, other = ends
    read, write = socket.socketpair()
    write.setblocking(False)
    before = signal.signal(signal.SIGIO, lambda number, frame: None)
    previous = signal.set_wakeup_fd(write.fileno())
    try:
        other.raise_signal(signal.SIGIO)
        for happen in (lambda: ours.send(Word.HELLO), ours.close):
            happen()
            assert select.select([read], [], [], 20)[0], "no signal came"
            assert set(read.recv(100)) == {signal.SIGIO}
    finally:
        other.close()
        signal.set_wakeup_fd(previous)
        signal.signal(signal.SIGIO, before)
        read.close()
        write.close()
