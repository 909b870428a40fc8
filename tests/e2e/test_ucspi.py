"""Ten scripts that were written for tcpserver: what they answer under srvctl is what they answer there."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launched import PATIENCE, clean_environment, receive_all, wait_until

SCRIPTS = sorted(Path(__file__).with_name("ucspi").glob("*.sh"))

# Nothing that the script does not read: under tcpserver the reset that follows destroys the answer.
QUESTIONS = {
    "02-echo": b"one\ntwo\n",
    "03-greeting": b"HELO there\r\nNOOP\r\nQUIT\r\n",
    "05-large": b"question\n",
    "08-pipeline": b"one\ntwo\nthree\n",
    "10-binary": bytes(range(256)),
}

pytestmark = pytest.mark.skipif(not shutil.which("tcpserver"), reason="tcpserver (ucspi-tcp) is not installed")


def answered(port: int, question: bytes) -> bytes:
    """Return what the server at `port` answers, without what is different each time: the two ports."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
        client.sendall(question)
        client.shutdown(socket.SHUT_WR)
        answer, own = receive_all(client), client.getsockname()[1]
    names = {port: b"SERVER", own: b"CLIENT"}
    return re.sub(rb"\b(%d|%d)\b" % (port, own), lambda found: names[int(found[0])], answer)


def _default_hangup() -> None:
    """Undo what nohup(1) does to the tests, which tcpserver would hand on to its scripts, and srvctl does not."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def tcpserver(place: Path) -> Iterator[object]:
    """Start tcpserver with a script, as ``tcpserver HOST PORT SCRIPT``; return its port when it listens."""
    started: list[subprocess.Popen[bytes]] = []

    def start(path: Path) -> int:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port: int = probe.getsockname()[1]
        # -H and -R: no host name is looked up, and nobody is asked by ident; srvctl never does either.
        words = ["tcpserver", "-H", "-R", "-l", "localhost", "127.0.0.1", str(port), str(path)]
        started.append(subprocess.Popen(words, cwd=place, env=clean_environment(), preexec_fn=_default_hangup))
        listening = f":{port:04X} 00000000:0000 0A "
        wait_until(lambda: listening in Path("/proc/net/tcp").read_text(), "tcpserver")
        return port

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


def test_there_are_ten() -> None:
    """Each is one that a shell runs."""
    assert len(SCRIPTS) == 10


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_answers_what_it_answers_under_tcpserver(launch, place, tcpserver, script: Path) -> None:
    """Unchanged, to the byte, its environment included."""
    path = place / script.name
    shutil.copy(script, path)  # as root, srvctl runs no program that others can change
    path.chmod(0o755)
    question = QUESTIONS.get(script.stem, b"")
    server = launch("tcp4", "127.0.0.1:0", "--", str(path))
    expected, found = (answered(port, question) for port in (tcpserver(path), server.sockaddr[1]))
    assert expected != b""
    assert found == expected
