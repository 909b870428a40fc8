"""What the user of a service can do with files, told before the service is started."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from srvctl.cli import main
from srvctl.errors import UsageError
from srvctl.unit import places
from srvctl.unit.access import Account
from srvctl.unit.footprint import Footprint

ME = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home that its owner alone may enter, with an application that everybody may read."""
    (tmp_path / "home" / "app").mkdir(parents=True)
    (tmp_path / "home" / "app" / "handler.py").touch(0o644)
    (tmp_path / "home" / "app").chmod(0o755)
    (tmp_path / "home").chmod(0o700)
    return tmp_path / "home"


def read(account: Account, path: Path, bound: Path) -> str:
    """Return why `account` cannot read `path` when systemd makes the directories above `bound`, or nothing."""
    try:
        account.check_reads(Footprint((str(path),)), [str(bound)])
    except UsageError as error:
        return error.why
    return ""


def test_a_directory_that_is_shown_may_be_in_a_home_that_is_closed(home: Path) -> None:
    """systemd makes the directories above it anew."""
    assert read(Account(), home / "app", home / "app") == ""
    assert read(Account(), home / "app" / "handler.py", home / "app") == ""


def test_a_dynamic_user_enters_what_everybody_may_enter(home: Path) -> None:
    """The error names the directory that is closed, its mode and owner, and what to do."""
    why = read(Account(), home / "app", home)
    assert why.startswith(
        f"the dynamic user of the service cannot read '{home}/app': '{home}' has mode 0700 and belongs "
    )
    assert f"to {ME}; chmod o+rx {home}, or move it, to /srv for example" in why
    assert ("--user" in why) == (os.geteuid() != 0), "no service should run as root for a mode"


def test_a_home_is_not_to_be_opened(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The advice is a directory in it."""
    monkeypatch.setattr(places, "_HOMES", (str(home.parent),))
    why = read(Account(), home, home)
    assert f"; use a directory of its own that others can read, such as {home}/app" in why
    assert "chmod" not in why
    assert places.is_home("/root") and not places.is_home("/root/app")


def test_a_named_user_has_the_rights_of_its_owner_and_groups(home: Path) -> None:
    """As the kernel judges: the owner's bits for the owner, whatever the others have."""
    status = home.stat()
    assert read(Account("me", status.st_uid, frozenset()), home / "app", home) == ""
    home.chmod(0o077)
    assert "user 'me' cannot read" in read(Account("me", status.st_uid, frozenset()), home / "app", home)
    home.chmod(0o050)
    assert read(Account("me", status.st_uid + 1, frozenset([status.st_gid])), home / "app", home) == ""
    assert read(Account("me", status.st_uid + 1, frozenset()), home / "app", home) != ""
    home.chmod(0o700)


def test_a_directory_is_written_in_by_whoever_may(home: Path) -> None:
    """The advice is the directories that systemd gives to the user of a service."""
    with pytest.raises(UsageError, match=r"cannot write in .* below /run, /var/lib, /var/cache or /var/log"):
        Account().check_writes([str(home / "app")], [str(home / "app")])
    (home / "app").chmod(0o777)
    Account().check_writes([str(home / "app")], [str(home / "app")])


def test_what_is_not_there_is_not_judged(home: Path) -> None:
    """It may be there by the start."""
    assert read(Account(), home / "none" / "file", home / "none") == ""


def test_a_user_that_does_not_exist_is_refused() -> None:
    """systemd would not start the service."""
    with pytest.raises(UsageError, match="there is no such user"):
        Account.named("nobody-here")


def test_a_unit_that_could_not_start_is_not_printed(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The working directory is a closed home itself; status 2, as for other errors of usage."""
    monkeypatch.chdir(home)
    assert main.run(["unit", "tcp", ":9000"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith(f"srvctl: error: cannot print a unit: the dynamic user of the service cannot read '{home}'")


def test_a_unit_for_a_user_has_no_dynamic_one(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user has things of its own outside of the service, which RemoveIPC= would remove."""
    monkeypatch.chdir(home)
    assert main.run(["unit", "tcp", ":9000", "--user", ME]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"User={ME}" in lines
    assert not {"DynamicUser=yes", "RemoveIPC=yes"} & set(lines)
