"""Conversations: how many at once, how long, how they end, and what is said of each."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.launched import PATIENCE, Launched, ask, receive_all, receive_exactly

Launch = Callable[..., Launched]

MODELS = ("--sync", "--threads", "--fork")
by_model = pytest.mark.parametrize("model", MODELS)
ADDRESSES = {"tcp": "127.0.0.1:0", "unix": "socket", "unix-seqpacket": "socket"}


def ended(server: Launched, count: int) -> list[dict[str, str]]:
    """Return the fields of the first `count` lines that say that a conversation ended."""
    log = server.wait_for_log(" ended ", count)
    return [fields_of(line) for line in log.splitlines() if " ended " in line][:count]


def fields_of(line: str) -> dict[str, str]:
    return dict(re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)', line))


def state(server: Launched) -> dict[str, str]:
    """Ask for the state, and with that for a turn of the worker's loop."""
    seen = server.log.count(" state ")
    server.send_signal(signal.SIGUSR1)
    log = server.wait_for_log(" state ", seen + 1)
    return fields_of([line for line in log.splitlines() if " state " in line][seen])


# --- how many at once


@pytest.mark.parametrize("model", ["--threads", "--fork"])
def test_at_the_limit_newcomers_wait(model: str, launch: Launch) -> None:
    """With --max-connections 2 the third client stays in the kernel's queue until one of the others has ended."""
    server = launch("tcp", ":0", model, "--max-connections", "2", "myapp:Wait")
    with ExitStack() as opened:
        first, second = (opened.enter_context(server.connect()) for _ in range(2))
        for client in (first, second):
            assert receive_exactly(client, 6) == b"began\n"
        third = opened.enter_context(server.connect())
        assert state(server)["conversations"] == "2"
        first.sendall(b"go on\n")
        assert receive_all(first) == b"ended\n"
        assert receive_exactly(third, 6) == b"began\n"
        for client in (second, third):
            client.sendall(b"go on\n")
            assert receive_all(client) == b"ended\n"
    ended(server, 3)
    assert state(server)["refused"] == "0"


@pytest.mark.parametrize("model", ["--threads", "--fork"])
def test_at_the_limit_newcomers_can_be_refused(model: str, launch: Launch) -> None:
    """With --at-limit refuse the third is closed, logged and counted at once; when one has ended, a next is served."""
    server = launch("tcp4", ":0", model, "--max-connections", "2", "--at-limit", "refuse", "myapp:Wait")
    with ExitStack() as opened:
        first, second = (opened.enter_context(server.connect()) for _ in range(2))
        for client in (first, second):
            assert receive_exactly(client, 6) == b"began\n"
        with server.connect() as third:
            assert third.recv(100) == b""
            server.wait_for_log("refused reason=limit peer={}:{} ".format(*third.getsockname()))
        assert state(server)["refused"] == "1"
        first.sendall(b"go on\n")
        assert receive_all(first) == b"ended\n"
        ended(server, 1)
        fourth = opened.enter_context(server.connect())
        assert receive_exactly(fourth, 6) == b"began\n"


# --- how long


@by_model
@pytest.mark.parametrize("option", ["--max-duration", "--idle-timeout"])
def test_a_conversation_that_lasts_too_long_is_ended(option: str, model: str, launch: Launch) -> None:
    """A client that says nothing is cut, logged with the reason, and the server serves the next."""
    server = launch("tcp", ":0", model, option, "0.2", "myapp:Wait")
    for _ in range(2):
        with server.connect() as client:
            assert receive_all(client).startswith(b"began\n")
    why = option[2:].removesuffix("-timeout")
    assert [fields["how"] for fields in ended(server, 2)] == [why, why]
    assert server.log.count(f"why={why}") == 2
    assert state(server)["timed_out"] == "2"


def test_activity_puts_off_the_one_deadline_and_not_the_other(launch: Launch) -> None:
    """A client that talks outlives --idle-timeout in each model; --max-duration ends it all the same."""
    idle = [launch("tcp", ":0", model, "--idle-timeout", "1.5") for model in MODELS]
    total = launch("tcp", ":0", "--threads", "--max-duration", "1.5", "--idle-timeout", "1h")
    with ExitStack() as opened:
        clients = [opened.enter_context(server.connect()) for server in idle]
        bounded = opened.enter_context(total.connect())
        began = time.monotonic()
        while time.monotonic() < began + 2.4:
            for client in clients:
                assert ask(client, b"still here") == b"still here"
            select.select([], [], [], 0.02)
        answers = 0
        try:
            while ask(bounded, b"still here"):
                answers += 1
        except ConnectionError:
            pass
        assert ended(total, 1)[0]["how"] == "max-duration"
        for client in clients:
            assert client.recv(1) == b""  # and now nobody talks
    assert [ended(server, 1)[0]["how"] for server in idle] == ["idle"] * 3


# --- how they end


OUTCOMES = {
    "ValueError": "failed",
    "SystemExit": "exit",
    "KeyboardInterrupt": "exit",
    "GeneratorExit": "exit",
    "MemoryError": "failed",
    "RecursionError": "failed",
    "OSError": "failed",
    "NoSuchException": "failed",
}


@by_model
def test_an_exception_ends_its_conversation_and_nothing_else(model: str, launch: Launch) -> None:
    """Whatever a handler raises, its client sees the end, the worker stays, and the log names what it was."""
    server = launch("tcp", ":0", model, "myapp:Raise")
    worker = server.worker
    for name in OUTCOMES:
        with server.connect() as client:
            client.sendall(name.encode() + b"\n")
            assert receive_all(client) == b""
    hows = [fields["how"] for fields in ended(server, len(OUTCOMES))]
    assert sorted(hows) == sorted(OUTCOMES.values())
    for name, how in OUTCOMES.items():
        error = "KeyError" if name == "NoSuchException" else name
        assert (f'error="{error}' in server.log or f"error={error}" in server.log) == (how == "failed"), name
    assert server.worker == worker
    assert server.stop() == 0, server.log


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGRTMIN + 6])
def test_a_signal_that_kills_a_child_ends_its_conversation_and_nothing_else(number: int, launch: Launch) -> None:
    """Whichever it is: those of real time have no name in Python."""
    server = launch("tcp", ":0", "--fork", "myapp:Die")
    for _ in range(2):
        with server.connect() as client:
            client.sendall(b"%d\n" % number)
            assert receive_all(client) == b""
    name = "SIGSEGV" if number == signal.SIGSEGV else "SIGRTMIN+6"
    server.wait_for_log(f"how={name}", 2)
    assert "Traceback" not in server.log


@by_model
def test_an_exception_over_a_datagram_ends_that_one_only(model: str, launch: Launch) -> None:
    """A datagram whose handler raises is lost; the next one is answered."""
    server = launch("udp", ":0", model, "myapp:Fussy")
    worker = server.worker
    with server.connect() as client:
        for name in ("ValueError", "SystemExit", "KeyboardInterrupt"):
            client.send(f"raise {name}".encode())
            assert ask(client, b"next") == b"NEXT"
    assert [fields["how"] for fields in ended(server, 2)].count("failed") == 1
    assert server.worker == worker


@by_model
@pytest.mark.parametrize("word", ADDRESSES)
def test_the_end_of_each_conversation_is_one_line_with_its_figures(word: str, model: str, launch: Launch) -> None:
    """Peer, seconds, bytes received and sent, and how it ended: right for little, for nothing, and for much."""
    server = launch(word, ADDRESSES[word], model, "--log-format", "json")
    much = b"x" * (60_000 if word == "unix-seqpacket" else 300_000)
    peers = []
    for question in (b"hello", b"", much):
        with server.connect() as client:
            peers.append("{}:{}".format(*client.getsockname()) if word == "tcp" else f"pid:{os.getpid()}")
            if question:
                assert ask(client, question) == question
        server.wait_for_log('"ended"', len(peers))
    with server.connect() as client:
        peers.append("{}:{}".format(*client.getsockname()) if word == "tcp" else f"pid:{os.getpid()}")
        assert ask(client, b"reset") == b"reset"
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.wait_for_log('"ended"', 4)
    lines = [record for record in map(json.loads, server.log.splitlines()) if record["event"] == "ended"]
    figures = [(line["peer"], line["received"], line["sent"], line["how"]) for line in lines]
    sizes = (5, 0, len(much), 5)
    hows = ("done", "done", "done", "reset" if word == "tcp" else "done")
    assert figures == [(peer, size, size, how) for peer, size, how in zip(peers, sizes, hows, strict=True)]
    assert all(0 <= line["seconds"] < 60 for line in lines)


HOSTILE = [
    b"\n2026-01-01T00:00:00.000Z error fake event=1\n",
    b'" level="error" x="',
    b"\r\n\r\n\x1b[2J\x1b]0;title\x07",
    bytes(range(256)),
    b"\\" * 3000,
    b"%s %d {} \x00\x85\xa0 \xe2\x80\xa8",
]


@by_model
@pytest.mark.parametrize("style", ["text", "json"])
def test_whatever_a_client_sends_an_event_stays_one_line(style: str, model: str, launch: Launch) -> None:
    """Exception texts and peer names made of a client's bytes are escaped: every line of the log is one event."""
    server = launch("unix-dgram", "socket", model, "-v", "--log-format", style, "myapp:Complain")
    for number, hostile in enumerate(HOSTILE, 1):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.bind(b"\0" + os.urandom(6).hex().encode() + hostile[:60])
            client.connect(server.sockaddr)
            client.send(hostile)
            server.wait_for_log("handler failed", number)
    assert server.stop() == 0
    lines = server.log.splitlines()
    assert server.log.isascii()
    assert server.log.count("\n") == len(lines), "a line break that is none to everybody"
    if style == "json":
        records = [json.loads(line) for line in lines]
        assert [record["event"] for record in records].count("handler failed") == len(HOSTILE)
        assert records[-1]["event"] == "stopped"
        assert any(record.get("error") == f"ValueError: {HOSTILE[0].decode()}" for record in records)
    else:
        pattern = re.compile(
            r"\d{4}-\d\d-\d\dT[\d:.]+Z (error|warning|notice|info|debug) \w[\w -]*( \w+=(\"[ -~]*\"|\S*))*"
        )
        assert [line for line in lines if not pattern.fullmatch(line)] == []
        assert sum(" error handler failed peer=" in line for line in lines) == len(HOSTILE)
        assert not any(line.startswith("2026-01-01") for line in lines)


# --- datagrams


@by_model
def test_datagrams_of_every_size_come_back_whole(model: str, launch: Launch) -> None:
    """From one byte to the 65,507 that fit into UDP over IPv4 they are echoed; an empty one is not answered."""
    server = launch("udp4", "127.0.0.1:0", model, "-v")
    with server.connect() as client:
        client.send(b"")
        for size in (1, 1472, 65507):
            data = os.urandom(size)
            assert ask(client, data) == data
    assert sorted(int(fields["received"]) for fields in ended(server, 4)) == [0, 1, 1472, 65507]
    assert "handler failed" not in server.log


@by_model
def test_a_datagram_is_answered_only_when_the_handler_wrote(model: str, launch: Launch) -> None:
    """Nothing is sent for a handler that wrote nothing: the first answer that comes is to the next datagram."""
    server = launch("unix-dgram", "socket", model, "-v", "myapp:Fussy")
    with server.connect() as client:
        client.send(b"quiet")
        ended(server, 1)
        assert ask(client, b"loud") == b"LOUD"
        ended(server, 2)
    # A sender without a name has no address to be answered at; that is a message, and not an exception.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nameless:
        nameless.connect(server.sockaddr)
        nameless.send(b"one way")
    assert ended(server, 3)[2] | {"seconds": "", "id": ""} == {
        "peer": "-",
        "seconds": "",
        "id": "",
        "received": "7",
        "sent": "0",
        "how": "done",
    }
    # One that is longer than a handler can be given is dropped whole.
    with server.connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        client.send(b"x" * 70_000)
        server.wait_for_log("datagram dropped ")
        assert ask(client, b"short") == b"SHORT"
    assert "failed" not in server.log.replace("failed=0", "")
    assert state(server)["truncated"] == "1"


# --- what handlers do


@by_model
def test_a_peer_that_reads_no_answers_silences_nobody(model: str, launch: Launch, place) -> None:
    """It is refused before its answers fill the server's buffer, and says so in the log; a stop waits for nobody."""
    server = launch("unix-dgram", "socket", model, "echo")

    def peer(name: str) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        made.bind(str(place / name))
        made.connect(str(place / "socket"))
        made.settimeout(PATIENCE)
        return made

    with peer("bad") as bad, peer("good") as good:
        while 'reason="unread answers"' not in server.log:
            bad.send(b"x")
        for number in range(50):
            good.send(b"%d" % number)
            assert good.recv(9) == b"%d" % number
        assert server.stop() == 0


@by_model
def test_out_of_band_data_reaches_a_handler(model: str, launch: Launch) -> None:
    """MSG_OOB is received apart from the stream, and in it with SO_OOBINLINE."""
    for name, answer in (("Urgent", b"!abcdef\n"), ("UrgentInline", b"abc!def\n")):
        server = launch("tcp", ":0", model, f"myapp:{name}")
        with server.connect() as client:
            assert receive_exactly(client, 6) == b"began\n"
            client.sendall(b"abc")
            client.send(b"!", socket.MSG_OOB)
            client.sendall(b"def\n")
            assert receive_all(client) == answer
        assert ended(server, 1)[0]["received"] == "8"
        assert server.stop() == 0, server.log


@by_model
def test_a_handler_may_fork_for_itself(model: str, launch: Launch) -> None:
    """Its child's status is the handler's to fetch; a child that returns from the handler ends there."""
    for ends, status in (("exit", b"7\n"), ("return", b"0\n")):
        server = launch("tcp", ":0", model, "--set", f"ends={ends}", "myapp:Forks")
        for _ in range(2):
            with server.connect() as client:
                assert receive_all(client) == b"child\n" + status
        assert [fields["how"] for fields in ended(server, 2)] == ["done", "done"], server.log
        assert server.stop() == 0, server.log


@pytest.mark.parametrize("model", ["--sync", "--threads", "--fork"])
@pytest.mark.parametrize("handler", ["late:function", "late:Class"])
def test_a_handler_that_returns_a_coroutine_has_failed(model, handler, launch, place):
    """Nobody awaits it: its body does not run, and the log does not call that done."""
    (place / "late.py").write_text(
        "from srvctl import StreamRequestHandler\n"
        "async def work(): raise AssertionError\n"
        "def function(request, client_address, server): return work()\n"
        "class Class(StreamRequestHandler):\n"
        "    handle = lambda self: work()\n"
    )
    server = launch("tcp4", "127.0.0.1:0", model, handler)
    with server.connect() as client:
        assert receive_all(client) == b""
    server.wait_for_log("how=failed")
    assert "the handler returned a coroutine, whose body has not run" in server.log
    assert "never awaited" not in server.log


KEEPS = """
import contextvars, socketserver, threading
local, variable = threading.local(), contextvars.ContextVar("user", default=None)
class Keeps(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            word, _, name = line.decode().strip().partition(" ")
            if word == "login":
                local.user = name
                variable.set(name)
            self.wfile.write(f"{getattr(local, 'user', None)} {variable.get()}\\n".encode())
"""


def test_a_thread_keeps_nothing_of_a_client_for_the_next(launch, place):
    """Thread locals and context variables are as in a thread of its own, as long as the connection lasts."""
    (place / "keeps.py").write_text(KEEPS)
    server = launch("tcp4", "127.0.0.1:0", "--threads", "keeps:Keeps")
    with server.connect() as client, client.makefile("rb") as lines:
        client.sendall(b"login alice\n")
        assert lines.readline() == b"alice alice\n"
        client.sendall(b"who\n")
        assert lines.readline() == b"alice alice\n"
    for _ in range(20):
        with server.connect() as client:
            client.sendall(b"who\n")
            client.shutdown(socket.SHUT_WR)
            assert receive_all(client) == b"None None\n"
    assert server.stop() == 0


@by_model
def test_an_ipv4_client_of_a_dual_stack_socket_is_a_pair(model, launch, place):
    """As with the standard library, and an IPv6 client has four parts."""
    (place / "pair.py").write_text(
        "def handler(request, client_address, server): request.sendall(repr(client_address).encode())\n"
    )
    server = launch("tcp", ":0", model, "pair:handler")
    port = int(server.address.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), 20) as client:
        assert receive_all(client) == repr(client.getsockname()).encode()


@by_model
def test_a_handler_for_http_answers_on_a_unix_socket(model, launch, place):
    """It indexes the peer, and asks for the server's name and port."""
    (place / "page.py").write_text(
        "from http.server import BaseHTTPRequestHandler\n"
        "class Page(BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(200)\n"
        "        self.end_headers()\n"
        "        self.wfile.write(f'{self.server.server_name} {self.server.server_port}'.encode())\n"
    )
    server = launch("unix", "socket", model, "page:Page")
    with server.connect() as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert receive_all(client).endswith(b"\r\n\r\nsocket 0")
    server.wait_for_log("how=done")
