"""Rows of defects.md about datagrams."""

from __future__ import annotations

import array
import os
import select
import socket
import struct
import threading

import pytest

from srvctl.socketserver.datagram import IPV6_PKTINFO, answer_from
from tests.socketserver.running import (
    GRACE,
    PATIENCE,
    datagram_client,
    echo_datagram,
    make,
    mended,
    ours,
    patience,
    serving,
)


def ask_datagram(server, client, data):
    """Send a datagram and return the answer, or None when there is none in time."""
    client.send(data)
    return client.recv(65536) if select.select([client], [], [], patience(server))[0] else None


@mended("C31")
def test_a_long_datagram_is_taken_whole(impl):
    """C31: a datagram of 20,000 bytes reaches the handler as it was sent."""
    server = make(impl, "UDPServer", echo_datagram)
    with serving(server), datagram_client(server) as client:
        assert ask_datagram(server, client, b"x" * 20_000) == b"x" * 20_000


@mended("C31")
def test_a_datagram_that_is_too_long_is_dropped_and_never_cut(impl):
    """C31: beyond `max_packet_size` there is no answer to a part; the next datagram is served."""
    server = make(impl, "UDPServer", echo_datagram, max_packet_size=100)
    with serving(server), datagram_client(server) as client:
        client.send(b"x" * 101)
        assert ask_datagram(server, client, b"y" * 100) == b"y" * 100


def test_a_datagram_that_is_too_long_is_told():
    """C31: what was dropped is told to datagram_truncated()."""
    told = []
    server = make(
        ours,
        "UDPServer",
        echo_datagram,
        max_packet_size=1,
        datagram_truncated=lambda server, sender, suppressed: told.append((sender, suppressed)),
    )
    with serving(server), datagram_client(server) as client:
        client.send(b"xx")
        client.send(b"xx")
        assert ask_datagram(server, client, b"y") == b"y"
        assert told == [(client.getsockname(), 0), (client.getsockname(), -1)]


@mended("C32")
def test_a_handler_that_wrote_nothing_sends_nothing(impl):
    """C32: no answer is no datagram, and not an empty one."""

    class Quiet(impl.DatagramRequestHandler):
        def handle(self):
            if self.packet != b"quiet":
                self.wfile.write(self.packet)

    server = make(impl, "UDPServer", Quiet)
    with serving(server), datagram_client(server) as client:
        client.send(b"quiet")
        assert ask_datagram(server, client, b"loud") == b"loud"


@mended("C34")
@pytest.mark.parametrize("harm", ["close", "settimeout", "setblocking", "shutdown"])
def test_a_handler_cannot_harm_the_socket_of_the_others(impl, harm):
    """C34: what a handler does to its socket is not done to the server's."""

    def harmful(request, client_address, server):
        data, sock = request
        if data == b"harm":
            getattr(sock, harm)(*{"settimeout": [1e-6], "setblocking": [False], "shutdown": [2]}.get(harm, []))
            sock.sendto(b"%d" % (server.socket.fileno() >= 0), client_address)
        else:
            sock.sendto(b"%r" % server.socket.gettimeout(), client_address)

    server = make(impl, "UDPServer", harmful)
    with serving(server), datagram_client(server) as client:
        before = ask_datagram(server, client, b"look")
        assert ask_datagram(server, client, b"harm") == b"1"
        assert ask_datagram(server, client, b"look") == before


@mended("C35")
def test_the_answer_comes_from_the_address_that_was_asked(impl):
    """C35: a server on every interface answers 127.0.0.2 as 127.0.0.2; the connected client gets it."""
    server = make(impl, "UDPServer", echo_datagram)
    server.server_close()
    server = type(server)(("0.0.0.0", 0), echo_datagram)
    with serving(server), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.2", server.server_address[1]))
        assert ask_datagram(server, client, b"who?") == b"who?"


def test_the_answer_comes_from_there_on_a_socket_that_was_handed_over_too():
    """C35: a socket that systemd made is asked for the same."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("0.0.0.0", 0))
    server = ours.UDPServer(sock.getsockname(), echo_datagram, sock=sock)
    with serving(server), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.3", server.server_address[1]))
        assert ask_datagram(server, client, b"who?") == b"who?"


def test_answers_on_ipv6_come_from_the_address_that_was_asked():
    """C35: in6_pktinfo is answered with its address, and with the interface for a link-local one only."""
    for text, interface in (("2001:db8::1", 0), ("::1", 0), ("fe80::1", 3)):
        came = struct.pack("=16si", socket.inet_pton(socket.AF_INET6, text), 3)
        level, kind, data = answer_from((socket.IPPROTO_IPV6, IPV6_PKTINFO, came))
        assert (level, kind) == (socket.IPPROTO_IPV6, IPV6_PKTINFO)
        assert struct.unpack("=16si", data) == (socket.inet_pton(socket.AF_INET6, text), interface)


def test_an_icmp_error_is_about_one_peer():
    """C36: that an answer could not be delivered comes back as an error of the socket; the next client is served."""
    lost = []
    server = make(ours, "UDPServer", echo_datagram, connection_lost=lambda server, error: lost.append(error))
    server.socket.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR, ip(7): have the kernel report them
    with serving(server, poll_interval=600) as run:
        with datagram_client(server) as gone:
            gone.send(b"and away")
        with datagram_client(server) as client:
            # The error may hit the answer to this one, as send(2) may report it as well: so once more.
            client.send(b"hello")
            client.send(b"hello")
            assert client.recv(10) == b"hello"
        assert run.is_serving()


@mended("C39")
@pytest.mark.filterwarnings("ignore:.*allow_reuse_address:RuntimeWarning")
def test_nobody_else_can_take_the_port_of_a_datagram_server(impl):
    """C39: `allow_reuse_address` does not let another process bind the same port and take half of the datagrams."""
    server = make(impl, "UDPServer", echo_datagram, allow_reuse_address=True)
    try:
        with pytest.raises(OSError, match="in use"):
            type(server)(server.server_address, echo_datagram).server_close()
    finally:
        server.server_close()


def test_reuse_of_a_datagram_address_is_a_warning():
    """C39: the attribute is not ignored in silence."""
    with pytest.warns(RuntimeWarning, match="allow_reuse_address"):
        make(ours, "UDPServer", echo_datagram, allow_reuse_address=True).server_close()


@pytest.mark.parametrize("name", ["TCPServer", "UDPServer"])
def test_two_servers_do_not_share_a_port_unless_both_say_so(name):
    """C40: `allow_reuse_port` is off by default, and for one server alone it is no way in."""
    server = make(ours, name, echo_datagram)
    try:
        with pytest.raises(OSError, match="in use"):
            type("Sharing", (type(server),), {"allow_reuse_port": True})(server.server_address, echo_datagram)
    finally:
        server.server_close()


# --- unix datagrams


@mended("C33")
def test_a_unix_peer_without_a_name_is_one_way(impl, tmp_path):
    """C33: a datagram from a client that has no address is handled, and that it gets no answer is no error."""
    handled, errors = threading.Event(), []

    class Answer(impl.DatagramRequestHandler):
        def handle(self):
            self.wfile.write(self.packet)

        def finish(self):
            try:
                super().finish()
            except BaseException as error:
                errors.append(error)
            handled.set()

    server = make(impl, "UnixDatagramServer", Answer, tmp_path)
    with serving(server), datagram_client(server) as client:
        client.send(b"hello")
        assert handled.wait(PATIENCE)
    assert errors == []


@mended("C33")
def test_a_unix_peer_that_has_gone_is_no_error(impl, tmp_path):
    """C33: the sender of a datagram may be gone when the answer is ready."""
    gone, handled, errors = threading.Event(), threading.Event(), []

    class Answer(impl.DatagramRequestHandler):
        def handle(self):
            gone.wait(PATIENCE)
            self.wfile.write(self.packet)

        def finish(self):
            try:
                super().finish()
            except BaseException as error:
                errors.append(error)
            handled.set()

    server = make(impl, "UnixDatagramServer", Answer, tmp_path)
    with serving(server):
        with datagram_client(server, tmp_path / "c") as client:
            client.send(b"hello")
        gone.set()
        assert handled.wait(PATIENCE)
    assert errors == []


def test_descriptors_that_a_unix_peer_sends_do_not_stay_open(tmp_path):
    """C33: a peer can attach descriptors to a datagram, unix(7); they are not this process's to keep, or to send on."""
    server = make(ours, "UnixDatagramServer", echo_datagram, tmp_path)
    read, write = os.pipe()
    with serving(server), datagram_client(server, tmp_path / "c") as client:
        client.sendmsg([b"look"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [write]))])
        data, ancillary, _, _ = client.recvmsg(100, 100)
        assert (data, ancillary) == (b"look", [])
        os.close(write)
        assert select.select([read], [], [], PATIENCE)[0], "somebody has the other end of the pipe"
        assert os.read(read, 1) == b""
    os.close(read)


@pytest.mark.parametrize("name", ["UnixDatagramServer", "ThreadingUnixDatagramServer"])
def test_an_answer_waits_for_a_unix_peer_that_reads_late(name, tmp_path):
    """C37: the server's socket does not block when it receives; a handler's answer is not lost for that."""
    server = make(ours, name, echo_datagram, tmp_path)
    size = 100  # max_dgram_qlen of unix(7) is 10 here; where it is hundreds nobody has to wait
    with serving(server), datagram_client(server, tmp_path / "c") as client:
        sender = threading.Thread(target=lambda: [client.send(b"%d" % n) for n in range(size)], daemon=True)
        sender.start()
        sender.join(GRACE)  # both queues are full by now, or everything is through
        assert {client.recv(10) for _ in range(size)} == {b"%d" % n for n in range(size)}
        sender.join(PATIENCE)
