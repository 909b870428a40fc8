"""The handler `time`, RFC 868."""

import time

import pytest

from srvctl.handlers import time as time_protocol
from srvctl.testing import exchange, exchange_datagram


def test_a_connection_gets_the_number_and_is_closed():
    """The four bytes come at once, without a request, and are the whole conversation."""
    earliest = int(time.time())
    number = exchange(time_protocol.Stream)
    assert len(number) == 4
    assert earliest <= int.from_bytes(number, "big") - 2_208_988_800 <= time.time()


def test_a_datagram_gets_the_number(monkeypatch):
    """The content of the datagram is ignored."""
    monkeypatch.setattr(time_protocol, "now", lambda: b"\1\2\3\4")
    assert exchange_datagram(time_protocol.Datagram, b"now?") == [b"\1\2\3\4"]


def test_a_request_of_less_than_four_bytes_gets_nothing():
    """Also the empty one of RFC 868, which is the amplifier's; the guard is the default."""
    assert exchange_datagram(time_protocol.Datagram) == exchange_datagram(time_protocol.Datagram, b"123") == []


def test_without_the_guard_an_empty_datagram_gets_the_number():
    """RFC 868: "the user sends an empty datagram"."""
    (number,) = exchange_datagram(type("Open", (time_protocol.Datagram,), {"guard": False}))
    assert len(number) == 4


def test_it_is_served_on_connections_and_datagrams(serve):
    """By its word, as on the command line."""
    assert len(serve("time", "unix").exchange()) == len(serve("time", "unix-dgram").exchange()) == 4


@pytest.mark.parametrize(
    ("unix_time", "number"),
    [
        (1, 2_208_988_801),  # the examples of RFC 868
        (199_065_600, 2_398_291_200 + 9_763_200),
        (2_085_978_495, 2**32 - 1),
        (2_085_978_496, 0),  # 2036-02-07 06:28:16 UTC
    ],
)
def test_the_number_counts_from_1900_and_begins_again_in_2036(monkeypatch, unix_time, number):
    """The examples of the RFC, and the last and the first second of an era."""
    monkeypatch.setattr(time, "time", lambda: unix_time + 0.5)
    assert time_protocol.now() == number.to_bytes(4, "big")
