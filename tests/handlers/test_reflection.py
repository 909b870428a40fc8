"""The guard that the datagram handlers share."""

import pytest

from srvctl.handlers import chargen, daytime, echo, qotd
from srvctl.handlers import time as time_protocol
from srvctl.handlers.shared.amplification_guard import GuardedDatagramHandler
from srvctl.testing import exchange_datagram


class Repeat(GuardedDatagramHandler):
    """Answer with the first letter, as often as the number behind it says."""

    def handle(self):
        letter, count = self.packet[:1], self.packet[1:4]
        self.wfile.write(letter * int(count))


@pytest.mark.parametrize("module", [echo, daytime, time_protocol, chargen, qotd])
def test_every_handler_that_answers_has_the_guard(module):
    """It is on unless it is turned off."""
    assert issubclass(module.Datagram, GuardedDatagramHandler)
    assert module.Datagram.guard is True


def test_an_answer_longer_than_its_request_is_not_sent():
    """It is dropped, and not cut."""
    assert exchange_datagram(Repeat, b"a005") == []
    assert exchange_datagram(Repeat, b"b004") == [b"bbbb"]


def test_without_the_guard_a_longer_answer_is_sent():
    """``guard`` is the way out."""
    assert exchange_datagram(type("Open", (Repeat,), {"guard": False}), b"a005") == [b"aaaaa"]


def test_on_a_unix_socket_a_longer_answer_is_sent():
    """The sender of a unix datagram cannot be forged."""
    assert exchange_datagram(Repeat, b"a005", client_address="/run/client") == [b"aaaaa"]


def test_port_1024_is_answered():
    """The line is drawn below it."""
    assert exchange_datagram(echo.Datagram, b"x", client_address=("192.0.2.1", 1023)) == []
    (answer,) = exchange_datagram(echo.Datagram, b"x", client_address=("2001:db8::1", 1024, 0, 0))
    assert (answer, answer.address) == (b"x", ("2001:db8::1", 1024, 0, 0))


def test_a_port_below_1024_is_not_answered(in_thread, connect, low_port):
    """The first answer to arrive at it is that to the request after the guard was turned off."""
    service = in_thread("echo", "udp")
    client = connect(service, bind_to=low_port())
    client.send(b"first")
    assert service.wait_until_handled()[0] == b"first"
    service.handler.guard = False
    client.send(b"second")
    assert client.recv(100) == b"second"


def forge(victim, other, data):
    """Send `data` to one service from the address of another, as a forger would."""
    other.server.socket.sendto(data, victim.address)


def test_two_echo_services_on_low_ports_cannot_be_set_on_each_other(in_thread, connect, low_port):
    """The one that gets the forged datagram does not answer the other (CVE-2024-2169)."""
    one = in_thread("echo", "udp", address=low_port())
    two = in_thread("echo", "udp", address=low_port())
    forge(one, two, b"ping pong")
    assert one.wait_until_handled()[0] == b"ping pong"
    client = connect(two)
    client.send(b"first")
    assert client.recv(100) == b"first"
    assert two.wait_until_handled()[0] == b"first"


def test_without_the_guard_they_go_on_for_ever(in_thread, low_port):
    """What the test before would see."""
    one = in_thread("echo", "udp", address=low_port(), guard=False)
    two = in_thread("echo", "udp", address=low_port(), guard=False)
    forge(one, two, b"ping pong")
    for _ in range(100):
        assert one.wait_until_handled()[0] == b"ping pong"
        assert two.wait_until_handled()[0] == b"ping pong"


def test_what_is_not_answered_is_in_the_log(launch):
    """Once in a while, with the way out."""
    server = launch("udp4", "127.0.0.1:0", "daytime")
    with server.connect() as client:
        client.send(b"")
        server.wait_for_log("answer dropped")
    assert "--set guard=no sends it" in server.log


def test_a_flood_of_one_sender_is_not_answered(launch):
    """So that two services cannot be set on each other; the server counts that as refused."""
    server = launch("udp4", "127.0.0.1:0", "--threads", "echo")
    with server.connect() as client:
        for _ in range(1000):
            client.send(b"x")
        server.wait_for_log('refused reason="datagram guard"')
