"""P25: two servers on one address."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.launched import COMMAND, clean_environment, run, wait_until
from tests.promises.faults import MODELS

IP = [("tcp4", "127.0.0.1"), ("tcp6", "[::1]"), ("udp4", "127.0.0.1"), ("udp6", "[::1]"), ("tcp", ""), ("udp", "")]
UNIX = ["unix", "unix-dgram", "unix-seqpacket"]


def check_refused(family: str, address: str, place, why: str) -> None:
    """Check that a start on `address` fails: 69, one line, within 1 s of its being able to say so."""
    began = time.monotonic()
    second = run(family, address, "echo", cwd=place)
    took = time.monotonic() - began
    assert (second.returncode, second.stdout) == (69, "")
    assert second.stderr == f"srvctl: error: cannot bind {family} {address}: {why}\n"
    # 1 s is the promise; the interpreter's start is in it, on a machine that does other things.
    assert took < 3


@pytest.mark.parametrize(("family", "host"), IP)
def test_the_second_on_a_port_names_the_first(launch, place, family, host):
    """P25: 69, one line with the holder's process id and name; the first serves on."""
    first = launch(family, f"{host}:0", "echo")
    address = f"{host}:{first.address.rpartition(':')[2]}"
    name = Path(f"/proc/{first.pid}/comm").read_text().strip()
    check_refused(family, address, place, f"address already in use (held by pid {first.pid}, {name})")
    check_serves(first)


@pytest.mark.parametrize(("family", "model"), list(zip(UNIX, MODELS, strict=True)))
def test_the_second_on_a_path_leaves_the_first_its_file(launch, place, family, model):
    """P25: 69, one line; a live server's socket file is not touched, and the first serves on."""
    first = launch(family, str(place / "s"), model, "echo")
    inode = (place / "s").stat().st_ino
    check_refused(family, str(place / "s"), place, "a server is listening there")
    assert (place / "s").stat().st_ino == inode
    check_serves(first)


@pytest.mark.parametrize("family", UNIX)
def test_the_second_on_an_abstract_name(launch, place, family):
    """P25: 69, one line."""
    address = f"@srvctl-{os.urandom(6).hex()}"
    first = launch(family, address, "echo")
    check_refused(family, address, place, "address already in use")
    check_serves(first)


def test_the_second_on_a_path_of_another_type(launch, place):
    """P25: a datagram server's path is not free for a stream server either."""
    first = launch("unix-dgram", str(place / "s"), "echo")
    check_refused("unix", str(place / "s"), place, "a server is listening there")
    check_serves(first)


def test_two_that_start_at_once_are_one_that_serves(launch, place):
    """P25: of several starts at the same time exactly one gets the path, also when a stale file lies there."""
    launch("unix", str(place / "s"), "echo").process.kill()
    wait_until(lambda: (place / "s").is_socket(), "stale file")
    starts = [
        subprocess.Popen(
            [*COMMAND, "unix", "s", "-q", "echo"], cwd=place, env=clean_environment(), stderr=subprocess.PIPE
        )
        for _ in range(5)
    ]
    try:
        wait_until(lambda: sum(start.poll() is not None for start in starts) >= 4, "four that gave up")
        (serving,) = (start for start in starts if start.poll() is None)
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(place / "s"))
            client.sendall(b"ping\n")
            assert client.recv(100) == b"ping\n"
        serving.terminate()
        for start in starts:
            _, said = start.communicate(timeout=20)
            if start is serving:
                assert start.returncode == 0
            else:
                assert start.returncode == 69
                assert said.startswith(b"srvctl: error: cannot bind unix s: ")
    finally:
        for start in starts:
            start.kill()
            start.communicate()


def check_serves(server) -> None:
    """Check that the first server is as it was."""
    with server.connect() as client:
        client.send(b"ping\n")
        assert client.recv(100) == b"ping\n"
    assert server.stop() == 0
