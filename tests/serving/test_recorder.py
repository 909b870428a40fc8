"""The record of connections: what a supervisor finds in it when the worker has died."""

from __future__ import annotations

import os
from collections.abc import Iterator
from time import monotonic

import pytest

from srvctl.runtime.current import ID_PREFIX
from srvctl.serving import recorder
from srvctl.serving.recorder import RECORD_BYTES, Recorder, read


@pytest.fixture
def memory() -> Iterator[int]:
    """Memory as a supervisor makes it."""
    fd = os.memfd_create("record", os.MFD_CLOEXEC)
    yield fd
    os.close(fd)


@pytest.mark.parametrize(
    ("host", "port", "peer"),
    [
        (b"192.0.2.1", 50000, "192.0.2.1:50000"),
        (b"2001:db8::1", 1, "[2001:db8::1]:1"),
        (b"/run/client", 0, "/run/client"),
        (b"\0name", 0, "@name"),
        (b"", 0, "-"),
        (b"/" + b"x" * 100, 0, "/" + "x" * 45),
        (b"\xff", 0, "\udcff"),
    ],
)
def test_a_connection_that_has_begun_is_found(memory: int, host: bytes, port: int, peer: str) -> None:
    """With its peer, its number and its time."""
    written = Recorder(memory)
    began = monotonic()
    written.begin(7 * RECORD_BYTES, began, 255, port, host)
    assert read(memory) == [(began, f"{ID_PREFIX}ff", peer)]


def test_a_connection_that_has_ended_is_not(memory: int) -> None:
    """Its place is the next one's."""
    written = Recorder(memory)
    for number in (1, 2, 3):
        written.begin(number * RECORD_BYTES, 1.0, number, 0, b"")
    written.end(2 * RECORD_BYTES, 0.0)
    written.begin(3 * RECORD_BYTES, 2.0, 9, 0, b"")
    found = read(memory)
    assert found is not None
    assert [(record.began, record.id) for record in found] == [(1.0, f"{ID_PREFIX}1"), (2.0, f"{ID_PREFIX}9")]


def test_the_first_and_the_last_place_are_there(memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no other: the limit is the one of descriptors, within reason."""
    for soft, limit in ((100, 100), (10**6, 65536), (recorder.resource.RLIM_INFINITY, 65536)):
        monkeypatch.setattr(recorder.resource, "getrlimit", lambda which, soft=soft: (soft, soft))
        written = Recorder(memory)
        assert written.limit == limit
        written.begin(0, 1.0, 1, 0, b"")
        written.begin((limit - 1) * RECORD_BYTES, 2.0, 2, 0, b"")
        found = read(memory)
        assert found is not None
        assert [record.began for record in found] == [1.0, 2.0]
        os.ftruncate(memory, 0)


def test_a_worker_that_recorded_nothing_is_not_one_that_served_nothing(memory: int) -> None:
    """Of datagrams, say, nothing is known."""
    assert read(memory) is None
    Recorder(memory)
    assert read(memory) == []


def test_what_is_no_record_raises_nothing(memory: int) -> None:
    """The worker may have been taken over."""
    os.write(memory, os.urandom(3 * RECORD_BYTES))
    found = read(memory)
    assert found is not None
    assert len(found) == 2
    for size in (RECORD_BYTES, 2 * RECORD_BYTES + 5, 2**40):
        os.ftruncate(memory, size)
        assert len(read(memory) or []) <= 2
