"""The handler `daytime`, RFC 867."""

import time

from srvctl.handlers import daytime
from srvctl.testing import exchange, exchange_datagram


class Now(daytime.Datagram):
    format = "it is now"


def test_a_connection_gets_one_line_and_is_closed():
    """The line comes at once, without a request, and is the whole conversation."""
    earliest = int(time.time())
    line = exchange(daytime.Stream).decode("ascii")
    assert line.endswith("\r\n")
    told = time.mktime(time.strptime(line.rpartition("-")[0], "%A, %B %d, %Y %H:%M:%S"))
    assert earliest <= told <= time.time()


def test_a_datagram_gets_one_line():
    """The content of the datagram is ignored, RFC 867."""
    assert exchange_datagram(Now, b"?" * 512) == [b"it is now\r\n"]


def test_a_request_that_is_shorter_than_the_line_gets_none():
    """A line that would have to be cut, or would be longer than its request, is not sent."""
    assert exchange_datagram(Now) == exchange_datagram(Now, b"1234567890") == []
    assert exchange_datagram(Now, b"1234567890\r\n"[:11]) == [b"it is now\r\n"]


def test_on_a_unix_socket_the_shortest_request_is_answered():
    """The sender of a unix datagram cannot be forged."""
    assert exchange_datagram(Now, client_address="/run/client") == [b"it is now\r\n"]


def test_it_is_served_on_connections_and_datagrams(serve):
    """By its word, as on the command line."""
    assert serve("daytime", "unix", "--set", "format=it is now").exchange() == b"it is now\r\n"
    assert serve("daytime", "unix-dgram", "--set", "format=it is now").exchange() == b"it is now\r\n"


def test_the_line_is_ascii_whatever_the_format():
    """RFC 867 allows printing characters of ASCII; others are replaced."""
    assert daytime.now("caf\N{LATIN SMALL LETTER E WITH ACUTE}") == b"caf?\r\n"


def test_the_default_is_the_form_that_the_rfc_calls_popular(monkeypatch):
    """RFC 867: "Tuesday, February 22, 1982 17:37:43-PST"; its author had the weekday wrong."""
    moment = (1982, 2, 22, 17, 37, 43, 0, 53, 0)
    strftime = time.strftime
    monkeypatch.setattr(time, "strftime", lambda format: strftime(format, moment))
    assert daytime.now(daytime.Stream.format).startswith(b"Monday, February 22, 1982 17:37:43-")
