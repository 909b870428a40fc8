"""The command line with a server that is not launched: what would have been, and what was said."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from srvctl.cli import commands, main
from srvctl.config.settings import Settings
from srvctl.errors import ExitStatus
from tests.launched import clean_environment

Said = tuple[int, str]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """Return the settings that would have been launched; no server is, and no variable of srvctl's is set."""
    asked: list[Settings] = []

    def launch(settings: Settings, prestarted: None = None, show_banner: object = None) -> ExitStatus:
        asked.append(settings)
        return ExitStatus.OK

    monkeypatch.setattr(main, "launch", launch)
    monkeypatch.setattr(commands, "launch", launch)
    for name in set(os.environ) - set(clean_environment()):
        monkeypatch.delenv(name)
    return asked


@pytest.fixture
def settle(served: list[Settings]) -> Callable[..., Settings]:
    """Return the settings that a command line makes."""

    def run(*words: str) -> Settings:
        assert main.run(list(words)) == 0
        return served.pop()

    return run


@pytest.fixture
def refuse(served: list[Settings], capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Return the status and the one line of a command line that is wrong."""

    def run(*words: str) -> Said:
        status = main.run(list(words))
        said = capsys.readouterr()
        assert (served, said.out, said.err.count("\n")) == ([], "", 1)
        assert said.err.startswith("srvctl: error: cannot ")
        return status, said.err.removeprefix("srvctl: error: ").rstrip("\n")

    return run
