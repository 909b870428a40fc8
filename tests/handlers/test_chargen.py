"""The handler `chargen`, RFC 864."""

import socket
import socketserver
import threading

import pytest

from srvctl.handlers import chargen

PRINTABLE = bytes(range(32, 127))


def receive(sock, size):
    """Receive `size` bytes of a connection, or a little more of a record."""
    received = b""
    while len(received) < size:
        received += sock.recv(1 << 16)
    return received[:size]


@pytest.mark.parametrize("transport", ["tcp", "unix", "unix-seqpacket"])
def test_lines_come_without_a_request(in_thread, connect, transport):
    """Seventy-two characters a line, and each line begins one character further along."""
    service = in_thread("chargen", transport)
    client = connect(service)
    lines = receive(client, 74 * 200).split(b"\r\n")[:-1]
    assert lines[0] == PRINTABLE[:72]
    assert lines[1] == PRINTABLE[1:73]
    assert lines[94] == (PRINTABLE * 2)[94 : 94 + 72]
    assert lines[95] == lines[0]
    client.close()
    assert isinstance(service.errors.get(timeout=20), ConnectionError)


def test_it_ends_when_the_peer_goes(in_thread, connect):
    """That the peer has gone ends that conversation with a ConnectionError, and the next one is served."""
    service = in_thread("chargen", "tcp")
    for _ in range(3):
        client = connect(service)
        receive(client, 10_000)
        client.close()
        assert isinstance(service.errors.get(timeout=20), ConnectionError)


def test_it_ends_with_a_whole_line_when_the_server_drains(in_thread, connect, receive_all):
    """A server that was asked to stop need not cut it."""
    service = in_thread("chargen", "tcp")
    client = connect(service)
    receive(client, 1000)
    stopper = threading.Thread(target=service.server.shutdown)
    stopper.start()
    client.settimeout(20)
    rest = b"".join(receive_all(client))
    stopper.join()
    assert rest.endswith(b"\r\n")


def test_what_the_peer_sends_is_thrown_away(in_thread, connect, receive_all):
    """RFC 864: "Any data received is thrown away"."""
    service = in_thread("chargen", "tcp")
    client = connect(service)
    client.sendall(b"stop it\r\n" * 100)
    assert receive(client, 100_000).startswith(PRINTABLE[:72])
    client.close()
    assert isinstance(service.errors.get(timeout=20), ConnectionError)


@pytest.mark.parametrize("transport", ["udp", "unix-dgram"])
@pytest.mark.parametrize("size", [1, 73, 200, 512])
def test_a_datagram_gets_as_many_characters_as_it_has(in_thread, connect, transport, size):
    """So the answer can amplify nothing."""
    client = connect(in_thread("chargen", transport))
    client.send(b"?" * size)
    whole = b"".join(line + b"\r\n" for line in ((PRINTABLE * 2)[start : start + 72] for start in range(10)))
    assert client.recv(1 << 16) == whole[:size]


def test_no_datagram_gets_more_than_the_512_characters_of_the_rfc(in_thread, connect):
    """RFC 864: "a random number (between 0 and 512) of characters"."""
    client = connect(in_thread("chargen", "udp"))
    client.send(b"?" * 5000)
    assert len(client.recv(1 << 16)) == 512


@pytest.mark.parametrize("length", [0, 1, 95, 96, 500])
def test_the_lines_are_as_long_as_asked_for(in_thread, connect, length):
    """Also longer than the ring of characters."""
    client = connect(in_thread("chargen", "unix-dgram", line_length=length))
    client.send(b"?" * 512)
    lines = client.recv(1 << 16).split(b"\r\n")
    assert lines[0] == (PRINTABLE * 6)[:length]


def test_it_runs_under_the_standard_librarys_servers(opened):
    """Its servers have no ``draining``; there it ends when the peer goes."""
    ended = threading.Event()

    class Server(socketserver.TCPServer):
        def handle_error(self, request, client_address):
            ended.set()

    server = opened.enter_context(Server(("127.0.0.1", 0), chargen.Stream))
    with socket.create_connection(server.server_address, timeout=20) as client:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert receive(client, 72) == PRINTABLE[:72]
    thread.join()
    assert ended.is_set()
