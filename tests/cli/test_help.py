"""``srvctl help WORD``, and ``srvctl handlers NAME``: what is shown for each kind of word, and for a wrong one."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint

import pytest

from srvctl.cli import main
from srvctl.config.option import Option
from srvctl.config.options import MODEL_OPTIONS, OPTIONS
from srvctl.loader import builtin
from srvctl.net.address import Family

Said = tuple[int, str]


@pytest.fixture
def show(served, monkeypatch, capsys) -> Callable[..., str]:  # type: ignore[no-untyped-def]
    """Return what a command line prints, with lines of 100 columns."""
    monkeypatch.setenv("COLUMNS", "100")

    def run(*words: str) -> str:
        assert main.run(list(words)) == 0
        said = capsys.readouterr()
        assert said.err == ""
        text: str = said.out
        return text

    return run


def test_help_alone_is_the_help_of_the_command(show: Callable[..., str]) -> None:
    """It goes to standard output, since it was asked for."""
    assert show("help") == show("--help")


@pytest.mark.parametrize(
    "words", [*([family.word] for family in Family), ["check"], ["unit"], ["unit", "tcp"]], ids=str
)
def test_the_help_of_a_command_is_that_of_its_option(show: Callable[..., str], words: list[str]) -> None:
    """The same text is shown for ``help tcp`` and ``tcp --help``."""
    assert show("help", *words) == show(*words, "--help")


@pytest.mark.parametrize("command", ["handlers", "help"])
def test_the_other_commands_are_explained_as_well(show: Callable[..., str], command: str) -> None:
    """``help`` itself too."""
    assert show("help", command).startswith(f"Usage: srvctl {command} ")


@pytest.mark.parametrize("option", [*MODEL_OPTIONS, *OPTIONS], ids=lambda option: option.name)
def test_an_option_is_explained_with_and_without_its_dashes(show: Callable[..., str], option: Option[object]) -> None:
    """Its text, its default and its variable are shown, under its heading."""
    text = show("help", option.long_flag)
    assert show("help", option.long_flag.removeprefix("--")) == text
    assert text.startswith(f"{option.group}:\n  {', '.join(option.flags)}")
    shown = " ".join(text.split())
    assert option.help in shown and f"env: {option.envvar}]" in shown


@pytest.mark.parametrize("word", ["-v", "-q", "--socket", "--systemd-version", "--version", "-V", "name"])
def test_short_options_and_those_of_one_command_are_explained(show: Callable[..., str], word: str) -> None:
    """An option of ``help`` itself is the only one that is obeyed."""
    assert word.lstrip("-") in show("help", word)


@pytest.mark.parametrize("name", sorted(builtin.OWN))
def test_a_handler_is_explained_the_same_by_both_commands(show: Callable[..., str], name: str) -> None:
    """What it does comes first."""
    text = show("help", name)
    assert show("handlers", name) == text
    assert text.startswith(f"Usage: srvctl FAMILY ADDRESS [OPTIONS] {name}\n\n")
    point = next(point for point in builtin.installed() if point.name == name)
    assert builtin.describe(point) in text


def test_the_attributes_of_a_handler_are_shown_with_their_defaults(show: Callable[..., str]) -> None:
    """Connections and datagrams may have different ones; the quotes of code are single."""
    connections, datagrams = show("help", "proxy").partition("Connections:\n")[2].split("Datagrams:\n")
    assert "Attributes, which --set NAME=VALUE sets:\n" in connections
    assert "    connect_timeout (float)  default: 10\n" in connections
    assert "    splice (bool)            default: yes\n" in connections
    assert "    to (str)                 default: ''\n" in connections
    assert "answers (int)" not in connections and "    answers (int)    default: 1\n" in datagrams
    assert "Connect to 'to' for each connection" in connections
    assert "timeout (float or none)         default: none\n" in show("help", "chargen")


def test_a_handler_of_another_package_may_be_a_class_or_a_function(show, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """A function has no attributes; one without a docstring has no text."""
    points = [
        EntryPoint("web", "http.server:SimpleHTTPRequestHandler", builtin.GROUP),
        EntryPoint("function", "os:getcwd", builtin.GROUP),
    ]
    monkeypatch.setattr(builtin, "installed", lambda: points)
    assert "  protocol_version (str)          default: 'HTTP/1.0'\n" in show("help", "web")
    assert "Return a unicode string" in show("handlers", "function")
    assert "Attributes" not in show("handlers", "function")


def test_a_handler_that_cannot_be_imported_is_an_error(served, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """As it is when a server is started with it."""
    monkeypatch.setattr(builtin, "installed", lambda: [EntryPoint("bad", "no.such.module", builtin.GROUP)])
    assert main.run(["help", "bad"]) == 78
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .startswith("srvctl: error: cannot load handler 'bad': ModuleNotFoundError: No module named 'no'")
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["tpc"], "cannot explain 'tpc': no family, command, option or handler has that name; did you mean tcp?"),
        (["ecoh"], "cannot explain 'ecoh': no family, command, option or handler has that name; did you mean echo?"),
        (["chekc"], "cannot explain 'chekc': no family, command, option or handler has that name; did you mean check?"),
        (["nothing-like-it"], "cannot explain 'nothing-like-it': no family, command, option or handler has that name"),
        (
            ["--idle-timeot"],
            "cannot explain '--idle-timeot': no family, command, option or handler has that name; "
            "did you mean --idle-timeout?",
        ),
        (["tcp", ":0"], "cannot explain 'tcp :0': expected a family, a command, an option or a handler"),
        (["unit", "tpc"], "cannot explain 'unit tpc': expected a family, a command, an option or a handler"),
        (["sink"], "cannot explain 'sink': it is called 'append' now"),
        (["--max"], "cannot use --max: it is called --max-connections now"),
        (["max"], "cannot use --max: it is called --max-connections now"),
        (["--tls"], "cannot use --tls: srvctl has no TLS; run a TLS proxy such as stunnel or nginx in front of it"),
        (["tls"], "cannot use --tls: srvctl has no TLS; run a TLS proxy such as stunnel or nginx in front of it"),
    ],
    ids=str,
)
def test_a_word_that_cannot_be_explained_is_a_usage_error(
    refuse: Callable[..., Said], words: list[str], line: str
) -> None:
    """The line says what was probably meant."""
    assert refuse("help", *words) == (2, line)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ecoh", "there is no ready-made handler of that name; did you mean echo?"),
        ("nothing", "there is no ready-made handler of that name; expected append, chargen, daytime, discard, echo, "
         "proxy, qotd, static, syslog, time"),
        ("sink", "it is called 'append' now"),
    ],
)  # fmt: skip
def test_a_name_that_is_no_handlers_is_a_usage_error(refuse: Callable[..., Said], name: str, hint: str) -> None:
    """The line has the names, or the one that was meant."""
    assert refuse("handlers", name) == (2, f"cannot explain {name!r}: {hint}")
