"""The handler `discard`, RFC 863."""

import socket

import pytest


@pytest.mark.parametrize("transport", ["tcp", "unix", "unix-seqpacket"])
def test_all_is_taken_and_nothing_comes_back(in_thread, connect, receive_all, transport):
    """A connection is read to its end, however much that is, and closed without a byte."""
    client = connect(in_thread("discard", transport))
    for _ in range(50):
        client.sendall(b"x" * 50_000)
    client.shutdown(socket.SHUT_WR)
    assert receive_all(client) == []


@pytest.mark.parametrize("transport", ["udp", "unix-dgram"])
def test_a_datagram_is_not_answered(in_thread, connect, is_silent, transport):
    """A datagram is taken, and that is all."""
    service = in_thread("discard", transport)
    client = connect(service)
    client.send(b"anyone there?")
    assert service.wait_until_handled()[0] == b"anyone there?"
    assert is_silent(client)
