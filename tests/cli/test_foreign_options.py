"""Options that people bring from other servers: each row of the table is one line, and none is an option of ours."""

from __future__ import annotations

from collections.abc import Callable

import click
import pytest

from srvctl.cli import commands, parser
from srvctl.cli.foreign_options import FOREIGN_OPTIONS
from srvctl.config.option import Option
from srvctl.config.options import MODEL_OPTIONS, OPTIONS

Said = tuple[int, str]

# What every newcomer has tried.
EXPECTED = (
    *("--tls", "--user", "--group", "--reload", "--port", "-p", "--host", "-b", "--bind", "--daemon", "-d"),
    *("--config", "-c", "--pid", "--pidfile", "--keep-alive", "--async", "--log-level", "-w", "-k", "-u", "-g"),
)


def our_flags() -> set[str]:
    """Return each flag that any command takes."""
    program = commands.make_command()
    context = click.Context(program)
    found = {flag for param in program.get_params(context) for flag in param.opts}
    for name in program.list_commands(context):
        command = program.get_command(context, name)
        if isinstance(command, click.Group):
            command = command.get_command(context, "tcp")
        assert command
        found |= {flag for param in command.get_params(context) for flag in param.opts}
    return found | set(parser.RENAMED)


@pytest.mark.parametrize(("flag", "sentence"), FOREIGN_OPTIONS.items())
def test_an_option_of_another_server_is_explained_in_one_line(
    refuse: Callable[..., Said], flag: str, sentence: str
) -> None:
    """The line says how srvctl does the same, wherever the option stands, and proposes nothing else."""
    assert refuse("tcp", ":0", flag, "value") == (2, f"cannot use {flag}: {sentence}")
    assert refuse("check", "unix", "socket", flag) == (2, f"cannot use {flag}: {sentence}")
    assert refuse(flag, "value", "tcp") == (2, f"cannot use {flag}: {sentence}")


@pytest.mark.parametrize("flag", FOREIGN_OPTIONS)
def test_an_option_that_exists_is_not_in_the_table(flag: str) -> None:
    """When a server is given an option, its row has to go; what `srvctl unit` alone has is another matter."""
    flags = {flag for option in (*MODEL_OPTIONS, *OPTIONS) for flag in option.flags}
    assert flag not in flags | set(parser.RENAMED)


@pytest.mark.parametrize("sentence", sorted(set(FOREIGN_OPTIONS.values())))
def test_a_sentence_is_short_and_names_only_options_that_exist(sentence: str) -> None:
    """It fits a line of a terminal, begins in lower case as all errors do, and has no full stop."""
    assert len(sentence) <= 105 and not sentence.endswith(".") and "\n" not in sentence
    assert sentence[0].islower() and sentence.isascii()
    assert {word.strip(";,:()") for word in sentence.split() if word.startswith("--")} <= {*our_flags(), "--"}


@pytest.mark.parametrize("flag", EXPECTED)
def test_the_table_has_what_people_try(flag: str) -> None:
    """These are the words of gunicorn, uvicorn and tcpserver."""
    assert flag in FOREIGN_OPTIONS


@pytest.mark.parametrize("flag", ["--nosuch", "--colour", "--x", "--certificate-authority"])
def test_an_option_that_resembles_none_gets_no_proposal(refuse: Callable[..., Said], flag: str) -> None:
    """Dashes do not count when words are compared."""
    assert refuse("tcp", ":0", flag) == (2, f"cannot use option {flag!r}: no such option")


@pytest.mark.parametrize("option", [*MODEL_OPTIONS, *OPTIONS], ids=lambda option: option.name)
def test_an_option_with_a_letter_missing_is_found(refuse: Callable[..., Said], option: Option[object]) -> None:
    """The right one is proposed, alone or among others."""
    flag = option.long_flag
    wrong = flag[:-2] + flag[-1]
    _, line = refuse("tcp", ":0", wrong)
    assert flag in line.partition("; did you mean ")[2].rstrip("?").split(" or ")


def test_an_option_before_the_family_is_said_to_be_misplaced(refuse: Callable[..., Said]) -> None:
    """The line shows where the option stands."""
    why = "cannot use option '--workers': it stands after the address: srvctl FAMILY ADDRESS --workers"
    assert refuse("--workers", "2", "tcp", ":0") == (2, why)
