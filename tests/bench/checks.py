"""A client that looks at every byte, before and after each run: redis-benchmark takes much for an answer."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from .clients import WrongError
from .servers import Running

Check = Callable[[Running], None]
FILE = b"a small file\n" * 20


def _expect(what: str, got: bytes, wanted: bytes) -> None:
    if got != wanted:
        raise WrongError(f"{what}: {got[:60]!r} instead of {wanted[:60]!r}")


def _exactly(sock: socket.socket, count: int) -> bytes:
    """Read `count` bytes and what came along with them, or less before the end."""
    received = b""
    while len(received) < count and (data := sock.recv(65536)):
        received += data
    return received


def pong(running: Running) -> None:
    """One line, one answer; and three at once, three answers; then the end, and nothing more."""
    with running.connect() as sock:
        for lines in (1, 3):
            sock.sendall(b"PING\r\n" * lines)
            wanted = b"+PONG\r\n" * lines
            _expect("pong", _exactly(sock, len(wanted)), wanted)
        sock.shutdown(socket.SHUT_WR)
        _expect("after the end", _exactly(sock, 1), b"")


def first_pong(running: Running) -> None:
    """One line, one answer: several answers without TCP_NODELAY wait for a delayed acknowledgement, tcp(7)."""
    with running.connect() as sock:
        sock.sendall(b"PING\r\n")
        _expect("pong", _exactly(sock, 7), b"+PONG\r\n")


def lines(running: Running) -> None:
    """A line comes back."""
    line = os.urandom(16).hex().encode() + b"\n"
    with running.connect() as sock:
        sock.sendall(line)
        _expect("line", _exactly(sock, len(line)), line)


def dns(running: Running) -> None:
    """A query comes back with the answer bit."""
    query = os.urandom(2) + b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04host\x00\x00\x01\x00\x01"
    with running.connect() as sock:
        sock.send(query)
        _expect("answer", sock.recv(65536), query[:2] + b"\x81" + query[3:])


def datagram(running: Running) -> None:
    """A datagram comes back."""
    packet = os.urandom(100)
    with running.connect() as sock:
        sock.send(packet)
        _expect("datagram", sock.recv(65536), packet)


def file(running: Running) -> None:
    """The file that `ab` and `wrk` ask for is served whole."""
    with running.connect() as sock:
        sock.sendall(b"GET /file.txt HTTP/1.0\r\n\r\n")
        head, _, body = _exactly(sock, 1 << 20).partition(b"\r\n\r\n")
    _expect("status", head.split(b"\r\n")[0].partition(b" ")[2][:3], b"200")
    _expect("file", body, FILE)
