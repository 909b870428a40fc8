"""What a service reads: its interpreter, packages, working directory and handler, and the links that lead to them."""

from __future__ import annotations

import os
import site
import sys
from pathlib import Path

import pytest

import srvctl.handlers
from srvctl.config.settings import Settings
from srvctl.unit import footprint as module
from srvctl.unit.footprint import footprint, interpreter, user_base, working_directory
from srvctl.unit.places import Places


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with an interpreter as pyenv or uv installs it, and a virtual environment of that in another directory.

    ``venv/bin/python`` leads to ``versions/3.11/bin/python``, and ``3.11`` to ``3.11.7``.
    """
    base = tmp_path / "versions" / "3.11.7"
    for directory in (base / "bin", base / "lib", tmp_path / "venv" / "bin", tmp_path / "venv" / "lib"):
        directory.mkdir(parents=True)
    (base / "bin" / "python").touch(mode=0o755)
    (tmp_path / "versions" / "3.11").symlink_to("3.11.7")
    (tmp_path / "venv" / "bin" / "python").symlink_to(tmp_path / "versions" / "3.11" / "bin" / "python")
    for name, value in (("prefix", tmp_path / "venv"), ("base_prefix", tmp_path / "versions" / "3.11")):
        monkeypatch.setattr(sys, name, str(value))
        monkeypatch.setattr(sys, name.replace("prefix", "exec_prefix"), str(value))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "bin" / "python"))
    monkeypatch.setattr(sys, "path", ["", str(tmp_path / "venv" / "lib"), str(tmp_path / "none")])
    return tmp_path


def test_a_virtual_environment_needs_the_interpreter_that_it_was_made_of(home: Path) -> None:
    """By the name of the link in it, and by the name of the directory that the link leads to."""
    places = Places.sorted([], [path for part in interpreter() for path in part])
    bound = [path for path in places.bound_readable if path.startswith(str(home))]
    assert sorted(bound) == [str(home / name) for name in ("venv", "versions/3.11", "versions/3.11.7")]


def test_the_packages_of_the_interpreter_are_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that a .pth file adds; those of PYTHONPATH are not, which a service does not have."""
    for name in ("added", "environment"):
        (home / name).mkdir()
        sys.path.append(str(home / name))
    monkeypatch.setenv("PYTHONPATH", str(home / "environment"))
    trees = interpreter().trees
    assert {str(home / "venv" / "lib"), str(home / "added"), os.path.dirname(srvctl.__file__)} <= set(trees)
    assert not {str(home / "environment"), str(home / "none"), ""} & set(trees)


def test_a_link_that_all_homes_are_behind_is_not_shown(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/home may be a link to /var/home; with it every home would be in sight."""
    monkeypatch.setattr(module, "is_hidden_root", lambda path: path == str(home / "versions" / "3.11"))
    assert str(home / "versions" / "3.11") not in module.interpreter().files
    links = list(module._links(str(home / "versions" / "3.11" / "bin")))
    assert links == []


def test_a_working_directory_is_shown_with_the_links_in_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reload follows the link to where it leads by then: its directory is shown, and where it leads to now."""
    for number in "12":
        (tmp_path / "app" / "releases" / number).mkdir(parents=True)
    (tmp_path / "app" / "current").symlink_to("releases/1")
    monkeypatch.chdir(tmp_path / "app" / "current")
    monkeypatch.setenv("PWD", str(tmp_path / "app" / "current"))
    assert working_directory() == [str(tmp_path / "app"), str(tmp_path / "app" / "releases" / "1")]
    monkeypatch.setenv("PWD", "elsewhere")
    assert working_directory() == [str(tmp_path / "app" / "releases" / "1")]


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        ("{home}/code/app.py:Echo", "{home}/code"),
        ("package.part:Echo", "{home}/code/package"),
        ("single:Echo", "{home}/code/single.py"),
        ("mine:Echo", "{home}/mine.py"),
    ],
)
def test_the_code_of_a_handler_is_read(
    handler: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it would be imported from; it is not imported."""
    (tmp_path / "code" / "package").mkdir(parents=True)
    for name in ("code/app.py", "code/package/__init__.py", "code/package/part.py", "code/single.py", "mine.py"):
        (tmp_path / name).write_text("raise AssertionError('imported')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "code")])
    monkeypatch.setattr(module, "interpreter", module.Footprint)
    settings = Settings.resolve("tcp", ":9000", handler.format(home=tmp_path), "sync")
    used = footprint(settings, sys.executable, ())
    assert expected.format(home=tmp_path) in (*used.trees, *used.files)


@pytest.mark.parametrize("handler", ["echo", "static"])
def test_a_ready_made_handler_is_read_with_the_packages_above_it(handler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a checkout they are in directories of their own."""
    monkeypatch.setattr(module, "interpreter", module.Footprint)
    trees = footprint(Settings.resolve("tcp", ":9000", handler, "sync"), sys.executable, ()).trees
    assert {*srvctl.__path__, *srvctl.handlers.__path__} <= set(trees)


def test_a_program_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PATH finds it, and where its links lead."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "real").write_text("#!/bin/sh\n")
    (tmp_path / "real").chmod(0o755)
    (tmp_path / "bin" / "program").symlink_to("../real")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    settings = Settings.resolve("tcp", ":9000", "", "fork", ("program", "--option"))
    files = footprint(settings, sys.executable, ()).files
    assert {str(tmp_path / "bin" / "program"), str(tmp_path / "real")} <= set(files)


def test_packages_that_a_user_installed_for_herself_are_found_by_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service has another home; a virtual environment looks in none."""
    monkeypatch.setattr(site, "ENABLE_USER_SITE", True)
    monkeypatch.setattr(sys, "path", [*sys.path, site.getusersitepackages()])
    assert user_base() == site.getuserbase()
    monkeypatch.setattr(site, "ENABLE_USER_SITE", False)
    assert user_base() == ""
