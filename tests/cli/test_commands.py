"""The command line: words and variables to settings, errors to one line and an exit status."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import srvctl
from srvctl.cli import commands
from srvctl.config.settings import MODELS, OPTIONS, RENAMED, Option, Settings, envvar
from srvctl.errors import ExitStatus, LoadError
from srvctl.net.address import Family
from tests.launched import clean_environment

Said = tuple[int, str]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """What would have been launched, instead of launching it; in an environment without variables of srvctl's."""
    asked: list[Settings] = []

    def launch(settings: Settings, booted: None) -> ExitStatus:
        asked.append(settings)
        return ExitStatus.OK

    monkeypatch.setattr(commands, "launch", launch)
    for name in set(os.environ) - set(clean_environment()):
        monkeypatch.delenv(name)
    return asked


@pytest.fixture
def settle(served: list[Settings]) -> Callable[..., Settings]:
    """Return the settings that a command line makes."""

    def run(*words: str) -> Settings:
        with pytest.raises(SystemExit) as ended:
            commands.run(list(words))
        assert ended.value.code == 0
        return served.pop()

    return run


@pytest.fixture
def refuse(served: list[Settings], capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Return the status and the one line of a command line that is wrong."""

    def run(*words: str) -> Said:
        status = commands.run(list(words))
        said = capsys.readouterr()
        assert (served, said.out, said.err.count("\n")) == ([], "", 1)
        assert said.err.startswith("srvctl: error: cannot ")
        return status, said.err.removeprefix("srvctl: error: ").rstrip("\n")

    return run


@pytest.mark.parametrize("family", Family, ids=lambda family: family.word)
def test_each_family_is_a_command(settle: Callable[..., Settings], family: Family) -> None:
    """With an address; the handler is echo, one request at a time."""
    settled = settle(family.word, "here")
    assert (settled.family, settled.address, settled.handler, settled.model) == (family.word, "here", "echo", "sync")


@pytest.mark.parametrize("model", MODELS)
def test_a_model_takes_no_value(settle: Callable[..., Settings], model: str) -> None:
    """``--threads myapp:Echo`` reads as people write it."""
    settled = settle("tcp", ":9000", f"--{model}", "myapp:Echo")
    assert (settled.model, settled.handler) == (model, "myapp:Echo")


def test_options_may_stand_anywhere_behind_the_family(settle: Callable[..., Settings]) -> None:
    """As of other commands."""
    first = settle("tcp", "--fork", "--max-connections", "3", ":9000", "myapp:Echo", "--set", "a=1", "--set", "b=2")
    assert (first.address, first.max_connections, first.set) == (":9000", 3, (("a", "1"), ("b", "2")))


SAMPLES = {
    "max_connections": ("7", 7),
    "at_limit": ("refuse", "refuse"),
    "workers": ("2", 2),
    "start_limit": ("9", 9),
    "start_timeout": ("5", 5.0),
    "hang_timeout": ("1.5", 1.5),
    "max_requests": ("1000", 1000),
    "max_requests_jitter": ("50", 50),
    "max_worker_age": ("1h", 3600.0),
    "max_worker_memory": ("64M", 64 * 1024**2),
    "fd_store": ("yes", True),
    "backlog": ("5", 5),
    "socket_mode": ("0600", 0o600),
    "socket_owner": ("root:root", "root:root"),
    "set": ("a=1", (("a", "1"),)),
    "datagram_wait": ("on", True),
    "program_stderr": ("null", "null"),
    "env": ("A=b=c", (("A", "b=c"),)),
    "keep_env": ("1", True),
    "chdir": ("/tmp", "/tmp"),
    "umask": ("027", 0o027),
    "rlimit": ("nofile=16:1K", (("NOFILE", 16, 1024),)),
    "nice": ("-5", -5),
    "idle_timeout": ("250ms", 0.25),
    "max_duration": ("1m", 60.0),
    "graceful_timeout": ("0", 0.0),
    "drain_idle_timeout": ("2", 2.0),
    "announce": ("1", True),
    "log_format": ("json", "json"),
    "verbose": ("true", True),
    "quiet": ("on", True),
}


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_an_option_comes_from_the_line_or_the_environment(settle, monkeypatch, option: Option[object]) -> None:  # type: ignore[no-untyped-def]
    """With the same value; an empty variable is none."""
    text, value = SAMPLES[option.name]
    program = ["--", "cat"] if option.group == "Program" else []
    for flag in option.flags:
        words = [flag] if option.flag else [flag, text]
        assert getattr(settle("udp", ":0", "--fork", *words, *program), option.name) == value
    monkeypatch.setenv(option.envvar, text)
    assert getattr(settle("udp", ":0", "--fork", *program), option.name) == value
    monkeypatch.setenv(option.envvar, "")
    expected = 40 if option.name == "max_connections" else option.default
    assert getattr(settle("udp", ":0", "--fork", *program), option.name) == expected


def test_what_is_behind_the_dashes_is_a_program(settle) -> None:  # type: ignore[no-untyped-def]
    """With all of its words, options and dashes among them; each request has a process of its own."""
    settled = settle("tcp", ":0", "-q", "--", "./serve", "--max-connections", "3", "--", "-x")
    assert (settled.program, settled.handler) == (("./serve", "--max-connections", "3", "--", "-x"), "")
    assert (settled.model, settled.max_connections, settled.served_by) == (
        "fork",
        40,
        "./serve --max-connections 3 -- -x",
    )


@pytest.mark.parametrize(("model", "most"), [("--sync", 1), ("--threads", 512), ("--fork", 40)])
def test_a_model_says_how_many_programs_there_may_be(settle, model: str, most: int) -> None:  # type: ignore[no-untyped-def]
    """As with a handler."""
    assert settle("tcp", ":0", model, "--", "cat").max_connections == most
    assert settle("udp", ":0", model, "--datagram-wait", "--", "cat").max_connections == 1


def test_variables_and_limits_may_be_given_more_than_once(settle, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """A variable without a value is passed on."""
    settled = settle("tcp", ":0", "--env", "A", "--env", "B=1 2", "--rlimit", "core=0", "--rlimit", "cpu=5", "--", "x")
    assert settled.env == (("A", None), ("B", "1 2"))
    assert settled.rlimit == (("CORE", 0, 0), ("CPU", 5, 5))
    monkeypatch.setenv("SRVCTL_ENV", "A B=1")
    assert settle("tcp", ":0", "--", "x").env == (("A", None), ("B", "1"))


def test_what_is_typed_wins_over_the_environment(settle, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """The model included."""
    monkeypatch.setenv("SRVCTL_THREADS", "1")
    monkeypatch.setenv("SRVCTL_GRACEFUL_TIMEOUT", "5")
    assert settle("tcp", ":0").model == "threads"
    settled = settle("tcp", ":0", "--fork", "--graceful-timeout", "6")
    assert (settled.model, settled.graceful_timeout) == ("fork", 6.0)


def test_a_flag_of_the_environment_can_say_no(settle, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """0, false, no and off."""
    for word in ("0", "false", "no", "off"):
        monkeypatch.setenv("SRVCTL_FORK", word)
        assert settle("tcp", ":0").model == "sync"


def test_several_assignments_of_the_environment_are_separated_by_space(settle, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """As the manual page says."""
    monkeypatch.setenv("SRVCTL_SET", "a=1 b=2")
    assert settle("tcp", ":0").set == (("a", "1"), ("b", "2"))


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_option_that_was_renamed_names_its_new_word(served, monkeypatch, capsys, old: str, new: str) -> None:  # type: ignore[no-untyped-def]
    """On the command line, and in the environment, where it would be ignored without a word."""
    assert commands.run(["tcp", ":0", old, "5"]) == 2
    assert capsys.readouterr().err == f"srvctl: error: cannot use {old}: it is called {new} now\n"
    monkeypatch.setenv(envvar(old), "5")
    assert commands.run(["tcp", ":0"]) == 2
    assert f"cannot use the variable {envvar(old)}: it is called {envvar(new)} now" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["tcq", ":1"], "cannot serve 'tcq': no such family; expected tcp, tcp4, "),
        (["tcp"], "cannot serve tcp: ADDRESS is missing"),
        (["tcp", ":0", "a:b", "c:d"], "cannot read the command line: Got unexpected extra argument (c:d)"),
        (["tcp", ":0", "--thread"], "cannot use option '--thread': no such option; did you mean --threads?"),
        (["-x"], "cannot use option '-x': no such option"),
        (["tcp", ":0", "--threads", "--fork"], "cannot use --threads and --fork: expected one concurrency model"),
        (["tcp", ":0", "--threads=3"], "cannot use option '--threads': "),
        (["tcp", ":0", "--max-connections"], "cannot use option '--max-connections': "),
        (["tcp", ":0", "--fork", "--max-connections", "0"], "cannot use --max-connections '0': expected a whole "),
        (["tcp", ":0", "--max-connections", "2"], "cannot use --max-connections 2: without --threads or --fork, "),
        (["tcp", ":0", "--at-limit", "x"], "cannot use --at-limit 'x': expected wait or refuse"),
        (["tcp", ":0", "--set", "x"], "cannot use --set 'x': expected NAME=VALUE"),
        (["tcp", ":0", "--max-duration", "x"], "cannot use --max-duration 'x': expected seconds"),
        (["tcp", ":0", "--socket-mode", "9"], "cannot use --socket-mode '9': expected permission bits in octal"),
        (["tcp", ":0", "-v", "-q"], "cannot use --verbose and --quiet: they exclude each other"),
        (["tcp", ":0", "--"], "cannot run a program: there is none behind --"),
        (["tcp", "--", "cat"], "cannot serve tcp: ADDRESS is missing"),
        (["tcp", ":0", "echo", "--", "cat"], "cannot serve handler 'echo' and a program: expected one of them"),
        (["tcp", ":0", "--set", "a=1", "--", "cat"], "cannot use --set: it is for a handler"),
        (["tcp", ":0", "--datagram-wait", "--", "cat"], "cannot use --datagram-wait: tcp is for connections"),
        (["unix-seqpacket", "x", "--datagram-wait", "--", "cat"], "cannot use --datagram-wait: unix-seqpacket is for"),
        (["udp", ":0", "--datagram-wait", "--workers", "2", "--", "cat"], "cannot use --datagram-wait: one program"),
        (["udp", ":0", "--datagram-wait", "--max-connections", "2", "--", "cat"], "cannot use --datagram-wait: one "),
        (["udp", ":0", "--program-stderr", "socket", "--", "cat"], "cannot use --program-stderr socket: a program"),
        (["udp", ":0", "--datagram-wait"], "cannot use --datagram-wait: it is for a program, and there is none"),
        (["tcp", ":0", "--keep-env", "echo"], "cannot use --keep-env: it is for a program, and there is none"),
        (["tcp", ":0", "--umask", "0", "echo"], "cannot use --umask: it is for a program, and there is none"),
        (["tcp", ":0", "--env", "=x", "--", "cat"], "cannot use --env '=x': expected NAME or NAME=VALUE"),
        (["tcp", ":0", "--env", "LISTEN_FDS=3", "--", "cat"], "cannot use --env 'LISTEN_FDS=3': expected another name"),
        (["tcp", ":0", "--env", "TCPREMOTEIP", "--", "cat"], "cannot use --env 'TCPREMOTEIP': expected another name"),
        (["tcp", ":0", "--rlimit", "x=1", "--", "cat"], "cannot use --rlimit 'x=1': expected NAME=VALUE, with a name"),
        (["tcp", ":0", "--rlimit", "core=2:1", "--", "cat"], "cannot use --rlimit 'core=2:1': expected a soft limit"),
        (["tcp", ":0", "--rlimit", "core", "--", "cat"], "cannot use --rlimit 'core': expected VALUE or SOFT:HARD"),
        (["tcp", ":0", "--nice", "x", "--", "cat"], "cannot use --nice 'x': expected a whole number from -39 to 39"),
        (["tcp", ":0", "--program-stderr", "x", "--", "cat"], "cannot use --program-stderr 'x': expected log or"),
        (["check", "tcq", ":1"], "cannot serve 'tcq': no such family; expected tcp, tcp4, "),
        (["check", "tcp"], "cannot serve tcp: ADDRESS is missing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_wrong_words_are_one_line_and_status_2(refuse: Callable[..., Said], words: list[str], why: str) -> None:
    """In the one form, with the word that was wrong."""
    status, line = refuse(*words)
    assert status == 2
    assert line.startswith(why)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("SRVCTL_THREADS", "maybe"), ("SRVCTL_MAX_CONNECTIONS", "0"), ("SRVCTL_AT_LIMIT", "x"), ("SRVCTL_SET", "x")],
)
def test_a_wrong_variable_is_one_line_and_status_2(refuse, monkeypatch, variable: str, value: str) -> None:  # type: ignore[no-untyped-def]
    """It names the option that the variable is for, and the value."""
    monkeypatch.setenv(variable, value)
    status, line = refuse("tcp", ":0")
    assert status == 2
    assert "--" + variable.removeprefix("SRVCTL_").lower().replace("_", "-") in line
    assert repr(value) in line


@hypothesis_settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    words=st.lists(
        st.sampled_from(["tcp", "unix", ":0", "check", "--max-connections", "--set", "--fork"]) | st.text(), min_size=1
    )
)
def test_any_words_are_served_or_refused(served: list[Settings], words: list[str]) -> None:
    """With 0 or 2, never with a traceback."""
    serves = not words[0].startswith("check")
    outcome = CliRunner().invoke(click.Command("x", callback=lambda: commands.run(words) if serves else 2), [])
    assert outcome.exception is None or isinstance(outcome.exception, SystemExit), outcome.exception


def test_bytes_of_an_error_stay_on_its_line(refuse: Callable[..., Said]) -> None:
    """Whatever a caller passes on."""
    for words in (["--max-connections", "1\n\x1b[2J"], ["echo", "more\n\x1b[2J"]):
        status, line = refuse("tcp", ":0", *words)
        assert status == 2
        assert line.isascii() and line.isprintable()


def test_the_detail_of_an_error_comes_before_its_line(served, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """The one line is the last one, where one looks."""

    def launch(settings: Settings, booted: None) -> ExitStatus:
        raise LoadError("load", "handler 'x'", "it failed", "frame 1\nframe 2\n")

    monkeypatch.setattr(commands, "launch", launch)
    assert commands.run(["tcp", ":0"]) == 78
    assert capsys.readouterr().err == "frame 1\nframe 2\nsrvctl: error: cannot load handler 'x': it failed\n"


def test_a_failed_start_is_told_to_the_service_manager(refuse, monkeypatch, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Which shows it in its status."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        refuse("tcp")
        assert manager.recv(1000) == b"STATUS=cannot serve tcp: ADDRESS is missing\nERRNO=2"


def test_without_words_the_help_is_shown_and_the_status_is_2(served, capsys) -> None:  # type: ignore[no-untyped-def]
    """On standard error: nobody asked for it."""
    assert commands.run([]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith(
        "Usage: srvctl FAMILY ADDRESS [OPTIONS] [HANDLER | -- PROGRAM [ARG]...]\n"
    )


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["tcp", "--help"], ["check", "--help"], ["check", "unix", "-h"]])
def test_help_is_grouped(served, capsys, words: list[str]) -> None:  # type: ignore[no-untyped-def]
    """By what one wants to set."""
    assert commands.run(words) == 0
    lines = capsys.readouterr().out.splitlines()
    headings = [line for line in lines if line.endswith(":") and not line.startswith((" ", "Usage"))]
    assert headings[-8:] == [
        *("Concurrency:", "Workers:", "Socket:", "Handler:"),
        *("Program:", "Time:", "Output:", "Other:"),
    ]


def test_the_version_is_shown(served, capsys) -> None:  # type: ignore[no-untyped-def]
    """That of the package."""
    assert commands.run(["--version"]) == 0
    assert capsys.readouterr().out == f"srvctl {srvctl.__version__}\n"


def test_the_ready_made_handlers_are_listed_with_a_line_on_each(served, capsys) -> None:  # type: ignore[no-untyped-def]
    """In the order of the alphabet."""
    assert commands.run(["handlers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = ["append", "chargen", "daytime", "discard", "echo", "proxy", "qotd", "static", "syslog", "time"]
    assert [line.split()[0] for line in lines] == names
    assert "echo     Send back everything that the client sends (RFC 862)." in lines


def test_a_broken_handler_of_another_package_does_not_end_the_list(served, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """Its line says what is wrong with it."""
    from importlib.metadata import EntryPoint

    from srvctl.loader import builtin

    points = [EntryPoint("bad", "no.such.module", builtin.GROUP), EntryPoint("good", "srvctl.handlers.echo", "x")]
    monkeypatch.setattr(builtin, "installed", lambda: points)
    assert commands.run(["handlers"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("bad   (ModuleNotFoundError: ")
    assert second.startswith("good  Send back")
