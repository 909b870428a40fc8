"""The handler `qotd`, RFC 865."""

import time

import pytest

from srvctl.handlers import qotd


@pytest.mark.parametrize("transport", ["tcp", "unix", "unix-seqpacket"])
def test_a_connection_gets_the_quote_and_is_closed(serve, connect, receive_all, transport):
    """The quote comes at once, without a request, and is the whole conversation."""
    received = b"".join(receive_all(connect(serve("qotd", transport, quote="So it goes."))))
    assert received == b"So it goes.\r\n"


@pytest.mark.parametrize("transport", ["udp", "unix-dgram"])
def test_a_datagram_gets_the_quote(serve, connect, transport):
    """The content of the datagram is ignored."""
    client = connect(serve("qotd", transport))
    client.send(b"?" * 512)
    assert client.recv(1000).endswith(b"(RFC 1122)\r\n")


def test_a_request_that_is_shorter_than_the_quote_gets_none(serve, connect):
    """Half a quote is none."""
    service = serve("qotd", "udp", quote="first")
    client = connect(service)
    client.send(b"123456")
    service.wait_until_handled()
    service.handler.quote = "next"
    client.send(b"123456")
    assert client.recv(1000) == b"next\r\n"


def test_it_is_shorter_than_512_characters():
    """RFC 865's limit holds for a quote that the operator made longer."""
    assert len(qotd.todays_quote("x" * 600, "")) == 511


def test_lines_end_as_on_the_network_and_are_ascii():
    """RFC 865 allows printing characters of ASCII, spaces, and carriage returns with line feeds."""
    assert qotd.todays_quote("one\ntw\N{LATIN SMALL LETTER O WITH DIAERESIS}\n", "") == b"one\r\ntw?\r\n"


def test_a_file_has_a_quote_for_each_day(tmp_path, monkeypatch):
    """The days go through the quotes of the file in turn, and the file is read anew."""
    file = tmp_path / "quotes"
    file.write_text("%\nMonday's\n%\nTuesday's,\nof two lines\n%\n")
    told = []
    for day in range(3):
        monkeypatch.setattr(time, "time", lambda day=day: 86400.0 * day + 1)
        told.append(qotd.todays_quote("unused", str(file)))
    assert told == [b"Monday's\r\n", b"Tuesday's,\r\nof two lines\r\n", b"Monday's\r\n"]
    file.write_text("edited")
    assert qotd.todays_quote("unused", str(file)) == b"edited\r\n"


def test_a_file_without_quotes_leaves_the_quote(tmp_path):
    """An empty file is no reason to fail."""
    (tmp_path / "empty").touch()
    assert qotd.todays_quote("the quote", str(tmp_path / "empty")) == b"the quote\r\n"
