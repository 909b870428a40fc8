"""What supervisor and worker say to each other."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from srvctl.runtime.channel import Channel, ChannelClosed

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    """Both ends, here in one process."""
    ours, theirs = Channel.pair()
    other = Channel(theirs)
    yield ours, other
    ours.close()
    other.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(word=st.text(), values=st.dictionaries(st.text().map("k{}".format), plain | st.lists(plain)))
def test_a_message_arrives_as_it_was_sent(ends: tuple[Channel, Channel], word: str, values: dict[str, object]) -> None:
    """A word and plain values."""
    ours, other = ends
    ours.send(word, **values)
    assert other.receive() == (word, values)


def test_messages_keep_their_boundaries_and_order(ends: tuple[Channel, Channel]) -> None:
    """However many have come before one looks."""
    ours, other = ends
    for n in range(3):
        ours.send("figures", number=n)
    assert list(other.pending()) == [("figures", {"number": n}) for n in range(3)]
    assert list(other.pending()) == []


def test_a_long_message_is_whole(ends: tuple[Channel, Channel]) -> None:
    """The frames of a module that failed to import."""
    ours, other = ends
    ours.send("failed", detail="x" * 200_000)
    assert other.receive() == ("failed", {"detail": "x" * 200_000})


def test_the_end_of_the_other_side_comes_behind_what_it_said(ends: tuple[Channel, Channel]) -> None:
    """What a worker said last is heard, and then that it is gone."""
    ours, other = ends
    ours.send("drained", cut=1)
    ours.close()
    messages = other.pending()
    assert next(messages) == ("drained", {"cut": 1})
    with pytest.raises(ChannelClosed):
        next(messages)
    with pytest.raises(ChannelClosed):
        other.receive()


def test_sending_to_who_is_gone_is_no_error(ends: tuple[Channel, Channel]) -> None:
    """That shows as its end."""
    ours, other = ends
    other.close()
    ours.send("drain", seconds=1.0)


def test_sending_never_waits_for_who_does_not_read(ends: tuple[Channel, Channel]) -> None:
    """A stuck worker does not make the supervisor one."""
    ours, other = ends
    for _ in range(100):
        ours.send("report", padding="x" * 100_000)
    assert 0 < len(list(other.pending())) < 100


def test_both_directions_are_one_channel(ends: tuple[Channel, Channel]) -> None:
    """Down and up."""
    ours, other = ends
    ours.send("report")
    other.send("figures")
    assert ours.receive() == ("figures", {})
    assert other.receive() == ("report", {})


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
        for happen in (lambda: ours.send("hurry"), ours.close):
            happen()
            assert select.select([read], [], [], 20)[0], "no signal came"
            assert set(read.recv(100)) == {signal.SIGIO}
    finally:
        other.close()
        signal.set_wakeup_fd(previous)
        signal.signal(signal.SIGIO, before)
        read.close()
        write.close()
