"""Real clients: socat, ncat, curl, ab, dig and redis-benchmark talk to srvctl and find nothing wrong."""

from __future__ import annotations

import re
import select
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.launched import PATIENCE, Launched

Launch = Callable[..., Launched]

PROTOCOLS = Path(__file__).parent.parent / "data" / "protocols.py"

HTTP = "http.server:SimpleHTTPRequestHandler"


def client(name: str, *words: str, status: int = 0, **options: object) -> str:
    """Run a client to its end and return what it wrote; skip where it is not installed."""
    needs(name)
    done = subprocess.run([name, *words], capture_output=True, text=True, timeout=PATIENCE, **options)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def needs(name: str) -> None:
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed")


@pytest.mark.parametrize(
    ("word", "address", "model", "program"),
    [
        ("tcp4", "127.0.0.1:0", "--sync", "socat - TCP4:127.0.0.1:{port}"),
        ("tcp6", "[::1]:0", "--fork", "socat - TCP6:[::1]:{port}"),
        ("unix", "socket", "--threads", "socat - UNIX-CONNECT:socket"),
        ("unix-seqpacket", "socket", "--fork", "socat - UNIX-CONNECT:socket,type=5"),
        ("udp4", "127.0.0.1:0", "--sync", "socat - UDP4:127.0.0.1:{port}"),
        ("unix-dgram", "socket", "--threads", "socat - UNIX-SENDTO:socket,bind=client"),
        ("tcp", ":0", "--threads", "ncat 127.0.0.1 {port}"),
        ("unix", "socket", "--fork", "ncat -U socket"),
        ("udp", ":0", "--fork", "ncat -u 127.0.0.1 {port}"),
    ],
)
def test_a_line_comes_back(word: str, address: str, model: str, program: str, launch: Launch) -> None:
    """What is typed into a general client comes back, line by line, and its end is the conversation's."""
    server = launch(word, address, model)
    port = server.address.rpartition(":")[2]
    command = program.format(port=port).split()
    needs(command[0])
    with subprocess.Popen(command, cwd=server.cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as typed:
        assert typed.stdin is not None
        assert typed.stdout is not None
        try:
            for line in (b"hello\n", b"again\n"):
                typed.stdin.write(line)
                assert select.select([typed.stdout], [], [], PATIENCE)[0], server.log
                assert typed.stdout.read(100) == line
            typed.stdin.close()
            if "dgram" not in word and "udp" not in word:
                assert typed.wait(PATIENCE) == 0
                server.wait_for_log("received=12 sent=12 how=done")
        finally:
            typed.kill()
    assert server.stop() == 0, server.log


@pytest.mark.parametrize("model", ["--threads", "--fork"])
def test_http_clients_get_their_files(model: str, launch: Launch) -> None:
    """The standard library's HTTP handler serves curl, and two hundred requests of ab, ten at a time."""
    server = launch("tcp4", "127.0.0.1:0", model, HTTP)
    url = f"http://{server.address.removeprefix('tcp://')}/myapp.py"
    assert client("curl", "-sS", "--fail", "--http0.9", url) == (server.cwd / "myapp.py").read_text()
    # A body that the handler does not read must not turn into a reset that destroys its answer.
    body = "x" * 50_000
    assert client("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-d", "@-", url, input=body) == "501"
    report = client("ab", "-n", "200", "-c", "10", url)
    figures = dict(re.findall(r"^([\w -]+):\s+(\d+)", report, re.MULTILINE))
    assert (figures["Complete requests"], figures["Failed requests"]) == ("200", "0")
    assert "Non-2xx responses" not in figures
    server.wait_for_log("how=done", 202)
    assert server.stop() == 0
    assert "failed" not in server.log


@pytest.mark.parametrize("model", ["--sync", "--threads", "--fork"])
def test_dig_gets_an_answer(model: str, launch: Launch, place: Path) -> None:
    """A handler of ten lines is a name server to dig, which is strict about where an answer comes from."""
    (place / "protocols.py").write_text(PROTOCOLS.read_text())
    server = launch("udp", ":0", model, "protocols:Dns")
    port = server.address.rpartition(":")[2]
    for host in ("127.0.0.1", "127.0.0.2", "::1"):  # bound to every interface: the answer comes from the one asked
        words = ("+short", "+tries=1", f"+time={PATIENCE:.0f}", "-p", port, f"@{host}", "example.test", "A")
        assert client("dig", *words) == "192.0.2.7\n"
    assert server.stop() == 0


def test_redis_benchmark_is_content(launch: Launch, place: Path) -> None:
    """Twenty clients send two thousand pings to a handler in threads."""
    (place / "protocols.py").write_text(PROTOCOLS.read_text())
    server = launch("tcp4", "127.0.0.1:0", "--threads", "protocols:Redis")
    host, port = server.sockaddr
    words = ("-h", host, "-p", str(port), "-t", "ping_inline", "-n", "2000", "-c", "20", "--csv")
    report = client("redis-benchmark", *words)
    assert re.search(r'^"PING_INLINE","\d+\.\d+"', report, re.MULTILINE), report
    assert server.stop() == 0, server.log
    received = sum(map(int, re.findall(r"received=(\d+)", server.log)))
    assert received >= 2000 * len("PING\r\n")
    assert "failed" not in server.log
