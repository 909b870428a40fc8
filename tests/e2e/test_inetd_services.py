"""Five services that were written for inetd, under inetd, under systemd's stand-in for it, and under srvctl."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.launched import PATIENCE, Launched, clean_environment, receive_all, wait_until

# What each service executes, what it is asked, and what its answer is without what is different each time.
SERVICES: dict[str, tuple[list[str], bytes]] = {
    "cat": (["/bin/cat"], b"one\ntwo\n"),
    "tr": (["/usr/bin/tr", "a-z", "A-Z"], b"hello\n"),
    "wc": (["/usr/bin/wc"], b"one two\nthree\n"),
    "dialogue": (["./dialogue"], b"HELO me\r\nQUIT\r\n"),
    "httpd": (["busybox", "httpd", "-i", "-h", "."], b"GET /file HTTP/1.0\r\n\r\n"),
}
DIALOGUE = """#!/bin/sh
echo 220 ready
while read -r verb rest; do
    case $verb in QUIT*) echo 221 bye; exit 0 ;; *) echo "250 $verb" ;; esac
done
"""


def free_port(type_: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Return a port that nobody has at this moment."""
    with socket.socket(socket.AF_INET, type_) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def asked(port: int, question: bytes) -> bytes:
    """Return what the server at `port` answers, without the date of HTTP."""

    def connected() -> socket.socket | None:
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection(("127.0.0.1", port), PATIENCE)
        return None

    with wait_until(connected, "server") as client:
        client.sendall(question)
        client.shutdown(socket.SHUT_WR)
        lines = receive_all(client).splitlines(keepends=True)
    return b"".join(line for line in lines if not line.startswith(b"Date:"))


@pytest.fixture
def service(request: pytest.FixtureRequest, place: Path) -> tuple[list[str], bytes]:
    """The words of a service, its program by its path, and what it is asked."""
    words, question = SERVICES[request.param]
    (place / "dialogue").write_text(DIALOGUE)
    (place / "dialogue").chmod(0o755)
    (place / "file").write_bytes(b"the file\n" * 1000)
    program = str(place / words[0]) if words[0].startswith("./") else shutil.which(words[0])
    if not program:
        pytest.skip(f"{words[0]} is not installed")
    return [program, *(str(place) if word == "." else word for word in words[1:])], question


@pytest.fixture
def start(place: Path) -> Iterator[Callable[..., None]]:
    """Start a server, which is stopped when the test ends."""
    with contextlib.ExitStack() as undo:

        def run(*words: str) -> None:
            quiet = subprocess.DEVNULL
            process = subprocess.Popen(
                words, cwd=place, env=clean_environment(), stdin=quiet, stdout=quiet, stderr=quiet
            )
            undo.callback(process.wait, PATIENCE)
            undo.callback(process.send_signal, signal.SIGTERM)

        yield run


def inetd(start: Callable[..., None], place: Path, kind: str, waits: str, words: list[str]) -> int:
    """Start inetd with one service; return its port."""
    if not shutil.which("inetd", path="/usr/sbin:/sbin"):
        pytest.skip("inetd (openbsd-inetd) is not installed")
    if os.geteuid() != 0:
        pytest.skip("inetd is root's")
    type_ = socket.SOCK_STREAM if kind == "stream" else socket.SOCK_DGRAM
    port = free_port(type_)
    protocol = "tcp" if kind == "stream" else "udp"
    program = " ".join([words[0], Path(words[0]).name, *words[1:]])
    (place / "inetd.conf").write_text(f"127.0.0.1:{port} {kind} {protocol} {waits} root {program}\n")
    start(str(shutil.which("inetd", path="/usr/sbin:/sbin")), "-d", str(place / "inetd.conf"))
    table = Path("/proc/net/tcp" if kind == "stream" else "/proc/net/udp")
    wait_until(lambda: f"0100007F:{port:04X} " in table.read_text(), "inetd")
    return port


@pytest.mark.parametrize("service", SERVICES, indirect=True)
def test_a_service_answers_what_it_answers_under_inetd(launch, place, start, service) -> None:
    """``nowait`` of inetd is a program for each connection."""
    words, question = service
    expected = asked(inetd(start, place, "stream", "nowait", words), question)
    server: Launched = launch("tcp4", "127.0.0.1:0", "--", *words)
    assert expected != b""
    assert asked(server.sockaddr[1], question) == expected  # type: ignore[arg-type]


@pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="systemd-socket-activate is not here")
@pytest.mark.parametrize("service", SERVICES, indirect=True)
def test_a_service_answers_what_it_answers_under_systemd(launch, start, service) -> None:
    """``Accept=yes`` with ``StandardInput=socket``, as systemd-socket-activate does it."""
    words, question = service
    port = free_port()
    start("systemd-socket-activate", "--inetd", "-a", "-l", f"127.0.0.1:{port}", *words)
    expected = asked(port, question)
    server: Launched = launch("tcp4", "127.0.0.1:0", "--", *words)
    assert expected != b""
    assert asked(server.sockaddr[1], question) == expected  # type: ignore[arg-type]


def test_a_service_that_waits_has_the_socket_as_under_inetd(launch, place, start) -> None:
    """``dgram udp wait`` of inetd is --datagram-wait."""
    (place / "answer.py").write_text(
        "import socket\n"
        "sock = socket.socket(fileno=0)\n"
        "data, peer = sock.recvfrom(100)\n"
        "sock.sendto(data.upper() + b' %d' % sock.getblocking(), peer)\n"
    )
    python = shutil.which("python3")
    assert python
    words = [python, str(place / "answer.py")]
    port = inetd(start, place, "dgram", "wait", words)
    server: Launched = launch("udp4", "127.0.0.1:0", "--datagram-wait", "--", *words)
    answers = []
    for where in (port, server.sockaddr[1]):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE)
            client.connect(("127.0.0.1", int(where)))
            for text in (b"one", b"two"):
                client.send(text)
                answers.append(client.recv(100))
    assert answers == [b"ONE 1", b"TWO 1"] * 2
