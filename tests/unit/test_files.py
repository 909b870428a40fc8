"""Files of units: written whole, never over a file of somebody else, and the commands that come next."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from srvctl.errors import LaunchError, UsageError
from srvctl.unit import files
from srvctl.unit.files import write
from srvctl.unit.service import MARK

SERVICE, SOCKET = {"web.service": f"{MARK}\n[Service]\n"}, {"web.socket": f"{MARK}\n[Socket]\n"}
PAIR = SERVICE | SOCKET


def contents(directory: Path) -> dict[str, str]:
    """Return the text of each file."""
    return {path.name: path.read_text() for path in directory.iterdir()}


def test_each_unit_is_a_file_that_everybody_may_read(tmp_path: Path) -> None:
    """Mode 0644 whatever the umask is, and nothing else is left in the directory."""
    before = os.umask(0o077)
    try:
        written = write(str(tmp_path), PAIR, False)
    finally:
        os.umask(before)
    assert written.paths == [str(tmp_path / name) for name in PAIR]
    assert contents(tmp_path) == PAIR
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o644}


def test_a_file_of_srvctl_is_replaced_by_another_one(tmp_path: Path) -> None:
    """By a rename: who has the old one open reads it to its end."""
    write(str(tmp_path), SERVICE, False)
    with (tmp_path / "web.service").open() as old:
        write(str(tmp_path), {"web.service": f"{MARK}\nnew"}, False)
        assert old.read() == SERVICE["web.service"]
    assert contents(tmp_path) == {"web.service": f"{MARK}\nnew"}


@pytest.mark.parametrize("theirs", ["[Socket]\n", "", "# Written by hand\n", f"{MARK}, or not\n"])
def test_a_file_of_somebody_else_is_kept(theirs: str, tmp_path: Path) -> None:
    """No unit of the pair is written then."""
    (tmp_path / "web.socket").write_text(theirs)
    with pytest.raises(UsageError, match="srvctl did not write it; add --force to replace it"):
        write(str(tmp_path), PAIR, False)
    assert contents(tmp_path) == {"web.socket": theirs}


def test_a_mask_is_kept(tmp_path: Path) -> None:
    """A unit that was masked, systemctl(1), is a link to /dev/null."""
    (tmp_path / "web.service").symlink_to("/dev/null")
    with pytest.raises(UsageError):
        write(str(tmp_path), SERVICE, False)
    assert (tmp_path / "web.service").is_symlink()


def test_force_replaces_the_file_of_somebody_else(tmp_path: Path) -> None:
    """And a link, not what it leads to."""
    (tmp_path / "other").write_text("theirs")
    (tmp_path / "web.service").symlink_to("other")
    write(str(tmp_path), SERVICE, True)
    assert contents(tmp_path) == {"other": "theirs", **SERVICE}
    assert not (tmp_path / "web.service").is_symlink()


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """A directory is in the way of the second unit."""
    (tmp_path / "web.socket").mkdir()
    with pytest.raises(LaunchError, match=r"cannot write .*web\.socket: is a directory"):
        write(str(tmp_path), PAIR, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["web.service", "web.socket"]


def test_a_directory_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """Its name may be a mistake."""
    with pytest.raises(UsageError, match="there is no such directory"):
        write(str(tmp_path / "none"), SERVICE, False)


@pytest.mark.parametrize(("texts", "enabled"), [(SERVICE, "web.service"), (PAIR, "web.socket")])
def test_the_next_commands_enable_and_start_the_unit(
    texts: dict[str, str], enabled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a pair, the socket: its first client starts the service."""
    monkeypatch.setattr(files, "_UNIT_PATH", (str(tmp_path),))
    commands = list(write(str(tmp_path), texts, False).next_commands())
    assert commands == ["systemctl daemon-reload", f"systemctl enable --now {enabled}"]


def test_units_that_were_replaced_are_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that run would go on as they were."""
    monkeypatch.setattr(files, "_UNIT_PATH", (str(tmp_path),))
    write(str(tmp_path), PAIR, False)
    commands = list(write(str(tmp_path), PAIR, False).next_commands())
    assert commands[2:] == ["systemctl restart web.socket web.service"]


def test_units_that_systemd_would_not_find_are_copied_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are started again when they replace units there."""
    (tmp_path / "here").mkdir()
    (tmp_path / "system").mkdir()
    monkeypatch.setattr(files, "_UNIT_PATH", (str(tmp_path / "system"),))
    commands = list(write(str(tmp_path / "here"), PAIR, False).next_commands())
    assert commands[0] == f"cp {tmp_path}/here/web.service {tmp_path}/here/web.socket {tmp_path}/system/"
    assert len(commands) == 3
    assert list(write(str(tmp_path / "here"), PAIR, False).next_commands()) == commands
    (tmp_path / "system" / "web.service").touch()
    again = list(write(str(tmp_path / "here"), PAIR, False).next_commands())
    assert again == [*commands, "systemctl restart web.socket web.service"]
