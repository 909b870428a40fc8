"""The handler `echo`, RFC 862."""

import socket

import pytest


@pytest.mark.parametrize("transport", ["tcp", "unix", "unix-seqpacket"])
def test_what_is_sent_comes_back(in_thread, connect, transport):
    """A connection gets its bytes back while it stays open."""
    client = connect(in_thread("echo", transport))
    for message in (b"one\n", b"no line \0\xff", b"x" * 1000):
        client.sendall(message)
        assert client.recv(len(message), socket.MSG_WAITALL) == message


@pytest.mark.parametrize("model", ["--sync", "--threads", "--fork"])
def test_each_model_serves_it(serve, model):
    """By its word, as on the command line."""
    assert serve("echo", "tcp", model).exchange(b"one\n" * 100_000) == b"one\n" * 100_000


@pytest.mark.parametrize("transport", ["udp", "unix-dgram"])
def test_a_datagram_comes_back(in_thread, connect, transport):
    """A datagram is answered with itself."""
    client = connect(in_thread("echo", transport))
    for message in (b"one", b"\0\xff", b"x" * 8000):
        client.send(message)
        assert client.recv(1 << 16) == message


@pytest.mark.parametrize("transport", ["tcp", "unix", "unix-seqpacket"])
def test_all_that_came_before_the_half_close_comes_back(in_thread, connect, receive_all, transport):
    """The end of the input ends the conversation, and not before everything was echoed."""
    client = connect(in_thread("echo", transport))
    sent = [bytes([number]) * 5000 for number in range(20)]
    for record in sent:
        client.sendall(record)
    client.shutdown(socket.SHUT_WR)
    assert b"".join(receive_all(client)) == b"".join(sent)


def test_records_keep_their_boundaries(in_thread, connect, receive_all):
    """On sequenced packets each record comes back as one record."""
    client = connect(in_thread("echo", "unix-seqpacket"))
    sent = [b"a\nb\n", b"c", b"d" * 100_000, b"e\n"]
    for record in sent:
        client.sendall(record)
    client.shutdown(socket.SHUT_WR)
    assert receive_all(client) == sent


def test_an_empty_datagram_is_not_answered(in_thread, connect):
    """Nothing to echo is nothing to send."""
    client = connect(in_thread("echo", "udp"))
    client.send(b"")
    client.send(b"second")
    assert client.recv(100) == b"second"
