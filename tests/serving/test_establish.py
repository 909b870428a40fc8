"""What happens on a connection before its handler: in its order, in its time, in every model."""

from __future__ import annotations

import contextlib
import os
import socket
import threading

import pytest

from srvctl.config.settings import Settings
from srvctl.runtime import log
from srvctl.serving.connection import Connection
from srvctl.serving.conversation import HANDLER_OUTCOME, REFUSED
from srvctl.serving.establish import Deadline, Establish, NotEstablished, Step
from srvctl.worker.assemble import assemble
from tests.serving.running import PATIENCE, FakeConnection, conversation


class Noting(Step):
    """A step that notes when it ran, and goes on with what it is told."""

    def __init__(self, name, result=None, seconds=10.0):
        self.name, self.result, self.seconds = name, result, seconds
        self.seen = []

    def run(self, connection, deadline):
        self.seen.append(connection)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result or connection


@pytest.fixture
def told(monkeypatch):
    """What the log was told of refusals."""
    lines = []
    monkeypatch.setattr(
        log, "not_established", lambda peer, step, error, suppressed: lines.append((step, str(error), suppressed))
    )
    return lines


def test_steps_go_on_with_what_the_one_before_made(clock):
    """The handler gets the last one."""
    other = FakeConnection(2)
    first, second = Noting("proxy", other), Noting("tls")
    new = conversation(1)
    original = new.connection
    assert Establish([first, second], clock).run(new)
    assert (first.seen, second.seen) == ([original], [other])
    assert new.request is new.connection is other
    assert other.calls[-1] == ("settimeout", None)


@pytest.mark.parametrize("error", [NotEstablished("not you"), TimeoutError("timed out"), ConnectionResetError("gone")])
def test_who_is_refused_gets_no_further(clock, told, error):
    """It is told with the name of the step, once in a while."""
    refusing, behind = Noting("access", error), Noting("tls")
    establish = Establish([refusing, behind], clock)
    for number in range(3):
        new = conversation(number)
        assert not establish.run(new)
        assert new.meter[HANDLER_OUTCOME] == REFUSED
    assert not behind.seen
    assert told == [("access", str(error), 0)]


def test_a_deadline_is_for_the_whole_step(clock):
    """However slowly its peer sends."""
    deadline = Deadline(5, clock)
    clock.now += 4
    assert deadline.remaining() == pytest.approx(1)
    clock.now += 1
    with pytest.raises(TimeoutError):
        deadline.remaining()


# --- in every model, with sockets


class Greeting(Step):
    """Waits for a line of the peer; ``no`` is refused, ``new`` goes on with another object."""

    name, seconds = "greeting", 0.5

    def run(self, connection, deadline):
        line = b""
        while not line.endswith(b"\n"):
            connection.settimeout(deadline.remaining())
            if not (data := connection.recv(1)):
                raise NotEstablished("it went away")
            line += data
        if line == b"no\n":
            raise NotEstablished("it said no")
        if line == b"new\n":
            made = Connection(int(connection.family), int(connection.type), 0, os.dup(connection.fileno()), [0] * 7)
            made.meter = connection.meter
            connection.close()
            return made
        return connection


def answer(request, client_address, server):
    """Say which object it is, and echo."""
    request.sendall(b"%d " % isinstance(request, Connection) + request.recv(100))


@contextlib.contextmanager
def serving(model, program):
    """Have this thread serve in a model while the block runs in another one; yield how to run it."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    settings = Settings.resolve("tcp", ":0", "" if program else "x", model, program)
    handler = answer
    if program:
        from srvctl.programs.program import load

        handler = load(settings).handler
    server = assemble(settings, 1 if model == "sync" else 8, sock, handler, is_own=True, steps=[Greeting()])
    yield server
    server.server_close()


MODELS = [("sync", ()), ("threads", ()), ("fork", ()), ("fork", ("/bin/cat",))]


@pytest.mark.parametrize(("model", "program"), MODELS, ids=["sync", "threads", "fork", "program"])
def test_a_step_waits_for_the_peer_times_out_replaces_and_refuses(model, program):
    """Where the handler runs; a peer that keeps quiet costs the others nothing but, without concurrency, time."""
    outcomes, failures = {}, []

    def ask(server, line):
        with socket.create_connection(server.server_address, PATIENCE) as client:
            client.sendall(line)
            client.shutdown(socket.SHUT_WR) if line.endswith(b"!") else None
            return client.makefile("rb").read()

    def clients(server, loop):
        try:
            quiet = socket.create_connection(server.server_address, PATIENCE)
            outcomes["fine"] = ask(server, b"hello\nrest!")
            outcomes["replaced"] = ask(server, b"new\nrest!")
            outcomes["refused"] = ask(server, b"no\n")
            outcomes["quiet"] = quiet.makefile("rb").read()
            quiet.close()
        except Exception as error:
            failures.append(error)
        finally:
            loop.call_soon(lambda: server.drain(PATIENCE))

    with serving(model, program) as server:
        begun = []
        server.on_loop = begun.append
        server.on_give_up = lambda: begun[0].stop()
        server.on_loop = lambda loop: threading.Thread(target=clients, args=(server, loop)).start()
        server.serve_forever()
    assert not failures
    prefix = b"" if program else b"1 "
    expected = {"fine": prefix + b"rest!", "replaced": prefix + b"rest!", "refused": b"", "quiet": b""}
    assert outcomes == expected
    figures = server.figures()
    assert (figures["served"], figures["refused"], figures["conversations"]) == (2, 2, 0)
