"""The entry point: what starts a server, and how errors end the process."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import click
from click.testing import CliRunner
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from srvctl.cli import main
from srvctl.config.settings import Settings
from srvctl.errors import ExitStatus, LoadError
from tests.launched import clean_environment


@hypothesis_settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    words=st.lists(
        st.sampled_from(["tcp", "unix", ":0", "check", "--max-connections", "--set", "--fork"]) | st.text(), min_size=1
    )
)
def test_any_words_are_served_or_refused(served: list[Settings], words: list[str]) -> None:
    """The status is 0 or 2, and there is never a traceback."""
    if words[0] != "check":  # which would bind and start a worker
        outcome = CliRunner().invoke(click.Command("x", callback=lambda: main.run(words)), standalone_mode=False)
        assert outcome.exception is None, outcome.exception
        assert outcome.return_value in (0, 2)


def test_the_detail_of_an_error_comes_before_its_line(served, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """The error line is the last line."""

    def launch(settings: Settings, prestarted: None, show_banner: object) -> ExitStatus:
        raise LoadError("load", "handler 'x'", "it failed", "frame 1\nframe 2\n")

    monkeypatch.setattr(main, "launch", launch)
    assert main.run(["tcp", ":0"]) == 78
    assert capsys.readouterr().err == "frame 1\nframe 2\nsrvctl: error: cannot load handler 'x': it failed\n"


def test_a_failed_start_is_told_to_the_service_manager(refuse, monkeypatch, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """The service manager gets the error as STATUS and the exit status as ERRNO."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        refuse("tcp")
        assert manager.recv(1000) == b"STATUS=cannot serve tcp: ADDRESS is missing\nERRNO=2"


def test_a_server_starts_without_click() -> None:
    """Only help, completion and the other commands import click, which takes longer than all the rest of a start."""
    script = (
        "import sys\n"
        "from srvctl.cli import main\n"
        "main.launch = lambda settings, prestarted, show_banner: 0\n"
        "status = main.run(['tcp', ':0', '--announce', '--idle-timeout', '5', 'echo'])\n"
        "print(status, sorted({'click', 'rich', 'inspect', 'shlex'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, env=clean_environment())
    assert (done.stdout, done.stderr) == ("0 []\n", "")


def test_a_family_after_two_dashes_is_served_as_well(served: list[Settings]) -> None:
    """click takes -- as the end of its own options, and dispatches."""
    assert main.run(["--", "tcp", ":0", "myapp:Echo"]) == 0
    assert (served[0].address, served[0].handler) == (":0", "myapp:Echo")
