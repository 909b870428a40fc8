"""The handler `qotd`, RFC 865."""

import time

from srvctl.handlers import qotd
from srvctl.testing import exchange, exchange_datagram


def test_a_connection_gets_the_quote_and_is_closed():
    """The quote comes at once, without a request, and is the whole conversation."""
    assert exchange(type("Stream", (qotd.Stream,), {"quote": "So it goes."})) == b"So it goes.\r\n"


def test_a_datagram_gets_the_quote():
    """The content of the datagram is ignored."""
    (answer,) = exchange_datagram(qotd.Datagram, b"?" * 512)
    assert answer.endswith(b"(RFC 1122)\r\n")


def test_a_request_that_is_shorter_than_the_quote_gets_none():
    """Half a quote is none."""
    handler = type("Datagram", (qotd.Datagram,), {"quote": "next"})
    assert exchange_datagram(handler, b"12345") == []
    assert exchange_datagram(handler, b"123456") == [b"next\r\n"]


def test_it_is_served_on_connections_and_datagrams(serve):
    """By its word, as on the command line."""
    assert serve("qotd", "unix", "--set", "quote=Hm.").exchange() == b"Hm.\r\n"
    assert serve("qotd", "unix-dgram", "--set", "quote=Hm.").exchange() == b"Hm.\r\n"


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
