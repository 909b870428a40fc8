"""The handler `daytime`, RFC 867."""

import time

import pytest

from srvctl.handlers import daytime


@pytest.mark.parametrize("transport", ["tcp", "unix", "unix-seqpacket"])
def test_a_connection_gets_one_line_and_is_closed(serve, connect, receive_all, transport):
    """The line comes at once, without a request, and is the whole conversation."""
    earliest = int(time.time())
    line = b"".join(receive_all(connect(serve("daytime", transport)))).decode("ascii")
    assert line.endswith("\r\n")
    told = time.mktime(time.strptime(line.rpartition("-")[0], "%A, %B %d, %Y %H:%M:%S"))
    assert earliest <= told <= time.time()


@pytest.mark.parametrize("transport", ["udp", "unix-dgram"])
def test_a_datagram_gets_one_line(serve, connect, transport):
    """The content of the datagram is ignored, RFC 867."""
    client = connect(serve("daytime", transport, format="it is now"))
    client.send(b"?" * 512)
    assert client.recv(1000) == b"it is now\r\n"


def test_a_request_that_is_shorter_than_the_line_gets_none(serve, connect):
    """A line that would have to be cut, or would be longer than its request, is not sent."""
    service = serve("daytime", "udp", format="first")
    client = connect(service)
    client.send(b"")
    client.send(b"123456")
    service.wait_until_handled()
    service.wait_until_handled()
    service.handler.format = "second"
    client.send(b"12345678")
    assert client.recv(1000) == b"second\r\n"


def test_on_a_unix_socket_the_shortest_request_is_answered(serve, connect):
    """The sender of a unix datagram cannot be forged."""
    client = connect(serve("daytime", "unix-dgram"))
    client.send(b"")
    assert client.recv(1000).endswith(b"\r\n")


def test_the_line_is_ascii_whatever_the_format():
    """RFC 867 allows printing characters of ASCII; others are replaced."""
    assert daytime.now("caf\N{LATIN SMALL LETTER E WITH ACUTE}") == b"caf?\r\n"


def test_the_default_is_the_form_that_the_rfc_calls_popular(monkeypatch):
    """RFC 867: "Tuesday, February 22, 1982 17:37:43-PST"; its author had the weekday wrong."""
    moment = (1982, 2, 22, 17, 37, 43, 0, 53, 0)
    strftime = time.strftime
    monkeypatch.setattr(time, "strftime", lambda format: strftime(format, moment))
    assert daytime.now(daytime.Stream.format).startswith(b"Monday, February 22, 1982 17:37:43-")
