"""The descriptor store: which socket is taken back, and what becomes of the others."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from srvctl.listener.fd_store import path_of, take_from_fd_store
from srvctl.systemd import protocol as systemd


@pytest.fixture
def dropped(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that the service manager was asked to let go of."""
    names: list[str] = []
    monkeypatch.setattr(systemd, "drop", names.append)
    return names


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[int]]]:
    """Pass copies of sockets, as from the store, under their names; return the descriptors."""
    numbers: list[int] = []

    def pass_(**sockets: socket.socket | int) -> list[int]:
        here = [os.dup(sock if isinstance(sock, int) else sock.fileno()) for sock in sockets.values()]
        names = [name.rstrip("0123456789").replace("_", "-") for name in sockets]
        monkeypatch.setattr(systemd, "listen_descriptors", lambda: dict(zip(here, names, strict=True)))
        for number in here:
            os.set_inheritable(number, True)
        numbers.extend(here)
        return here

    yield pass_
    for number in numbers:
        if is_open(number):
            os.close(number)


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    """A socket to be stored."""
    with socket.socket() as sock:
        yield sock


def is_open(number: int) -> bool:
    """Tell whether the descriptor is."""
    return Path(f"/proc/self/fd/{number}").is_symlink()


def test_the_wanted_one_is_taken(passed, dropped: list[str], sock: socket.socket) -> None:  # type: ignore[no-untyped-def]
    """It is the caller's, and no program gets it; the store keeps its own for the next time."""
    (number,) = passed(srvctl_listener=sock)
    taken = take_from_fd_store(lambda candidate: True)
    assert taken is not None
    assert taken.detach() == number
    assert not os.get_inheritable(number)
    assert dropped == []


def test_one_that_is_not_wanted_is_closed_and_dropped(passed, dropped: list[str], sock: socket.socket) -> None:  # type: ignore[no-untyped-def]
    """Kept any longer, it would hold its port."""
    (number,) = passed(srvctl_listener=sock)
    assert take_from_fd_store(lambda candidate: False) is None
    assert not is_open(number)
    assert dropped == [systemd.STORED]


def test_what_has_another_name_is_left_alone(passed, dropped: list[str], sock: socket.socket) -> None:  # type: ignore[no-untyped-def]
    """Descriptors of a .socket unit come the same way, and are none of ours."""
    (number,) = passed(web=sock)
    assert take_from_fd_store(lambda candidate: True) is None
    assert is_open(number)
    assert dropped == []


def test_nothing_is_dropped_where_nothing_is_stored(passed, dropped: list[str]) -> None:  # type: ignore[no-untyped-def]
    """The first start has nothing to give up."""
    passed()
    assert take_from_fd_store(lambda candidate: True) is None
    assert dropped == []


def test_the_first_that_is_wanted_is_taken_of_several(passed, dropped: list[str], sock: socket.socket) -> None:  # type: ignore[no-untyped-def]
    """The others are closed."""
    first, second, third = passed(srvctl_listener1=sock, srvctl_listener2=sock, srvctl_listener3=sock)
    taken = take_from_fd_store(lambda candidate: candidate.fileno() == second)
    assert taken is not None
    assert taken.detach() == second
    assert not is_open(first)
    assert not is_open(third)


def test_what_is_no_socket_is_given_up(passed, dropped: list[str], tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Whoever put that there."""
    with (tmp_path / "file").open("wb") as file:
        passed(srvctl_listener=file.fileno())
    assert take_from_fd_store(lambda candidate: True) is None
    assert dropped == [systemd.STORED]


# --- the file of a stored unix socket


def test_the_file_of_a_unix_socket_is_found_again(tmp_path: Path) -> None:
    """By the name that it was bound to; it can be removed as if it had been made by this process."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "socket"))
        path = path_of(sock)
        assert path is not None
        assert path.path == str(tmp_path / "socket")
        path.unlink()
    assert not (tmp_path / "socket").exists()


def test_a_file_that_is_gone_is_not_found(tmp_path: Path) -> None:
    """Somebody has removed it meanwhile."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "socket"))
        (tmp_path / "socket").unlink()
        assert path_of(sock) is None


def test_a_file_of_another_kind_is_not_taken_for_it(tmp_path: Path) -> None:
    """It is not ours, and no descriptor is left of looking at it."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "socket"))
        (tmp_path / "socket").unlink()
        (tmp_path / "socket").write_text("somebody's")
        before = os.listdir("/proc/self/fd")
        assert path_of(sock) is None
        assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("name", ["", "\0srvctl-test-stored"], ids=["unnamed", "abstract"])
def test_a_socket_without_a_file_has_none(name: str) -> None:
    """An abstract name is no path."""
    with socket.socket(socket.AF_UNIX) as sock:
        if name:
            sock.bind(name)
        assert path_of(sock) is None
