"""Documents are checked products: the manual page, README and `--help` say what the code says, and examples run."""

from __future__ import annotations

import ast
import inspect
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest

from srvctl.cli import commands
from srvctl.cli.unit import UNIT_OPTIONS
from srvctl.config.options import MODELS, OPTIONS
from srvctl.config.settings import Settings
from srvctl.errors import ExitStatus
from srvctl.net.address import Family
from srvctl.net.ucspi import CONNECTION_ID, CONNECTION_NAMES, INHERITED
from srvctl.runtime import log
from srvctl.runtime.lifecycle import TRANSITIONS, Event, State
from srvctl.supervisor.signals import SIGNALS
from srvctl.systemd import protocol as systemd
from tests.launched import PATIENCE, clean_environment

CHECKOUT = Path(__file__).parents[1]
PAGE = (CHECKOUT / "man" / "srvctl.1").read_text()
LOG_PAGE = (CHECKOUT / "man" / "srvctl-log.5").read_text()
README = (CHECKOUT / "README.md").read_text()
# Those with the peer and the identifier of the current conversation, if there is one.
HANDLERS_EVENTS = ("printed", "warned", "thread failed")
PYPROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
CI = (CHECKOUT / ".ci" / "run").read_text()


def section(title: str, mark: str = "Sh") -> str:
    """Return the source of one section of the manual page."""
    return PAGE.partition(f"\n.{mark} {title}\n")[2].partition(f"\n.{mark} ")[0]


def chapter(title: str) -> str:
    """Return one chapter of README."""
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def option_entries() -> dict[str, str]:
    """Return the entries of the page's OPTIONS, by their flags as they are typed."""
    entries = re.findall(r"^\.It (Fl .*)\n((?:(?!\.It ).*\n)*)", section("OPTIONS") + "\n", re.MULTILINE)
    return {
        " ".join("-" + flag for flag in re.findall(r"Fl (\S+)", head)): head + "\n" + text for head, text in entries
    }


def help_of(*words: str) -> str:
    """Return what ``srvctl WORDS --help`` says, on one line: it is folded anywhere."""
    command: click.Command = commands.make_command()
    context = click.Context(command, info_name="srvctl")
    for word in words:
        assert isinstance(command, click.Group)
        command = command.commands[word]
        context = click.Context(command, parent=context, info_name=word)
    return " ".join(command.get_help(context).split())


def events() -> dict[str, tuple[str, set[str]]]:
    """Return the events of `srvctl.runtime.log`, as it is written: the level and the fields of each."""
    found = {}
    for function in ast.parse(inspect.getsource(log)).body:
        if not isinstance(function, ast.FunctionDef) or function.name == "_event":
            continue
        for call in ast.walk(function):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "_event":
                level, name = call.args
                assert isinstance(level, ast.Name) and isinstance(name, ast.Constant)
                fields = {keyword.arg for keyword in call.keywords if keyword.arg}
                if name.value in found:  # an event that two kinds of server log
                    level_of_both, others = found[name.value]
                    found[name.value] = (level_of_both, fields | others)
                    continue
                found[name.value] = (level.id.lower(), fields)
    return found


# --- the manual page


@pytest.mark.parametrize("page", ["srvctl.1", "srvctl-log.5", "srvctl-handlers.7", "srvctl-service.7"])
@pytest.mark.skipif(not shutil.which("mandoc"), reason="mandoc is not installed")
def test_mandoc_has_nothing_to_say_about_the_pages(page: str) -> None:
    """Their source is clean."""
    lint = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", CHECKOUT / "man" / page], capture_output=True, text=True
    )
    assert (lint.returncode, lint.stdout, lint.stderr) == (0, "", "")


def test_the_wheel_has_the_pages_and_every_package() -> None:
    """What is installed is what is in the checkout."""
    setuptools = PYPROJECT["tool"]["setuptools"]
    assert setuptools["data-files"] == {
        "share/man/man1": ["man/srvctl.1"],
        "share/man/man5": ["man/srvctl-log.5"],
        "share/man/man7": ["man/srvctl-handlers.7", "man/srvctl-service.7"],
    }
    packages = {".".join(path.parent.relative_to(CHECKOUT).parts) for path in CHECKOUT.glob("srvctl/**/__init__.py")}
    handlers = {
        "srvctl." + ".".join(path.parent.relative_to(CHECKOUT).parts)
        for path in CHECKOUT.glob("handlers/**/__init__.py")
    }
    assert set(setuptools["packages"]) == packages | handlers
    assert setuptools["package-data"] == {"srvctl": ["py.typed"]}


def test_the_page_has_every_option_and_no_others() -> None:
    """In the order of the help, the models first."""
    declared = [*(f"--{model}" for model in MODELS), *(" ".join(option.flags) for option in OPTIONS)]
    assert list(option_entries()) == [*declared, "-h --help", "-V --version"]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_the_page_says_default_value_and_variable_of_an_option(option) -> None:  # type: ignore[no-untyped-def]
    """As the help does, and which words a choice has."""
    entry = option_entries()[" ".join(option.flags)]
    assert f"\nDefault: {option.default_text}.\n.Ev {option.envvar}\n" in entry
    if option.choices:
        assert f"Cm {' | '.join(option.choices)}\n" in entry
    if option.metavar:
        plain = re.sub(r" (Ns|Op|Oo|Oc|Ar|No)\b", "", entry.splitlines()[0]).replace(" ", "")
        assert option.metavar.replace("[", "").replace("]", "") in plain


def test_the_page_has_every_option_of_a_unit() -> None:
    """With the word for its value, in the order of the help."""
    assert [f"--{flag}" for flag in re.findall(r"^\.It Fl -(\S+)", section("UNITS"), re.MULTILINE)] == [
        option.long_flag for option in UNIT_OPTIONS
    ]
    for option in UNIT_OPTIONS:
        _, _, entry = section("UNITS").partition(
            f".It Fl {option.long_flag[1:]}{f' Ar {option.metavar}' * bool(option.metavar)}\n"
        )
        assert entry, option.name


@pytest.mark.parametrize("model", MODELS)
def test_the_page_says_the_variable_of_a_model(model: str) -> None:
    """A model is an option too."""
    assert f"\n.Ev SRVCTL_{model.upper()}\n" in option_entries()[f"--{model}"]


def test_the_page_has_every_family_in_order() -> None:
    """The words are those of the command line."""
    words = re.findall(r"^\.It Cm (\S+)$", section("FAMILIES"), re.MULTILINE)
    assert words == [family.word for family in Family]


def test_the_page_has_every_signal_and_no_others() -> None:
    """In the order of the supervisor's."""
    found = re.findall(r"SIG[A-Z0-9]+", " ".join(re.findall(r"^\.It Dv (.+)$", section("SIGNALS"), re.MULTILINE)))
    assert found == [number.name for number in SIGNALS]


def test_the_page_has_every_exit_status_with_its_meaning() -> None:
    """In the words of the code."""
    rows = re.findall(r"^\.It (\d+)\n(.+)$", section("EXIT STATUS"), re.MULTILINE)
    assert [(int(number), text) for number, text in rows] == [(int(s), s.meaning) for s in ExitStatus]


def test_the_page_has_every_event_of_the_log_with_its_level_and_fields() -> None:
    """And none that is not written."""
    entries = re.findall(r"^\.It Sy (.+) Pq Cm (\w+)\n((?:(?!\.It |\.El).*\n)*)", LOG_PAGE, re.MULTILINE)
    written = events()
    assert {name for name, _, _ in entries} == set(written)
    for name, level, text in entries:
        fields = set(re.findall(r"\w+", " ".join(re.findall(r"^\.Va (.+)$", text, re.MULTILINE))))
        wanted_level, wanted = written[name]
        assert level in (wanted_level, "info" if wanted_level == "priority" else wanted_level), name
        assert wanted <= fields, name
        if name not in ("state", "handler failed", "peer failed", "ended", "logged"):  # they have fields of a mapping
            assert fields == wanted | ({"peer", "id"} if name in HANDLERS_EVENTS else set()), name


def test_the_figures_of_a_state_are_those_of_the_page() -> None:
    """Whatever a worker counts."""
    from srvctl.worker.assemble import assemble

    settings = Settings.resolve("tcp", ":0", "echo", "sync")
    server = assemble(settings, 1, socket.socket(), print, is_own=True)
    figures = server.figures()
    server.server_close()
    entry = LOG_PAGE.partition(".It Sy state ")[2].partition(".It ")[0]
    assert set(figures) <= set(re.findall(r"\w+", entry))


def test_the_page_has_every_variable_of_systemd() -> None:
    """Those that are read, and those that are only kept from a worker."""
    assert set(systemd.PRIVATE_VARIABLES) == set(
        re.findall(r"\b(?:LISTEN|NOTIFY|WATCHDOG|JOURNAL)_[A-Z]+\b", section("ENVIRONMENT"))
    )


def test_the_page_has_the_variables_of_a_program() -> None:
    """All that it inherits, and none of a connection that is never set."""
    text = section("PROGRAMS")
    named = set(re.findall(r"[A-Z][A-Z0-9_]+", " ".join(re.findall(r"^\.(?:It )?Ev (.+)$", text, re.MULTILINE))))
    assert set(INHERITED) <= named
    ours = named - set(INHERITED) - {"LC_", "PROTO"}
    assert ours <= CONNECTION_NAMES
    assert {name for name in CONNECTION_NAMES if re.fullmatch(r"(TCP|UDP|IPC|VSOCK)(LOCAL|REMOTE).*", name)} <= ours | {
        *(proto + name for proto in ("TCP", "UDP") for name in ("LOCALHOST", "REMOTEHOST", "REMOTEINFO")),
        *("IPCLOCALUID", "IPCLOCALGID", "IPCLOCALPID"),
    }


# --- help


@pytest.mark.parametrize("family", Family, ids=lambda family: family.word)
def test_each_family_has_the_options_in_its_help(family: Family) -> None:
    """With default and variable."""
    text = help_of(family.word)
    for option in OPTIONS:
        assert f"{', '.join(option.flags)} " in text
        assert f"env: {option.envvar}]" in text
    for model in MODELS:
        assert f"[env: SRVCTL_{model.upper()}]" in text


def test_the_help_of_the_command_has_families_and_commands() -> None:
    """One page for who types ``srvctl --help``."""
    text = help_of()
    assert all(f" {family.word} " in text for family in Family)
    assert all(f" {command} " in text for command in ("check", "unit", "handlers", "help"))
    assert "srvctl tcp --help" in text and "man srvctl" in text


# --- README


def test_readme_has_every_family_and_model() -> None:
    """Where one of each is chosen."""
    assert all(
        f"`{word}`" in chapter("Choosing") for word in [*(f.word for f in Family), *(f"--{model}" for model in MODELS)]
    )


def test_readme_and_page_name_no_option_or_variable_that_is_not_there() -> None:
    """What one reads can be typed."""
    flags = {flag for option in OPTIONS for flag in option.flags} | {f"--{model}" for model in MODELS}
    program: Any = commands.make_command()
    with_more = [program.commands[name].commands["tcp"] for name in ("check", "unit")]
    more = {flag for command in with_more for param in command.params for flag in param.opts}
    others = {"--help", "--version", "-V", "--format", "--silent", "--now"} | more
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", README)) <= flags | others
    assert {"--" + f for f in re.findall(r"Fl -([a-z-]+)", PAGE)} <= flags | others
    variables = {option.envvar for option in OPTIONS} | {f"SRVCTL_{m.upper()}" for m in MODELS} | {"SRVCTL_"}
    assert set(re.findall(r"(?<!_)SRVCTL_[A-Z_]*", README + PAGE)) <= variables | {"SRVCTL_COMPLETE", CONNECTION_ID}


def test_the_states_are_drawn_as_they_are_in_the_code() -> None:
    """Each arrow of the page's drawing is a row of the table, and every state that fails can."""
    drawing = re.search(r"\n((?: +\w+)+)\n( +new -+>.*)\n.*\n(.*fail.*)\n", PAGE)
    assert drawing
    labels, chain, failing = drawing.groups()
    states = [State(word) for word in re.findall(r"\w+", chain)]
    for event, before, after in zip(labels.split(), states[:-1], states[1:], strict=True):
        assert TRANSITIONS[before, Event(event)] is after
    assert states[-1] is State.STOPPED and failing.split()[-1] == State.FAILED.value
    assert all(TRANSITIONS[state, Event.FAIL] is State.FAILED for state in states[:-1])


def test_the_page_has_the_completion_of_each_shell_and_it_is_made() -> None:
    """Each line yields a script for its shell that completes `srvctl`."""
    shells = re.findall(r"_SRVCTL_COMPLETE=((\w+)_source) srvctl", section("SHELL COMPLETION"))
    assert [shell for _, shell in shells] == ["bash", "zsh", "fish"]
    for instruction, shell in shells:
        script = run_completion(_SRVCTL_COMPLETE=instruction)
        assert "_srvctl_completion" in script and f"{shell}_complete" in script


def test_options_are_completed() -> None:
    """What bash asks for behind ``srvctl tcp --``."""
    answer = run_completion(_SRVCTL_COMPLETE="bash_complete", COMP_WORDS="srvctl tcp --", COMP_CWORD="2")
    assert {f"plain,{option.long_flag}" for option in OPTIONS} <= set(answer.split())


def run_completion(**variables: str) -> str:
    """Run the command that is installed, as a shell does when it completes."""
    command = shutil.which("srvctl", path=str(Path(sys.executable).parent))
    assert command, "srvctl is not installed beside this Python"
    return subprocess.run(
        [command], env=clean_environment(**variables), capture_output=True, text=True, timeout=PATIENCE
    ).stdout


def test_the_tests_command_of_readme_is_that_of_ci() -> None:
    """Who follows README runs what is checked."""
    assert ".venv/bin/python -m pytest\n" in chapter("Install")
    assert "coverage run -m pytest" in CI
    assert ".venv/bin/pip install -e '.[dev]'" in chapter("Install")
    assert 'install --quiet -e "$scratch/source[dev]"' in CI


EXAMPLES = re.findall(
    r"^### ([^\n]+)\n+(?:```python\n# (\S+)\n(.*?)```\n+)?```sh\n(.*?)```\n+```text\n(.*?)```$",
    chapter("Examples"),
    re.DOTALL | re.MULTILINE,
)


@pytest.fixture
def readme_place(tmp_path: Path) -> Path:
    """A directory with the files that README shows."""
    tmp_path.chmod(0o755)
    for _, name, source, _, _ in EXAMPLES:
        if name:
            (tmp_path / name).write_text(source)
    return tmp_path


def test_readme_has_examples_and_is_short() -> None:
    """Each with what it prints; the rest is in the manual pages."""
    assert len(EXAMPLES) == chapter("Examples").count("```sh\n") == 3
    assert README.count("\n") <= 170


@pytest.mark.parametrize(
    ("script", "output"), [(script, output) for *_, script, output in EXAMPLES], ids=[title for title, *_ in EXAMPLES]
)
def test_an_example_of_readme_prints_what_it_says(readme_place: Path, script: str, output: str) -> None:
    """Run by bash as it stands, but for the wait at its end that a person does not need."""
    for tool in ("bash", "socat", "curl"):
        if re.search(rf"\b{tool} ", "bash " + script) and not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
    path = f"{Path(sys.executable).parent}:{clean_environment()['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script + "\nwait $!"],
        cwd=readme_place,
        env=clean_environment(PATH=path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.stdout, done.returncode) == (output, 0), done.stderr


@pytest.mark.parametrize(("letter", "file"), [("P", "promises/PROMISES.md"), ("C", "socketserver/DEFECTS.md")])
def test_what_tests_cite_is_in_the_list_that_they_cite(letter: str, file: str) -> None:
    """Each number, and each promise that is listed as kept is cited by a test."""
    here = Path(__file__).parent
    listed = (here / file).read_text()
    rows = set(re.findall(rf"^\| ({letter}\d+) \|", listed, re.MULTILINE))
    docstrings = "\n".join(path.read_text() for path in here.rglob("test_*.py"))
    cited = set(re.findall(rf"\b{letter}\d+(?=[:,])", docstrings))
    assert cited
    assert cited <= rows
    if letter == "P":
        kept = set(re.findall(r"^\| (P\d+) \|", listed.partition("\n## Not yet")[0], re.MULTILINE))
        assert kept <= set(re.findall(r"\bP\d+\b", docstrings))
