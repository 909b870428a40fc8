"""The working directory by the name that the user gave it."""

from __future__ import annotations

from pathlib import Path

import pytest

from srvctl.runtime import directory


def test_the_name_of_the_shell_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the link in it, which a deployment changes."""
    (tmp_path / "r1").mkdir()
    (tmp_path / "current").symlink_to("r1")
    monkeypatch.chdir(tmp_path / "current")
    monkeypatch.setenv("PWD", str(tmp_path / "current"))
    assert directory.logical() == str(tmp_path / "current")


@pytest.mark.parametrize("name", ["", "relative", "/", "/nowhere/at/all"])
def test_a_name_that_leads_elsewhere_is_not_taken(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PWD is a variable as any other."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PWD", name)
    assert directory.logical() == str(tmp_path)


def test_a_directory_that_is_gone_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is raised."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert directory.logical() == ""
    directory.follow("")
    directory.follow(str(tmp_path / "gone"))
    directory.follow(str(tmp_path))
    assert Path.cwd() == tmp_path
