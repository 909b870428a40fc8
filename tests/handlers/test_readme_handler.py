"""The chapter of README that goes from a handler's first line to its unit: short, and true."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launched import PATIENCE, Launched, clean_environment, receive_exactly

README = (Path(__file__).parents[2] / "README.md").read_text()
TITLE = "A handler of your own, from first line to systemd unit"
CHAPTER = README.partition(f"\n## {TITLE}\n")[2].partition("\n## ")[0]
(NAME, SOURCE), COMMANDS = (
    re.search(r"```python\n# (\S+)\n(.*?)```", CHAPTER, re.DOTALL).groups(),
    re.search(r"```sh\n(.*?)```", CHAPTER, re.DOTALL)[1].splitlines(),
)
PATH = f"{Path(sys.executable).parent}:{clean_environment()['PATH']}"


@pytest.fixture
def written(place):
    """A directory with the handler as README shows it."""
    (place / NAME).write_text(SOURCE)
    return place


@pytest.fixture
def unit(written):
    """The unit that the second command makes."""
    subprocess.run(["bash", "-c", COMMANDS[1]], cwd=written, env=clean_environment(PATH=PATH), check=True)
    return written / "number.service"


def anywhere(words):
    """Return a command line with a port of the kernel's choice, without the program's name."""
    return ["127.0.0.1:0" if word == ":9000" else word for word in words[1:]]


def test_it_is_under_thirty_lines():
    """All of it, the heading too."""
    assert len(f"## {TITLE}\n{CHAPTER}".rstrip().splitlines()) < 30


def test_the_first_command_serves_it(launch, written):
    """With the option set."""
    server = launch(*anywhere(shlex.split(COMMANDS[0], comments=True)))
    with server.connect() as client:
        client.sendall(b"one\n")
        assert receive_exactly(client, 7) == b"10 one\n"


def test_the_unit_serves_it_too(unit, written):
    """By the command that is in it, in the directory that is in it."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read_string(unit.read_text())
    service = parser["Service"]
    words = [word for word in shlex.split(service["ExecStart"]) if word != "--fd-store"]
    assert Path(service["WorkingDirectory"]) == written
    with Launched(*anywhere(words), cwd=written, command=[words[0]]) as server, server.connect() as client:
        client.sendall(b"one\n")
        assert receive_exactly(client, 7) == b"10 one\n"
        server.process.terminate()
        client.close()
        assert server.wait() == 0


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_accepts_the_unit(unit):
    """As it will when it is copied."""
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=PATIENCE)
    assert [line for line in done.stderr.splitlines() if unit.name in line] == []


def test_what_is_copied_and_started_is_what_was_made():
    """The names agree."""
    assert re.search(r"> (\S+)$", COMMANDS[1])[1] == COMMANDS[2].split()[2] == f"{COMMANDS[3].split()[-1]}.service"
    assert COMMANDS[2].split()[-1] == "/etc/systemd/system/"
