"""The manual page srvctl-handlers(7): it says what is there, and what it shows works."""

import importlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from srvctl.loader.attributes import declared_attributes
from srvctl.loader.builtin import OWN
from srvctl.testing import exchange

CHECKOUT = Path(__file__).parents[2]
PAGE = CHECKOUT / "man" / "srvctl-handlers.7"
PYPROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
READY_MADE = PYPROJECT["project"]["entry-points"]["srvctl.handlers"]


def section(title):
    """Return the source of a section of the page."""
    return PAGE.read_text().partition(f"\n.Sh {title}\n")[2].partition("\n.Sh ")[0]


def examples():
    """Return the literal blocks of the page as a reader sees them."""
    blocks = re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return [block.replace(r"\e", "\\").replace(r"\(dq", '"') for block in blocks]


def example(word):
    """Return the one example that has `word` in it."""
    (found,) = (block for block in examples() if word in block)
    return found


def settable(name):
    """Return the attributes that ``--set`` takes for a ready-made handler, of either class."""
    module = importlib.import_module(READY_MADE[name])
    classes = [getattr(module, word) for word in ("Stream", "Datagram") if hasattr(module, word)]
    return {attribute: kind for cls in classes for attribute, kind in declared_attributes(cls).items()}


@pytest.mark.skipif(not shutil.which("mandoc"), reason="mandoc is not installed")
def test_mandoc_has_nothing_to_say_about_it():
    """The source is clean."""
    lint = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", PAGE], capture_output=True, text=True)
    assert (lint.returncode, lint.stdout, lint.stderr) == (0, "", "")


def test_it_lists_the_ready_made_handlers_and_no_others():
    """In the order of the alphabet."""
    assert re.findall(r"^\.It Cm (\w+)$", section("READY-MADE HANDLERS"), re.MULTILINE) == sorted(READY_MADE)


@pytest.mark.parametrize("name", sorted(READY_MADE))
def test_it_tells_every_attribute_that_can_be_set(name):
    """Each has an entry with its type, at the handler or where all of its kind are told of."""
    own = section("READY-MADE HANDLERS").partition(f".It Cm {name}\n")[2].partition("\n.It Cm ")[0]
    told = dict(re.findall(r"^\.It Va (\w+) : No (\w+)", own + section("OPTIONS OF A HANDLER"), re.MULTILINE))
    told |= dict(re.findall(r"^\.It Va (guard) : No (\w+)", section("READY-MADE HANDLERS"), re.MULTILINE))
    for attribute, kind in settable(name).items():
        assert told.get(attribute) == kind.split()[0], f"--set {attribute}="


@pytest.mark.parametrize("name", sorted(READY_MADE))
def test_it_tells_no_attribute_that_cannot_be_set(name):
    """What is listed at a handler is there."""
    own = section("READY-MADE HANDLERS").partition(f".It Cm {name}\n")[2].partition("\n.It Cm ")[0]
    assert set(re.findall(r"^\.It Va (\w+)", own, re.MULTILINE)) - {"guard"} <= set(settable(name))


@pytest.mark.parametrize("name", sorted(READY_MADE))
def test_each_ready_made_handler_says_what_it_is_in_one_line(name):
    """The line that ``srvctl handlers`` prints names the RFC, and the page has the RFC among its standards."""
    module = importlib.import_module(READY_MADE[name])
    first = module.__doc__.splitlines()[0]
    assert first.endswith(".")
    found = re.findall(r"\((RFC \d+)\)\.$", first)
    assert found or name in ("proxy", "append")  # which no RFC tells of
    assert all(f".%R {rfc}\n" in section("STANDARDS") for rfc in found)


def test_each_ready_made_handler_is_named_alike_everywhere():
    """The word, the module, and the file."""
    assert {name: f"srvctl.handlers.{name}" for name in READY_MADE} == READY_MADE
    assert set(READY_MADE) == OWN
    modules = {path.stem for path in (CHECKOUT / "handlers").glob("*.py")}
    folders = {path.parent.name for path in (CHECKOUT / "handlers").glob("*/__init__.py")}
    assert modules | folders == {*READY_MADE, "__init__", "shared"}


def test_the_server_without_sockets_runs_as_printed(tmp_path):
    """The program of the page serves the rows that are there, and those that come."""
    (tmp_path / "example.py").write_text(example("sqlite3"))
    table = sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)
    table.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY, text TEXT)")
    table.execute("INSERT INTO jobs (text) VALUES ('one'), ('two')")
    command = [sys.executable, "-W", "error", "example.py"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as program:
        assert [program.stdout.readline() for _ in range(2)] == ["1: ONE\n", "2: TWO\n"]
        table.execute("INSERT INTO jobs (id, text) VALUES (7, 'later')")
        assert program.stdout.readline() == "7: LATER\n"
        program.terminate()
    assert table.execute("SELECT count(*) FROM jobs").fetchone() == (0,)
    table.close()


def test_the_handlers_of_the_page_work_as_printed(caplog):
    """Those that are whole programs are run."""
    names = {}
    for word in ("def hello", "class Upper", "class Greeter", "class Login"):
        program = {}
        exec(compile(example(word), PAGE.name, "exec"), program)
        names |= program
    assert exchange(names["hello"]) == b"hello\n"
    assert exchange(names["Upper"], b"one\n") == b"ONE\n"
    assert exchange(type("Thrice", (names["Greeter"],), {"greeting": "hi", "times": 3})) == b"hi\n" * 3
    assert {"greeting": "str", "times": "int", "limit": "float or none"}.items() <= (
        declared_attributes(names["Greeter"]).items()
    )
    with caplog.at_level("INFO"):
        exchange(names["Login"], b"ann\n")
    assert caplog.messages == ["login of b'ann'"]


def test_the_tests_of_the_page_pass_as_printed(tmp_path):
    """By the plugin as pytest finds it, in a directory with nothing but handler and tests."""
    tmp_path.chmod(0o755)
    (tmp_path / "upper.py").write_text(example("class Upper"))
    (tmp_path / "test_upper.py").write_text(example("def test_upper"))
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", tmp_path]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_what_it_says_of_lingering_is_so():
    """The figures are those of the code."""
    from srvctl.socketserver import lingering_close

    assert (
        f"for {lingering_close.LINGER_SECONDS:.0f} seconds and {lingering_close.LINGER_BYTES // 1024} KiB"
        in section("ENDING")
    )


def test_the_exit_status_of_a_handler_that_cannot_be_loaded_is_so():
    """78, EX_CONFIG of sysexits(3)."""
    assert f"with status {os.EX_CONFIG}." in section("DESCRIPTION")
