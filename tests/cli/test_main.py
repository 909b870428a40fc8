"""The entry point: what starts a server, and how errors end the process."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from srvctl import __main__
from srvctl.cli import commands, main
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


# --- other systems


@pytest.mark.parametrize("platform", ["darwin", "win32", "freebsd14"])
def test_another_system_is_refused_before_anything_is_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], platform: str
) -> None:
    """It is one line and the status of a system that refuses; no worker is started, no signal is touched."""
    monkeypatch.setattr(__main__, "_prestart_worker", pytest.fail)
    monkeypatch.setattr(__main__.signal, "signal", pytest.fail)
    monkeypatch.setattr(sys, "platform", platform)
    with pytest.raises(SystemExit) as ended:
        __main__.main()
    monkeypatch.undo()
    assert ended.value.code == ExitStatus.OSERR
    assert capsys.readouterr().err == f"srvctl: error: cannot run on {platform!r}: srvctl needs Linux\n"


def test_another_system_imports_nothing_that_only_linux_has() -> None:
    """Of srvctl, the entry point and the errors are all that is imported."""
    script = (
        "import sys\n"
        "sys.platform, sys.argv = 'darwin', ['srvctl', 'tcp', ':0']\n"
        "from srvctl.__main__ import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    print(sorted(name for name in sys.modules if name.startswith('srvctl.')))\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, env=clean_environment())
    assert (done.returncode, done.stdout) == (71, "['srvctl.__main__', 'srvctl.errors']\n")
    assert done.stderr == "srvctl: error: cannot run on 'darwin': srvctl needs Linux\n"


# --- a reader that goes


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Make a stream, `stdout` or `stderr`, one whose reader has gone."""
    with contextlib.ExitStack() as opened:

        def close_reader(name: str) -> None:
            read, write = os.pipe()
            os.close(read)
            monkeypatch.setattr(sys, name, opened.enter_context(os.fdopen(write, "w", buffering=1)))

        yield close_reader
        monkeypatch.undo()


@pytest.mark.parametrize(
    "words",
    [["--help"], ["--version"], ["tcp", "--help"], ["help"], ["help", "echo"], ["handlers"], ["handlers", "echo"]],
    ids=" ".join,
)
def test_output_that_nobody_reads_is_no_error(served, unread, capsys, words: list[str]) -> None:  # type: ignore[no-untyped-def]
    """As after ``srvctl handlers | head -1``: the status is 0, and nothing is said."""
    unread("stdout")
    assert main.run(words) == 0
    sys.stdout.flush()  # as the interpreter does at its exit
    assert capsys.readouterr().err == ""


def test_an_error_that_nobody_reads_keeps_its_status(served, unread) -> None:  # type: ignore[no-untyped-def]
    """As after ``srvctl tcp --nope 2>&1 | true``."""
    unread("stderr")
    assert main.run(["tcp", ":0", "--nope"]) == 2
    sys.stderr.flush()


def test_a_broken_pipe_of_something_else_is_not_hidden(served, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """It is a fault in srvctl, and stays an exception."""

    def break_pipe(settings: Settings, prestarted: None = None, show_banner: object = None) -> ExitStatus:
        raise BrokenPipeError

    monkeypatch.setattr(main, "launch", break_pipe)
    monkeypatch.setattr(commands, "launch", break_pipe)
    read, write = os.pipe()
    with os.fdopen(read), os.fdopen(write, "w") as read_by_somebody:
        monkeypatch.setattr(sys, "stdout", read_by_somebody)
        monkeypatch.setattr(sys, "stderr", read_by_somebody)
        for words in (["tcp", ":0"], ["--", "tcp", ":0"]):
            with pytest.raises(BrokenPipeError):
                main.run(words)
        monkeypatch.undo()
