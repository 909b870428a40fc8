"""P12: clients that connect when the server stops."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading

import pytest

from tests.launched import freeze, receive_all
from tests.promises.faults import MODELS, ask, clients, short_and_long

FAMILIES = [("tcp4", "127.0.0.1:0"), ("tcp", ":0"), ("unix", "@srvctl-{}"), ("unix-seqpacket", "@srvctl-{}")]


def address_of(text: str) -> str:
    """Return an address that nobody else has."""
    return text.format(os.urandom(6).hex())


@pytest.mark.parametrize(
    ("family", "address", "model"),
    [
        *((*FAMILIES[0], model) for model in MODELS),
        (*FAMILIES[1], "--threads"),
        (*FAMILIES[2], "--sync"),
        (*FAMILIES[3], "--fork"),
    ],
)
def test_clients_in_our_queue_are_answered(launch, family, address, model):
    """P12: what the kernel has queued when TERM comes is served: 0 lost."""
    server = launch(family, address_of(address), model, "myapp:Echo")
    worker = server.worker
    freeze(worker)
    with clients(server, 50) as connected:
        for client in connected:
            client.sendall(b"ping\n")
        server.send_signal(signal.SIGTERM)
        server.wait_for_log("stopping")
        os.kill(worker, signal.SIGCONT)
        for client in connected:
            if family == "unix-seqpacket":
                assert client.recv(100) == b"ping\n"
            else:
                client.shutdown(socket.SHUT_WR)
                assert receive_all(client) == b"ping\n"
            client.close()
    assert server.wait() == 0


@short_and_long("rounds", 1, 10)
def test_a_burst_in_our_queue_is_answered(launch, rounds):
    """P12: 1,000 clients at a time, 10,000 in all, with room for 40 of them: 0 lost."""
    for _ in range(rounds):
        server = launch("tcp4", "127.0.0.1:0", "--fork", "myapp:Greet")
        worker = server.worker
        freeze(worker)
        with clients(server, 100 if rounds == 1 else 1000) as connected:
            server.send_signal(signal.SIGTERM)
            server.wait_for_log("stopping")
            os.kill(worker, signal.SIGCONT)
            for client in connected:
                assert receive_all(client) == b"hello\n"
                client.close()
        assert server.wait() == 0


@pytest.mark.parametrize(("family", "address"), [("tcp4", ("127.0.0.1", 0)), ("unix", "\0srvctl-{}")])
def test_clients_in_an_inherited_queue_are_left_for_the_next_instance(launch, family, address):
    """P12: an inherited listener's queue stays, and the next instance answers it: 0 lost."""
    domain = socket.AF_UNIX if family == "unix" else socket.AF_INET
    with socket.socket(domain) as listener, contextlib.ExitStack() as opened:
        listener.bind(address_of(address) if isinstance(address, str) else address)
        listener.listen(100)
        fd = listener.fileno()
        first = launch("fd", str(fd), "--threads", "myapp:Echo", pass_fds=(fd,))
        worker = first.worker
        freeze(worker)
        connected = [opened.enter_context(first.connect()) for _ in range(50)]
        for client in connected:
            client.sendall(b"ping\n")
        first.send_signal(signal.SIGTERM)
        first.wait_for_log("stopping")
        os.kill(worker, signal.SIGCONT)
        # The worker was frozen before any came and told to stop before it could take one.
        assert first.wait() == 0
        late = opened.enter_context(first.connect())  # nobody serves, and nobody is refused either
        launch("fd", str(fd), "--threads", "myapp:Echo", pass_fds=(fd,))
        for client in (*connected, late):
            client.settimeout(20)
        assert ask(late) == b"ping\n"
        answers = [client.recv(5) for client in connected]
        assert answers == [b"ping\n"] * 50


class Newcomers(threading.Thread):
    """Connect and ask again and again, until nobody lets one in; note what became of each that got in."""

    def __init__(self, server) -> None:
        super().__init__()
        self.server = server
        self.answered = 0
        self.lost: list[str] = []
        self.under_way = threading.Event()

    def run(self) -> None:
        while True:
            try:
                client = self.server.connect(timeout=0.5)
            except OSError:  # refused, or nobody answered the SYN
                return
            with client:
                client.settimeout(20)
                try:
                    reply = ask(client)
                except OSError as error:
                    self.lost.append(repr(error))
                else:
                    if reply == b"ping\n":
                        self.answered += 1
                    else:
                        self.lost.append(repr(reply))
            self.under_way.set()


@short_and_long("rounds", 1, 200)
@pytest.mark.parametrize(
    ("family", "address", "model"), [*((*FAMILIES[0], model) for model in MODELS), (*FAMILIES[2], "--threads")]
)
def test_whoever_gets_in_while_the_server_stops_is_answered(launch, family, address, model, rounds):
    """P12: during a stop a client is answered, or not let in; never let in and then reset."""
    for _ in range(rounds):
        server = launch(family, address_of(address), model, "myapp:Echo")
        newcomers = [Newcomers(server) for _ in range(4)]
        for thread in newcomers:
            thread.start()
        for thread in newcomers:
            assert thread.under_way.wait(20)
        status = server.stop()
        for thread in newcomers:
            thread.join(30)
            assert thread.lost == []
            assert thread.answered
        assert status == 0
