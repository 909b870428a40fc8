"""The handler `time`, RFC 868."""

import time

import pytest

from srvctl.handlers import time as time_protocol


@pytest.mark.parametrize("transport", ["tcp", "unix", "unix-seqpacket"])
def test_a_connection_gets_the_number_and_is_closed(serve, connect, receive_all, transport):
    """The four bytes come at once, without a request, and are the whole conversation."""
    earliest = int(time.time())
    number = b"".join(receive_all(connect(serve("time", transport))))
    assert len(number) == 4
    assert earliest <= int.from_bytes(number, "big") - 2_208_988_800 <= time.time()


@pytest.mark.parametrize("transport", ["udp", "unix-dgram"])
def test_a_datagram_gets_the_number(serve, connect, transport):
    """The content of the datagram is ignored."""
    client = connect(serve("time", transport))
    client.send(b"now?")
    assert len(client.recv(100)) == 4


def test_a_request_of_less_than_four_bytes_gets_nothing(serve, connect, monkeypatch):
    """Also the empty one of RFC 868, which is the amplifier's; the guard is the default."""
    service = serve("time", "udp")
    client = connect(service)
    client.send(b"")
    client.send(b"123")
    service.wait_until_handled()
    service.wait_until_handled()
    monkeypatch.setattr(time_protocol, "now", lambda: b"next")
    client.send(b"1234")
    assert client.recv(100) == b"next"


def test_without_the_guard_an_empty_datagram_gets_the_number(serve, connect):
    """RFC 868: "the user sends an empty datagram"."""
    client = connect(serve("time", "udp", guard=False))
    client.send(b"")
    assert len(client.recv(100)) == 4


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
