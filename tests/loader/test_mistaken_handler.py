"""Words in the place of a handler that name none: each is one line that says what was probably meant."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from srvctl.errors import LoadError, UsageError
from srvctl.loader import builtin
from srvctl.loader.mistaken_handler import explain_program

MODULE = """
raise SystemExit("imported")
class Base:
    def handle(self): ...
class _Hidden(Base): ...
class First(Base): ...
class Waits:
    async def handle(self): ...
class Second(other.Base):
    def setup(self): ...
    def handle(self): ...
class Other:
    def serve(self): ...
def function(request, client_address, server): ...
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with one module in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MODULE)
    return tmp_path


def why(handler: str) -> str:
    """Return why `handler` cannot be loaded."""
    with pytest.raises(LoadError) as caught:
        builtin.lookup(handler)
    assert caught.value.what == f"handler {handler!r}"
    return caught.value.why


@pytest.mark.parametrize(
    ("word", "meant"),
    [("eco", "echo"), ("ecoh", "echo"), ("Echo", "echo"), ("syslogd", "syslog"), ("prox", "proxy"), ("qtod", "qotd")],
)
def test_a_misspelt_ready_made_handler_is_recognized(word: str, meant: str) -> None:
    """The line proposes it, and does not list the others."""
    assert why(word) == f"there is no ready-made handler of that name; did you mean {meant}?"


def test_a_word_like_no_other_gets_the_list() -> None:
    """All ready-made handlers are named."""
    assert why("noword") == (
        "there is no ready-made handler of that name (append, chargen, daytime, discard, echo, proxy, qotd, static, "
        "syslog, time); expected MODULE:NAME"
    )


@pytest.mark.parametrize(("word", "kind"), [("mine", "module"), ("mine.py", "file"), ("./mine.py", "file")])
def test_a_module_without_a_name_lists_its_classes_and_is_not_imported(word: str, kind: str) -> None:
    """The classes are public and have a method ``handle``, their own or of another class of the module."""
    assert why(word) == f"it is a {kind}; expected {word}:NAME, NAME being one of Base, First, Second"
    assert "mine" not in sys.modules


def test_a_module_with_one_class_proposes_it(here: Path) -> None:
    """A package is a module as well."""
    (here / "package").mkdir()
    (here / "package" / "__init__.py").write_text("class Only:\n    def handle(self): ...\n")
    assert why("package") == "it is a module; did you mean package:Only?"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = 1", "it is a module in which no class has a method handle; expected bare:NAME"),
        ("class broken(:", "it is a module; expected bare:NAME"),
        ("\0", "it is a module; expected bare:NAME"),
    ],
)
def test_a_module_without_classes_or_with_a_broken_source_is_still_a_module(here: Path, source: str, said: str) -> None:
    """The line says what to write."""
    (here / "bare.py").write_text(source)
    assert why("bare") == said


def test_a_file_named_as_a_standard_module_is_to_be_named_as_a_file(here: Path) -> None:
    """As a module, the one of the standard library would be imported."""
    (here / "queue.py").write_text("class Only:\n    def handle(self): ...\n")
    assert why("queue") == "it is a file; did you mean queue.py:Only?"


def test_a_module_that_is_installed_is_recognized_without_an_import() -> None:
    """It may be the standard library's."""
    sys.modules.pop("antigravity", None)
    assert why("antigravity").startswith("it is a module in which no class has a method handle; expected antigravity:")
    assert "antigravity" not in sys.modules


@pytest.fixture
def script(here: Path) -> Path:
    """A shell script, which may be executed."""
    path = here / "smtp.sh"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("word", "program"), [("./smtp.sh", "./smtp.sh"), ("smtp.sh", "./smtp.sh"), ("cat", "cat"), ("/bin/sh", "/bin/sh")]
)
def test_a_program_needs_two_dashes(script: Path, word: str, program: str) -> None:
    """The line is a usage error with the words as they should be."""
    with pytest.raises(UsageError) as caught:
        builtin.lookup(word)
    assert str(caught.value) == (f"cannot run program {word!r}: there is no -- before it; did you mean: -- {program}")


def test_the_arguments_of_a_program_are_quoted_as_a_shell_needs_it(script: Path) -> None:
    """What is proposed can be pasted."""
    error = explain_program(["./smtp.sh", "-x", "two words", "$HOME"])
    assert error and error.why.endswith("did you mean: -- ./smtp.sh -x 'two words' '$HOME'")


@pytest.mark.parametrize("word", ["mine.py", "mine:First", "no-such-program", "./nowhere", "."])
def test_what_cannot_be_executed_is_no_program(here: Path, word: str) -> None:
    """A Python file is none, executable or not."""
    (here / "mine.py").chmod(0o755)
    assert explain_program([word, "argument"]) is None


def test_a_file_that_is_neither_python_nor_executable_is_said_to_be_so(script: Path) -> None:
    """Both ways out are named."""
    script.chmod(0o644)
    said = "it is neither a Python file nor executable; expected FILE.py:NAME, or a program after --"
    assert why("./smtp.sh") == said


@pytest.mark.parametrize("word", ["mine:First", "mine.First", "./mine.py:First", "./smtp.sh:Name", "no.such", "./nope"])
def test_what_may_name_a_handler_is_left_to_the_worker(script: Path, word: str) -> None:
    """Nothing is looked up."""
    assert builtin.lookup(word) == (word, False)


def test_a_dotted_name_that_is_by_chance_a_file_is_left_to_the_worker(here: Path) -> None:
    """It is not executable, and has no slash."""
    (here / "mine.First").write_text("")
    assert builtin.lookup("mine.First") == ("mine.First", False)
