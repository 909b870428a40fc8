"""Server classes of the standard library from the command line, as srvctl-service(7) shows them, in each model."""

from __future__ import annotations

import struct
import urllib.request
import xmlrpc.client
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.handlers.test_service_page import example
from tests.launched import Launched, receive_all, run

Launch = Callable[..., Launched]
MODELS = ["--sync", "--threads", "--fork"]


@pytest.fixture
def serve(launch: Launch, tmp_path: Path) -> Callable[..., str]:
    """Serve an example of the page with the mix-in and the handler that its first line names; return host and port."""

    def serve(file: str, model: str) -> str:
        text = example(file)
        (tmp_path / file).write_text(text)
        words = text.partition("\n")[0].split()
        server = launch("tcp4", "127.0.0.1:0", model, *words[words.index("--mixin") :])
        return server.address.removeprefix("tcp://")

    return serve


@pytest.mark.parametrize("model", MODELS)
def test_a_wsgi_application(model: str, serve: Callable[..., str]) -> None:
    """With what its server class puts into the environment."""
    with urllib.request.urlopen(f"http://{serve('site.py', model)}/", timeout=20) as answer:
        assert (answer.status, answer.read()) == (200, b"hello\n")


@pytest.mark.parametrize("model", MODELS)
def test_xml_rpc(model: str, serve: Callable[..., str]) -> None:
    """Functions that are registered at the start; an unknown one is a fault for the client alone."""
    with xmlrpc.client.ServerProxy(f"http://{serve('rpc.py', model)}") as proxy:
        assert proxy.pow(2, 10) == 1024
        with pytest.raises(xmlrpc.client.Fault, match="not supported"):
            proxy.nothing()


def test_the_listener_of_logging_config(launch: Launch, tmp_path: Path) -> None:
    """A configuration that is sent to it holds for the process; the next client sees that."""
    tell = "\ndef service_start(server):\n    server.verify = lambda text: open('got', 'wb').write(text) and text\n"
    (tmp_path / "levels.py").write_text(example("levels.py") + tell)
    server = launch("tcp4", "127.0.0.1:0", "--threads", "--mixin", "levels:Receiver", "levels:Handler")
    text = b"[loggers]\nkeys=root\n[handlers]\nkeys=\n[formatters]\nkeys=\n[logger_root]\nlevel=INFO\nhandlers=\n"
    with server.connect() as client:
        client.sendall(struct.pack(">L", len(text)) + text)
        assert receive_all(client) == b""
    assert (tmp_path / "got").read_bytes() == text
    assert server.stop() == 0
    assert " error " not in server.log


@pytest.mark.parametrize("model", MODELS)
def test_a_rule_of_ones_own_and_its_attribute(model: str, launch: Launch, tmp_path: Path) -> None:
    """The mix-in stands in front of the ready-made handler's server; ``--set`` reaches it, and `check` shows it."""
    (tmp_path / "rules.py").write_text(example("rules.py"))
    server = launch("tcp4", "127.0.0.1:0", model, "--mixin", "rules:LocalOnly", "echo")
    with server.connect() as client:
        client.sendall(b"hello")
        client.shutdown(1)
        assert receive_all(client) == b"hello"
    others = ("--mixin", "rules:LocalOnly", "--set", "network=192.0.2.0/24")
    server = launch("tcp4", "127.0.0.1:0", model, *others, "echo")
    with server.connect() as client:
        assert receive_all(client) == b""
    assert "refused reason=rule peer=127.0.0.1" in server.log
    checked = run("check", "tcp4", "127.0.0.1:0", model, *others, "echo", cwd=tmp_path)
    assert (checked.returncode, " LocalOnly -> " in checked.stdout) == (0, True)


@pytest.mark.parametrize(
    ("mixin", "line"),
    [
        ("nowhere:Rule", "cannot load mix-in 'nowhere:Rule': there is no module 'nowhere'"),
        (
            "rules:Nothing",
            "cannot load mix-in 'rules:Nothing': there is no 'Nothing' in module 'rules'; it has LocalOnly",
        ),
        ("socketserver:TCPServer", "cannot load mix-in 'socketserver:TCPServer': srvctl assembles that class itself"),
        ("rules:ipaddress", "cannot load mix-in 'rules:ipaddress': it is not a class: module"),
    ],
)
def test_a_mixin_that_cannot_be_used_is_one_line_and_status_78(mixin: str, line: str, tmp_path: Path) -> None:
    """As a handler that cannot be loaded."""
    (tmp_path / "rules.py").write_text(example("rules.py"))
    ended = run("tcp4", "127.0.0.1:0", "--mixin", mixin, "echo", cwd=tmp_path)
    assert ended.returncode == 78
    assert ended.stderr.splitlines()[-1].startswith(f"srvctl: error: {line}")


def test_an_attribute_that_nobody_has_names_those_of_both(tmp_path: Path) -> None:
    """The handler's, and the mix-in's."""
    (tmp_path / "rules.py").write_text(example("rules.py"))
    ended = run("tcp4", "127.0.0.1:0", "--mixin", "rules:LocalOnly", "--set", "netwrk=x", "proxy", cwd=tmp_path)
    assert ended.returncode == 2
    assert "network (str)" in ended.stderr and " to (str)" in ended.stderr
