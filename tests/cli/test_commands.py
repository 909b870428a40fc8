"""The commands that click runs: help, version, the list of handlers, units."""

from __future__ import annotations

from pathlib import Path

import pytest

import srvctl
from srvctl.cli import main
from srvctl.net.address import Family


def test_without_words_the_help_is_shown_and_the_status_is_2(served, capsys) -> None:  # type: ignore[no-untyped-def]
    """The help goes to standard error, since it was not asked for."""
    assert main.run([]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith(
        "Usage: srvctl FAMILY ADDRESS [OPTIONS] [HANDLER | -- PROGRAM [ARG]...]\n"
    )


@pytest.mark.parametrize("words", [["tcp", "--help"], ["tcp", ":0", "-q", "-h"], ["check", "unix", "-h"]])
def test_the_help_of_a_family_is_grouped(served, capsys, words: list[str]) -> None:  # type: ignore[no-untyped-def]
    """Options stand under headings by subject."""
    assert main.run(words) == 0
    lines = capsys.readouterr().out.splitlines()
    headings = [line for line in lines if line.endswith(":") and not line.startswith((" ", "Usage"))]
    assert headings == [
        *(["Check:"] if words[0] == "check" else []),
        *("Concurrency:", "Workers:", "Socket:", "Handler:"),
        *("Program:", "Time:", "Output:", "Other:"),
    ]


@pytest.mark.parametrize("words", [["--help"], ["-h"]])
def test_the_help_of_the_command_fits_one_screen(served, monkeypatch, capsys, words: list[str]) -> None:  # type: ignore[no-untyped-def]
    """Each entry is one line of at most 80 columns; it says where the rest is."""
    monkeypatch.setenv("COLUMNS", "80")
    assert main.run(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 32 and max(map(len, lines)) <= 80
    assert not any(line.startswith("    ") for line in lines)
    text = "\n".join(lines)
    assert all(f" {family.word} " in text.replace("\n", " ") for family in Family)
    assert all(f"  {word}  " in text for word in ("check", "unit", "handlers", "help"))
    assert "srvctl tcp --help" in lines[-1] and "man srvctl" in lines[-1]


def test_the_examples_of_the_help_can_be_typed(served, capsys) -> None:  # type: ignore[no-untyped-def]
    """Each example starts a server."""
    assert main.run(["--help"]) == 0
    examples = [line.split()[1:] for line in capsys.readouterr().out.splitlines() if line.startswith("  srvctl ")]
    assert len(examples) == 3
    assert [main.run(words) for words in examples] == [0, 0, 0]
    assert [settings.family for settings in served] == ["tcp", "unix", "udp"]


@pytest.mark.parametrize("command", ["check", "unit"])
def test_the_help_of_a_command_says_where_its_options_are(served, capsys, command: str) -> None:  # type: ignore[no-untyped-def]
    """The last line points to the help of a family."""
    assert main.run([command, "--help"]) == 0
    assert capsys.readouterr().out.endswith(f"\nThe options are those of a family: srvctl {command} tcp --help\n")


def test_units_are_printed_or_written(served, capsys, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """With --write their paths are printed, and the files have the same text."""
    words = ["unit", "tcp", ":9000", "--name", "mine", "echo"]
    assert main.run(words) == 0
    text = capsys.readouterr().out
    assert "ExecStart=" in text
    assert main.run([*words, "--write", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/mine.service\n"
    assert (tmp_path / "mine.service").read_text() == text


def test_the_version_is_shown(served, capsys) -> None:  # type: ignore[no-untyped-def]
    """The version is that of the package."""
    assert main.run(["--version"]) == 0
    assert capsys.readouterr().out == f"srvctl {srvctl.__version__}\n"


def test_the_ready_made_handlers_are_listed_with_a_line_on_each(served, capsys) -> None:  # type: ignore[no-untyped-def]
    """Handlers are listed in alphabetical order."""
    assert main.run(["handlers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = ["append", "chargen", "daytime", "discard", "echo", "proxy", "qotd", "static", "syslog", "time"]
    assert [line.split()[0] for line in lines] == names
    assert "echo     Send back everything that the client sends (RFC 862)." in lines


def test_a_broken_handler_of_another_package_does_not_end_the_list(served, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """The line of a broken handler says what is wrong with it."""
    from importlib.metadata import EntryPoint

    from srvctl.loader import builtin

    points = [EntryPoint("bad", "no.such.module", builtin.GROUP), EntryPoint("good", "srvctl.handlers.echo", "x")]
    monkeypatch.setattr(builtin, "installed", lambda: points)
    assert main.run(["handlers"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("bad   (ModuleNotFoundError: ")
    assert second.startswith("good  Send back")
