"""The banner, and the style of the log: for a person at a terminal, in colour if the environment wants that."""

from __future__ import annotations

import pytest

from srvctl.cli import banner
from srvctl.config.settings import Settings
from srvctl.supervisor import launch


@pytest.fixture
def settings() -> Settings:
    """Two workers with threads."""
    return Settings.resolve("tcp", ":9000", "myapp:Echo", "threads", workers=2, max_connections=8)


@pytest.mark.parametrize(("variable", "has_colour"), [("FORCE_COLOR", True), ("NO_COLOR", False)])
def test_the_banner_is_four_lines(
    settings: Settings,
    variable: str,
    has_colour: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Address, handler, model with its limits, and how to stop; what serves is for `srvctl check`."""
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "1")
    monkeypatch.setenv("COLUMNS", "200")
    banner.show("tcp://[::]:9000", "myapp:Echo", "/srv/myapp.py", settings)
    shown = capsys.readouterr().err
    assert ("\x1b[32m" in shown) is has_colour
    for text in ("tcp://[::]:9000", "myapp:Echo", "--threads, at most 8 at a time, in 2 workers", "Ctrl-C, or kill "):
        assert text in shown
    assert len(shown.splitlines()) == 6  # four, in a frame


@pytest.mark.parametrize(
    ("is_terminal", "environment", "style"),
    [
        (True, {"TERM": "xterm"}, "terminal"),
        (True, {"TERM": "dumb"}, "plain"),
        (True, {"NO_COLOR": "1"}, "plain"),
        (False, {}, "text"),
        (False, {"FORCE_COLOR": "1"}, "terminal"),
        (False, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, "text"),
    ],
)
def test_the_style_of_the_log_follows_the_terminal_and_the_environment(
    settings: Settings, is_terminal: bool, environment: dict[str, str], style: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the banner does."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(launch.log, "to_terminal", lambda: is_terminal)
    monkeypatch.setattr(launch.systemd, "is_journal", lambda fd: False)
    assert launch._log_style(settings)[0] == style
