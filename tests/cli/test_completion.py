"""Shell completion, as click's own classes ask for it."""

from __future__ import annotations

import pytest
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ShellComplete, ZshComplete

from srvctl.cli import commands
from srvctl.config.options import OPTIONS
from srvctl.loader import builtin
from srvctl.net.address import Family

HANDLERS = sorted(builtin.OWN)
FAMILIES = {family.word for family in Family}
COMMANDS = {"check", "unit", "handlers", "help"}


def complete(line: str, shell: type[ShellComplete] = BashComplete) -> list[CompletionItem]:
    """Return the completions of the last word of `line`; a space at its end begins a new word."""
    *words, incomplete = line.split(" ")
    return shell(commands.make_command(), {}, "srvctl", "_SRVCTL_COMPLETE").get_completions(words[1:], incomplete)


def plain(line: str) -> list[str]:
    """Return the words that complete `line`."""
    return [item.value for item in complete(line) if item.type == "plain"]


def types(line: str) -> list[str]:
    """Return what kinds of completions `line` has, in their order."""
    return list(dict.fromkeys(item.type for item in complete(line)))


def test_families_and_commands_are_completed() -> None:
    """They are the first word; after `check` and `unit` it is a family."""
    assert set(plain("srvctl ")) == FAMILIES | COMMANDS
    assert plain("srvctl unix-") == ["unix-dgram", "unix-seqpacket"]
    for command in ("check", "unit"):
        assert set(plain(f"srvctl {command} ")) == FAMILIES


@pytest.mark.parametrize("start", ["srvctl tcp :0 ", "srvctl check unix s --fork ", "srvctl unit udp --quiet :0 "])
def test_ready_made_handlers_are_completed_and_files(start: str) -> None:
    """The item for files comes first, because bash would drop the names before it."""
    assert plain(start) == HANDLERS
    assert types(start) == ["file", "plain"]
    assert plain(f"{start}dis") == ["discard"]
    assert [(item.type, item.value) for item in complete(f"{start}./my")] == [("file", "./my")]


def test_an_address_is_completed_where_it_is_a_path() -> None:
    """The shell knows no ports."""
    assert [(item.type, item.value) for item in complete("srvctl unix /ru")] == [("file", "/ru")]
    assert types("srvctl unix-dgram ") == ["file"]
    assert complete("srvctl tcp ") == complete("srvctl vsock ") == complete("srvctl fd ") == []


@pytest.mark.parametrize(
    "line", ["srvctl tcp :0 -- ", "srvctl tcp :0 -- ./pro", "srvctl tcp :0 -- cat ", "srvctl tcp :0 -- cat -n fi"]
)
def test_after_two_dashes_files_are_completed(line: str) -> None:
    """They are the program and its arguments."""
    assert [(item.type, item.value) for item in complete(line)] == [("file", line.split(" ")[-1])]


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.choices], ids=lambda option: option.name)
def test_the_words_of_a_choice_are_completed(option) -> None:  # type: ignore[no-untyped-def]
    """They are the value of the option."""
    assert plain(f"srvctl tcp :0 {option.long_flag} ") == list(option.choices)


@pytest.mark.parametrize("line", ["srvctl tcp :0 --chdir ", "srvctl unit tcp :0 --write "])
def test_a_directory_is_completed_by_the_shell(line: str) -> None:
    """The shell offers no files there."""
    assert types(line) == ["dir"]


def test_options_are_completed() -> None:
    """They are those of the family, and of `unit` as well."""
    assert {option.long_flag for option in OPTIONS} <= set(plain("srvctl tcp :0 --"))
    assert plain("srvctl tcp :0 --max-w") == ["--max-worker-age", "--max-worker-memory"]
    assert "--write" in plain("srvctl unit tcp --")


def test_the_word_to_be_explained_is_completed() -> None:
    """It is a family, a command, a handler or an option; `handlers` takes a handler."""
    assert set(plain("srvctl help ")) == FAMILIES | COMMANDS | set(HANDLERS)
    assert plain("srvctl help ec") == ["echo"]
    assert plain("srvctl help --grace") == ["--graceful-timeout"]
    assert plain("srvctl help --wr") == ["--write"]
    assert plain("srvctl help tcp ") == []
    assert plain("srvctl handlers ") == HANDLERS
    assert plain("srvctl handlers pro") == ["proxy"]


@pytest.mark.parametrize("shell", [BashComplete, ZshComplete, FishComplete])
def test_each_shell_gets_the_same_words(shell: type[ShellComplete]) -> None:
    """Only their form differs."""
    assert [item.value for item in complete("srvctl tcp :0 d", shell)] == ["d", "daytime", "discard"]
