"""P30: datagrams are taken whole or not at all."""

from __future__ import annotations

import signal

import pytest

from tests.launched import wait_until
from tests.promises.faults import MODELS, lines_with, short_and_long

UDP_MAX = 65_507  # 65,535 less the headers of IPv4 and UDP


@pytest.mark.parametrize(
    ("family", "address", "model"),
    [("udp4", "127.0.0.1:0", "--fork"), ("udp6", "[::1]:0", "--threads"), ("udp", ":0", "--sync")],
)
def test_the_longest_datagram_comes_whole_and_goes_back_whole(launch, family, address, model):
    """P30: 65,507 bytes are accepted, and echoed."""
    server = launch(family, address, model, "echo")
    with server.connect() as client:
        for size in (1, 1472, 1473, UDP_MAX - 1, UDP_MAX):
            question = bytes(n % 251 for n in range(size))
            client.send(question)
            assert client.recv(70_000) == question
    assert server.stop() == 0


@short_and_long("count", 20, 10_000)
@pytest.mark.parametrize("model", MODELS)
def test_a_datagram_that_is_too_long_is_dropped_and_counted(launch, place, model, count):
    """P30: of unix datagrams, which may be longer than any buffer, no part is ever handed over as if whole."""
    server = launch("unix-dgram", str(place / "s"), model, "promised:Measure")
    with server.connect() as client:
        for _ in range(count):
            client.send(b"x" * 65_536)
            client.send(b"x" * 100_000)
            client.send(b"x" * 65_535)
            assert client.recv(100) == b"65535"
        client.setblocking(False)
        with pytest.raises(BlockingIOError):  # nothing else was answered
            client.recv(100)

    def counted() -> bool:  # a conversation is counted behind its answer, a datagram behind its drop
        server.send_signal(signal.SIGUSR1)
        return any(f"served={count} " in line and f"truncated={2 * count} " in line for line in server.log.splitlines())

    wait_until(counted, "count of those that were served, and of those that were not", server)
    assert f"truncated={2 * count + 1} " not in server.log
    assert f"served={count + 1} " not in server.log
    assert 1 <= len(lines_with(server.log, "datagram dropped")) <= 1 + count // 100
    assert server.stop() == 0
