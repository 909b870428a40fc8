"""P24, as a real process: a unix socket in a directory in which somebody else swaps names meanwhile."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from tests.launched import run, wait_until
from tests.promises.faults import MODELS, asked, processes_in, short_and_long


class Attacker(threading.Thread):
    """Put a link to `target`, a directory and a file where the socket is to be, again and again, until told to end."""

    def __init__(self, directory: Path, target: Path) -> None:
        super().__init__()
        self.directory, self.target = directory, target
        self.swaps = 0
        self.done = threading.Event()

    def run(self) -> None:
        link, name = self.directory / "link", self.directory / "s"
        while not self.done.is_set():
            if self.swaps % 2:
                link.symlink_to(self.target)
            else:
                link.write_text("not a socket")
            link.rename(name)
            if self.swaps % 3:
                name.unlink(missing_ok=True)
            self.swaps += 1


@short_and_long("starts", 5, 2000)
def test_names_that_are_swapped_meanwhile_harm_nothing_outside(place, starts):
    """P24: while names are swapped thousands of times, starts succeed or fail in words; nothing outside is touched."""
    outside = place / "outside"
    outside.mkdir()
    precious = outside / "precious"
    precious.write_text("precious")
    precious.chmod(0o640)
    before = precious.stat()
    shared = place / "shared"
    shared.mkdir()
    attacker = Attacker(shared, precious)
    attacker.start()
    try:
        for _ in range(starts):
            # check binds as a start does, and ends; it either could or says why not.
            tried = run("check", "unix", str(shared / "s"), "--socket-mode", "0666", "--socket-owner", "0:0", cwd=place)
            assert tried.returncode in (0, 69)
            assert tried.returncode == 0 or tried.stderr.startswith("srvctl: error: cannot bind unix ")
            assert "Traceback" not in tried.stderr
    finally:
        attacker.done.set()
        attacker.join()
    after = precious.stat()
    assert precious.read_text() == "precious"
    assert (after.st_mode, after.st_ino, after.st_uid, after.st_ctime) == (
        before.st_mode,
        before.st_ino,
        before.st_uid,
        before.st_ctime,
    )
    assert list(outside.iterdir()) == [precious]
    assert attacker.swaps > starts
    assert processes_in(place) == []


@pytest.mark.parametrize("model", MODELS)
def test_what_replaced_our_file_is_not_removed(launch, place, model):
    """P24: at the end the socket's file is removed only while it is still the one that was made."""
    server = launch("unix", str(place / "s"), model, "myapp:Echo")
    (place / "s").rename(place / "moved")
    (place / "s").write_text("somebody else's")
    assert server.stop() == 0
    assert (place / "s").read_text() == "somebody else's"
    assert (place / "moved").is_socket()


def test_a_link_is_not_followed(place):
    """P24: a symbolic link where the socket is to be is refused, 69, wherever it leads."""
    (place / "target").write_text("precious")
    for target in ("target", "nowhere", "/dev/null"):
        (place / "s").symlink_to(target)
        refused = run("unix", "s", cwd=place)
        assert (refused.returncode, refused.stderr) == (
            69,
            "srvctl: error: cannot bind unix s: it is a file that is not a socket\n",
        )
        assert (place / "s").is_symlink()
        (place / "s").unlink()
    assert not (place / "nowhere").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="the rule is for root")
@pytest.mark.parametrize(("mode", "status"), [(0o755, 0), (0o777, 77), (0o775, 77), (0o1777, 0)])
def test_root_refuses_a_directory_in_which_others_can_swap_names(place, mode, status):
    """P24: as root, a directory that others can write to is refused, 77, unless its sticky bit protects names."""
    directory = place / "d"
    directory.mkdir()
    directory.chmod(mode)
    assert run("check", "unix", str(directory / "s"), cwd=place).returncode == status


def test_the_mode_holds_before_anyone_can_connect(launch, place):
    """P24: the file has its mode from the first moment it is there: no time in which others could connect."""
    modes = set()
    seen = threading.Event()

    def look() -> None:
        while not seen.is_set():
            try:
                modes.add(stat.S_IMODE((place / "s").stat().st_mode))
            except FileNotFoundError:
                continue

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        server = launch("unix", str(place / "s"), "--socket-mode", "0600", "myapp:Echo")
        assert asked(server) == b"ping\n"
        wait_until(lambda: modes, "a look at the file")
    finally:
        seen.set()
        watcher.join()
    assert modes == {0o600}
