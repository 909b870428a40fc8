"""systemd's protocols: sockets in, notices out."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from srvctl.systemd import protocol as systemd

HERE = str(os.getpid())


def passed(**variables: str) -> dict[int, str]:
    """Return the descriptors that were passed with these variables, to this process."""
    return systemd.listen_descriptors({"LISTEN_PID": HERE, **variables}, lambda fd: fd < 8)


def test_descriptors_are_counted_from_3() -> None:
    """sd_listen_fds(3): SD_LISTEN_FDS_START."""
    assert passed(LISTEN_FDS="2", LISTEN_FDNAMES="web:log") == {3: "web", 4: "log"}


def test_a_descriptor_without_a_name_is_unknown() -> None:
    """As sd_listen_fds_with_names(3) calls it."""
    assert passed(LISTEN_FDS="3", LISTEN_FDNAMES=":log") == {3: "unknown", 4: "log", 5: "unknown"}
    assert passed(LISTEN_FDS="1") == {3: "unknown"}


def test_descriptors_of_another_process_are_not_ours() -> None:
    """The variables are inherited by whoever does not remove them."""
    assert systemd.listen_descriptors({"LISTEN_PID": "1", "LISTEN_FDS": "1"}) == {}
    assert systemd.listen_descriptors({"LISTEN_FDS": "1"}) == {}


def test_descriptors_end_with_the_first_that_is_not_open() -> None:
    """Whatever the number is: nobody has passed twenty million."""
    assert list(passed(LISTEN_FDS="20000000")) == [3, 4, 5, 6, 7]


@pytest.mark.parametrize("count", ["", "x", "-1", "1.5", "\u0663", "9" * 5000])
def test_a_count_that_is_none_passes_nothing(count: str) -> None:
    """Whoever wrote that."""
    assert passed(LISTEN_FDS=count) == {}


def test_the_environment_of_a_worker_has_nothing_of_it() -> None:
    """It would take the sockets and the notices of its supervisor for its own."""
    private = dict.fromkeys(systemd.PRIVATE_VARIABLES, "1")
    assert systemd.without_private({"HOME": "/", **private}) == {"HOME": "/"}


@pytest.fixture
def manager(tmp_path: Path):  # type: ignore[no-untyped-def]
    """A service manager's socket, bound where it is told to."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        yield sock


def test_a_notice_goes_to_a_path(manager: socket.socket, tmp_path: Path) -> None:
    """As one datagram."""
    manager.bind(str(tmp_path / "notify"))
    assert systemd.notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "notify")})
    assert manager.recv(100) == b"READY=1"


def test_a_notice_goes_to_an_abstract_name(manager: socket.socket) -> None:
    """Which is written with an at sign."""
    name = f"srvctl-notify-{HERE}-{os.urandom(4).hex()}"
    manager.bind("\0" + name)
    assert systemd.notify("STOPPING=1", {"NOTIFY_SOCKET": "@" + name})
    assert manager.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize("path", ["", "relative", "/nowhere/at/all", "@srvctl-nobody-is-here"])
def test_a_notice_that_nobody_takes_is_no_error(path: str) -> None:
    """Nor is it claimed to have been taken."""
    assert not systemd.notify("READY=1", {"NOTIFY_SOCKET": path})


def test_a_notice_never_waits_for_a_manager_that_is_stuck(manager: socket.socket, tmp_path: Path) -> None:
    """When its queue is full, the notice is lost."""
    manager.bind(str(tmp_path / "notify"))
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    assert any(not systemd.notify("STATUS=x", environ) for _ in range(100_000))


def test_without_a_manager_nothing_is_sent() -> None:
    """Nothing is there to send it to."""
    assert not systemd.notify("READY=1", {})


def test_the_journal_is_known_by_device_and_inode() -> None:
    """systemd.exec(5): a program whose standard error was redirected since is not on the journal."""
    read, write = os.pipe()
    try:
        found = os.fstat(write)
        environ = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        assert systemd.is_journal(write, environ)
        assert not systemd.is_journal(write, {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino + 1}"})
        assert not systemd.is_journal(write, {})
    finally:
        os.close(read)
        os.close(write)
    assert not systemd.is_journal(write, environ)
