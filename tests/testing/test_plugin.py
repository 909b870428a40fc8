"""The fixture ``serve``: a server of its own process, and a client that is connected."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest

from srvctl import BaseRequestHandler, DatagramRequestHandler, StreamRequestHandler
from srvctl.testing import Client, Serve, Server, ServerFailed
from srvctl.testing import server as server_module


class Upper(StreamRequestHandler):
    greeting: str = ""

    def handle(self) -> None:
        self.wfile.write(self.greeting.encode())
        for line in self.rfile:
            self.wfile.write(line.upper())


class UpperDatagram(DatagramRequestHandler):
    def handle(self) -> None:
        self.wfile.write(self.packet.upper())


class Silent(DatagramRequestHandler):
    def handle(self) -> None:
        pass


class Refuse(BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(b"no")


def test_a_handler_of_the_test_is_served_by_the_model_that_is_asked_for(serve: Serve) -> None:
    """With the options of srvctl(1)."""
    client = serve(Upper, "tcp", "--threads", "--set", "greeting=hi ")
    assert client.exchange(b"one\ntwo\n") == b"hi ONE\nTWO\n"
    assert client.server.address.startswith("tcp://127.0.0.1:")
    assert "model=threads" in client.server.log


def test_a_server_has_as_many_clients_as_are_asked_for(serve: Serve) -> None:
    """Each is closed by whoever asked for it; much goes both ways at the same time."""
    first = serve(Upper, "unix", "--threads")
    first.sendall(b"kept\n")
    lines = b"x" * 99 + b"\n"
    with first.server.connect() as second:
        assert second.exchange(lines * 50_000) == lines.upper() * 50_000
    assert first.recv(5) == b"KEPT\n"
    with first.server.connect() as third:
        assert third.exchange() == b""


@pytest.mark.parametrize("family", ["udp", "unix-dgram"])
def test_a_datagram_gets_its_answer(serve: Serve, family: str) -> None:
    """The client has a name to be answered at."""
    assert serve(UpperDatagram, family).exchange(b"what") == b"WHAT"


def test_a_handler_may_be_named_and_the_end_has_a_status(serve: Serve) -> None:
    """As on the command line."""
    client = serve("echo", "unix-seqpacket")
    assert client.exchange(b"record") == b"record"
    assert client.server.stop() == 0
    assert "stopped cut=0" in client.server.log


def test_an_answer_before_all_was_read_is_one_all_the_same(serve: Serve) -> None:
    """A server that does not read holds up nobody, nor does its close lose what it said."""
    assert serve(Refuse).exchange(b"x" * 10_000_000) == b"no"


def test_what_does_not_start_says_why() -> None:
    """With the log; nothing is left behind."""
    with pytest.raises(ServerFailed, match="there is no module 'nomodule'"):
        Server("nomodule:Name")


def test_what_does_not_answer_or_end_fails_the_test(monkeypatch: pytest.MonkeyPatch, serve: Serve) -> None:
    """When it has been waited for; with the log."""
    client = serve(Silent, "udp")
    stream = serve(Upper)
    monkeypatch.setattr(server_module, "PATIENCE", 0.01)
    client.settimeout(0.01)
    with pytest.raises(ServerFailed, match=r"nothing came in 0 s; the server's log:\n.*Silent"):
        client.exchange(b"x")
    os.kill(stream.server.process.pid, signal.SIGSTOP)
    with pytest.raises(ServerFailed, match=r"(?s)cannot stop srvctl in 0 s; its log:\n.*Upper"):
        stream.server.stop()
    os.kill(stream.server.process.pid, signal.SIGCONT)


def test_a_handler_is_named_so_that_another_process_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its module, or by its file where the module is not on the path; one that is local is an error."""
    assert server_module.target_of(Upper) == f"{__name__}:Upper"
    module = ModuleType("elsewhere_only")
    module.__file__ = "/tests/elsewhere.py"
    handler = module.Name = type("Name", (Upper,), {"__module__": "elsewhere_only"})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "elsewhere_only", module)
    assert server_module.target_of(handler) == "/tests/elsewhere.py:Name"
    for local in (lambda request, address, server: None, type("Local", (Upper,), {}), SimpleNamespace()):
        with pytest.raises(ValueError, match=r"cannot serve .*: the server's process imports it"):
            server_module.target_of(local)  # type: ignore[arg-type]


def test_the_plugin_is_light_and_imports_no_pytest() -> None:
    """Whoever has srvctl installed imports it in each run of pytest."""
    code = "import sys; import srvctl.testing.plugin\n"
    code += "print(*(name for name in sys.modules if name.startswith('srvctl') or 'pytest' in name))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert sorted(done.stdout.split()) == ["srvctl", "srvctl.testing", "srvctl.testing.plugin"]


def test_a_client_is_a_socket(serve: Serve) -> None:
    """What a test does with it beyond `exchange` is its own."""
    with serve(Upper, "tcp6") as client:
        assert isinstance(client, Client)
        client.sendall(b"line\n")
        assert client.makefile().readline() == "LINE\n"
