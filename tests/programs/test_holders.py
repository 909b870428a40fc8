"""Who has a connection open besides us: found in proc(5), for real processes."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator

import pytest

from srvctl.programs import holders
from srvctl.programs.holders import Orphans, children_of, has_open
from tests.launched import wait_until


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def inode(sock: socket.socket) -> int:
    """Return what proc(5) names a socket by."""
    return os.fstat(sock.fileno()).st_ino


@pytest.mark.parametrize(
    ("script", "is_open"),
    [
        ("echo; read -r line", True),
        ("exec 5<&0 <&- >&- 2>&-; echo >&5; read -r line <&5", True),  # at another number
        ("exec 3<&0; (echo; read -r line <&3) & exec <&- >&- 2>&- 3<&-; wait", True),  # a descendant has it
        ("exec 3<&0 <&- >&- 2>&-; echo >&3; exec 3<&-; read -r line <&9", False),
    ],
)
def test_a_connection_is_found_wherever_a_process_has_it(pair, script: str, is_open: bool) -> None:  # type: ignore[no-untyped-def]
    """Its first descriptors are looked at first, then all, then those of its children."""
    ours, theirs = pair
    waits, wakes = os.pipe()
    # A pipe as descriptor 9, which keeps the process there when it has closed the connection.
    command = ["bash", "-c", f'exec 9<&{waits}; exec sh -c "$1"', "bash", script]
    process = subprocess.Popen(command, stdin=ours, stdout=ours, stderr=ours, pass_fds=[waits])
    try:
        theirs.settimeout(10)
        assert theirs.recv(1)
        if is_open:
            assert has_open(process.pid, inode(ours))
        else:
            wait_until(lambda: not has_open(process.pid, inode(ours)), "the connection to be closed")
        assert not has_open(process.pid, inode(theirs))
    finally:
        theirs.shutdown(socket.SHUT_RDWR)
        os.close(wakes)
        os.close(waits)
        process.wait()
    assert not has_open(process.pid, inode(ours))


def test_a_process_that_may_not_be_looked_into_is_taken_to_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection of a program with another user's rights is never closed by mistake."""

    def refuse(path: str) -> list[str]:
        raise PermissionError

    monkeypatch.setattr(holders.os, "listdir", refuse)
    assert has_open(2**22 + 1, 1)


def test_a_process_that_is_gone_has_nothing_open() -> None:
    """Nor has it children."""
    assert not has_open(2**22 + 1, 1)
    assert list(children_of(2**22 + 1)) == []


def test_an_orphan_is_adopted_and_found(pair) -> None:  # type: ignore[no-untyped-def]
    """Also one in a session of its own, until it has closed the connection."""
    ours, theirs = pair
    orphans = Orphans()
    assert not orphans.have_open(ours.fileno())
    orphans.open()
    try:
        assert not orphans.have_open(ours.fileno())
        script = "exec 3<&0; setsid sh -c 'echo $$; read -r line <&3; exec <&- >&- 3<&-; read -r line <&9' &"
        waits, wakes = os.pipe()
        command = ["bash", "-c", f'exec 9<&{waits}; exec sh -c "$1"', "bash", script]
        subprocess.run(command, stdin=ours, stdout=ours, pass_fds=[waits], check=True)
        theirs.settimeout(10)
        orphan = int(theirs.makefile("rb").readline())
        assert orphan in children_of(os.getpid())
        assert orphans.have_open(ours.fileno())
        assert not orphans.have_open(theirs.fileno())
        assert not orphans.have_open(-1)
        theirs.sendall(b"go\n")
        wait_until(lambda: not orphans.have_open(ours.fileno()), "the connection to be closed")
        os.close(wakes)
        os.close(waits)
        os.waitpid(orphan, 0)
    finally:
        orphans.close()
    orphans.close()  # once more is nothing


def test_without_a_way_to_adopt_nothing_is_found(pair, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """A library without prctl(2)."""
    monkeypatch.setattr(holders, "_set_child_subreaper", lambda is_one: False)
    orphans = Orphans()
    orphans.open()
    assert not orphans.have_open(pair[0].fileno())
    orphans.close()
