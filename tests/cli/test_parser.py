"""Words and variables to settings; wrong ones to one line and status 2."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from srvctl.cli import main
from srvctl.cli.parser import RENAMED
from srvctl.config.option import Option, variable_of
from srvctl.config.options import MODELS, OPTIONS
from srvctl.config.settings import Settings
from srvctl.net.address import Family

Said = tuple[int, str]


@pytest.mark.parametrize("family", Family, ids=lambda family: family.word)
def test_each_family_is_a_command(settle: Callable[..., Settings], family: Family) -> None:
    """A family and an address are enough: the handler is echo, one request at a time."""
    settled = settle(family.word, "here")
    assert (settled.family, settled.address, settled.handler, settled.model) == (family.word, "here", "echo", "sync")


@pytest.mark.parametrize("model", MODELS)
def test_a_model_takes_no_value(settle: Callable[..., Settings], model: str) -> None:
    """``--threads myapp:Echo`` reads as people write it."""
    settled = settle("tcp", ":9000", f"--{model}", "myapp:Echo")
    assert (settled.model, settled.handler) == (model, "myapp:Echo")


def test_options_may_stand_anywhere_after_the_family(settle: Callable[..., Settings]) -> None:
    """Before the address, after it, and after the handler."""
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
    "datagram_guard": ("off", "off"),
    "mixin": ("mine:Rule", ("mine:Rule",)),
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


# What else an option needs, and the family that it is for.
COMPANIONS = {
    "datagram_wait": ("udp", ":0"),
    "datagram_guard": ("udp", ":0"),
    "max_requests_jitter": ("unix", "socket", "--max-requests", "9"),
}


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_an_option_comes_from_the_line_or_the_environment(settle, monkeypatch, option: Option[object]) -> None:  # type: ignore[no-untyped-def]
    """The command line and the variable give the same value; an empty variable sets nothing."""
    text, value = SAMPLES[option.name]
    words = [*COMPANIONS.get(option.name, ("unix", "socket")), "--fork"]
    program = ["--", "cat"] if option.group == "Program" else []
    for flag in option.flags:
        for form in [[flag]] if option.flag else ([flag, text], [f"{flag}={text}"]):
            assert getattr(settle(*words, *form, *program), option.name) == value
    monkeypatch.setenv(option.envvar, text)
    assert getattr(settle(*words, *program), option.name) == value
    monkeypatch.setenv(option.envvar, "")
    expected = 40 if option.name == "max_connections" else option.default
    assert getattr(settle(*words, *program), option.name) == expected


def test_the_last_of_an_option_counts_and_letters_may_stand_together(settle) -> None:  # type: ignore[no-untyped-def]
    """The last value wins, letters combine, and a lone dash is an argument."""
    assert settle("tcp", "--workers", "2", ":0", "--workers=3", "--fork").workers == 3
    assert settle("tcp", ":0", "-qq", "-").handler == "-"


@pytest.mark.parametrize("name", ["idle_timeout", "max_duration", "start_timeout", "hang_timeout", "max_requests"])
@pytest.mark.parametrize("word", ["off", "never", "unlimited"])
def test_a_word_turns_a_limit_off(settle, monkeypatch, name: str, word: str) -> None:  # type: ignore[no-untyped-def]
    """A limit that the environment sets is turned off too."""
    flag = "--" + name.replace("_", "-")
    monkeypatch.setenv(variable_of(flag), "9")
    assert getattr(settle("tcp", ":0"), name) == 9
    assert getattr(settle("tcp", ":0", flag, word), name) == 0


def test_what_follows_the_dashes_is_a_program(settle) -> None:  # type: ignore[no-untyped-def]
    """The program has all words after the first --, options and dashes included; each request has its own process."""
    settled = settle("tcp", ":0", "-q", "--", "./serve", "--max-connections", "3", "--", "-x")
    assert (settled.program, settled.handler) == (("./serve", "--max-connections", "3", "--", "-x"), "")
    assert (settled.model, settled.max_connections, settled.target_text) == (
        "fork",
        40,
        "./serve --max-connections 3 -- -x",
    )


@pytest.mark.parametrize(("model", "most"), [("--sync", 1), ("--threads", 512), ("--fork", 40)])
def test_a_model_says_how_many_programs_there_may_be(settle, model: str, most: int) -> None:  # type: ignore[no-untyped-def]
    """The model sets the default limit of programs, as of handlers; --datagram-wait means one."""
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
    """A typed option wins over a variable, and a typed model over a variable's."""
    monkeypatch.setenv("SRVCTL_THREADS", "1")
    monkeypatch.setenv("SRVCTL_GRACEFUL_TIMEOUT", "5")
    assert settle("tcp", ":0").model == "threads"
    settled = settle("tcp", ":0", "--fork", "--graceful-timeout", "6")
    assert (settled.model, settled.graceful_timeout) == ("fork", 6.0)


def test_a_flag_of_the_environment_can_say_no(settle, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """The words 0, false, no and off leave a flag off."""
    for word in ("0", "false", "no", "off"):
        monkeypatch.setenv("SRVCTL_FORK", word)
        assert settle("tcp", ":0").model == "sync"


def test_several_assignments_of_the_environment_are_separated_by_space(settle, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """White space separates the assignments in a variable."""
    monkeypatch.setenv("SRVCTL_SET", "a=1 b=2")
    assert settle("tcp", ":0").set == (("a", "1"), ("b", "2"))


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_option_that_was_renamed_names_its_new_word(served, monkeypatch, capsys, old: str, new: str) -> None:  # type: ignore[no-untyped-def]
    """The old word is an error on the command line and as a variable."""
    assert main.run(["tcp", ":0", old, "5"]) == 2
    assert capsys.readouterr().err == f"srvctl: error: cannot use {old}: it is called {new} now\n"
    monkeypatch.setenv(variable_of(old), "5")
    assert main.run(["tcp", ":0"]) == 2
    assert f"cannot use the variable {variable_of(old)}: it is called {variable_of(new)} now" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["tpc", ":1"], "cannot serve 'tpc': no such family or command; did you mean tcp?"),
        (["TCP", ":1"], "cannot serve 'TCP': no such family or command; did you mean tcp?"),
        (["chek", "tcp", ":1"], "cannot serve 'chek': no such family or command; did you mean check?"),
        (["version"], "cannot serve 'version': no such family or command; did you mean --version?"),
        (["http", ":1"], "cannot serve 'http': no such family; expected tcp, tcp4, "),
        (["--threads", "tcp", ":1"], "cannot use option '--threads': it stands after the address: srvctl FAMILY "),
        (["tcp"], "cannot serve tcp: ADDRESS is missing"),
        (["tcp", ":0", "a:b", "c:d"], "cannot read the command line: unexpected argument (c:d)"),
        (["tcp", ":0", "--thread"], "cannot use option '--thread': no such option; did you mean --threads?"),
        (["tcp", ":0", "--worker"], "cannot use option '--worker': no such option; did you mean --workers?"),
        (["tcp", ":0", "--grace"], "cannot use option '--grace': no such option; did you mean --graceful-timeout?"),
        (["tcp", ":0", "--hlep"], "cannot use option '--hlep': no such option; did you mean --help?"),
        (["-x"], "cannot use option '-x': no such option"),
        (["tcp", ":0", "--threads", "--fork"], "cannot use --threads and --fork: expected one concurrency model"),
        (["tcp", ":0", "--threads=3"], "cannot use option '--threads': it takes no value; --max-connections is the "),
        (["tcp", ":0", "--announce=3"], "cannot use option '--announce': it takes no value"),
        (["tcp", ":0", "--max-connections"], "cannot use option '--max-connections': its value is missing; expected "),
        (["tcp", ":0", "--fork", "--max-connections", "0"], "cannot use --max-connections '0': expected a whole "),
        (["tcp", ":0", "--max-connections", "2"], "cannot use --max-connections 2: without --threads or --fork, "),
        (["tcp", ":0", "--at-limit", "x"], "cannot use --at-limit 'x': expected wait or refuse"),
        (["tcp", ":0", "--log-format", "jsn"], "cannot use --log-format 'jsn': expected text or json; did you mean j"),
        (["tcp", ":0", "--set", "x"], "cannot use --set 'x': expected NAME=VALUE"),
        (["tcp", ":0", "--max-duration", "x"], "cannot use --max-duration 'x': expected seconds"),
        (["tcp", ":0", "--socket-mode", "9"], "cannot use --socket-mode '9': expected permission bits in octal"),
        (["tcp", ":0", "-v", "-q"], "cannot use --verbose and --quiet: they exclude each other"),
        (["tcp", ":0", "--"], "cannot run a program: there is none after --"),
        (["tcp", "--", "cat"], "cannot serve tcp: ADDRESS is missing"),
        (["tcp", ":0", "sh", "-c", "a b"], "cannot run program 'sh': there is no -- before it; did you mean: -- sh "),
        (["tcp", "-q", ":0", "ls", "-v", "x"], "cannot run program 'ls': there is no -- before it; did you mean: -- l"),
        (["tcp", ":0", "echo", "-n"], "cannot use option '-n': no such option"),
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
        (["tcp", ":0", "--idle-timeout", "-1"], "cannot use --idle-timeout '-1': expected seconds, or a number with"),
        (["tcp", ":0", "--max-requests", "0"], "cannot use --max-requests '0': expected a whole number of at least 1"),
        (["tcp", ":0", "-qx"], "cannot use option '-x': no such option"),
        (["check", "tcp", ":0", "--max-connections", "2"], "cannot use --max-connections 2: without --threads or "),
        (["unit", "tcp", ":0", "--max-connections", "2"], "cannot use --max-connections 2: without --threads or "),
        (["unit", "tcp", ":0", "--systemd-version", "x"], "cannot use --systemd-version 'x': expected the number "),
        (["unit", "tcp", ":0", "--write", "/no/such"], "cannot use --write '/no/such': there is no such directory"),
        (["check", "tpc", ":1"], "cannot serve 'tpc': no such family; did you mean tcp?"),
        (["check", "http", ":1"], "cannot serve 'http': no such family; expected tcp, tcp4, "),
        (["check", "tcp"], "cannot serve tcp: ADDRESS is missing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_wrong_words_are_one_line_and_status_2(refuse: Callable[..., Said], words: list[str], why: str) -> None:
    """The line has the one form of an error, with the wrong word in it."""
    status, line = refuse(*words)
    assert status == 2
    assert line.startswith(why)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("SRVCTL_THREADS", "maybe"), ("SRVCTL_MAX_CONNECTIONS", "0"), ("SRVCTL_AT_LIMIT", "x"), ("SRVCTL_SET", "x")],
)
def test_a_wrong_variable_is_one_line_and_status_2(refuse, monkeypatch, variable: str, value: str) -> None:  # type: ignore[no-untyped-def]
    """The line names the option, the value and the variable."""
    monkeypatch.setenv(variable, value)
    status, line = refuse("tcp", ":0")
    assert status == 2
    assert "--" + variable.removeprefix("SRVCTL_").lower().replace("_", "-") in line
    assert f"{value!r}: " in line and line.endswith(f" (from the variable {variable})")


def test_bytes_of_an_error_stay_on_its_line(refuse: Callable[..., Said]) -> None:
    """Line breaks and escapes in a word are escaped."""
    for words in (["--max-connections", "1\n\x1b[2J"], ["echo", "more\n\x1b[2J"]):
        status, line = refuse("tcp", ":0", *words)
        assert status == 2
        assert line.isascii() and line.isprintable()
