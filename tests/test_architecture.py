"""The structure: imports run down only, and nothing grows beyond what a reader can keep in mind."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "srvctl"

# From top to bottom: a folder may import from those below its line, and from itself. `srvctl.errors` is on the last.
LINES = (
    ("cli", "testing"),
    ("supervisor",),
    ("worker",),
    ("programs",),
    ("serving",),
    ("listener", "unit"),
    ("socketserver", "config"),
    ("net", "loader"),
    ("runtime", "systemd", "errors"),
)
LEVELS = {folder: level for level, line in enumerate(LINES) for folder in line}

MODULES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT)

MODULE_LINES, CLASS_LINES, FUNCTION_LINES = 300, 150, 40

# Those that exceed a mark. None is added without a reason, and one that has become shorter is taken off.
LONG_MODULES: set[str] = {
    "srvctl.config.options",  # as long as there are options
    "srvctl.programs.program_pool",
    "srvctl.runtime.log",  # one function an event, side by side
    "srvctl.serving.leader_followers",
    "srvctl.socketserver.base",  # the public class with all its hooks
}
LONG_CLASSES: set[str] = {
    "srvctl.config.options.Options",
    "srvctl.programs.program_pool.ProgramPool",
    "srvctl.serving.acceptor.Acceptor",
    "srvctl.serving.fork_pool.ForkPool",
    "srvctl.serving.leader_followers.LeaderFollowers",
    "srvctl.serving.hooks.HookedServer",  # each hook, how it is called and what it does
    "srvctl.serving.server.Server",
    "srvctl.socketserver.base.BaseServer",
    "srvctl.supervisor.service.Service",  # a third of it is one method for each event of its pool
    "srvctl.supervisor.worker_pool.WorkerPool",
    "srvctl.supervisor.worker_process.WorkerProcess",
    "srvctl.worker.worker.Worker",
}
LONG_FUNCTIONS: set[str] = set()


def name_of(path: Path) -> str:
    """Return a module as it is imported."""
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)


def imported(path: Path) -> set[str]:
    """Return the modules of srvctl that a module imports, anywhere in it, for types too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "srvctl":
            for name in node.names:
                module = f"{node.module}.{name.name}"
                is_module = (ROOT.parent / Path(*module.split("."))).with_suffix(".py").exists()
                found.add(module if is_module else node.module)
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names if name.name.split(".")[0] == "srvctl"}
    return found


def folder_of(module: str) -> str:
    """Return the folder that a module is in, or itself when it is in none."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_run_down(path: Path) -> None:
    """Never up, and never sideways between folders of one line."""
    own = folder_of(name_of(path))
    for module in imported(path):
        other = folder_of(module)
        if other in LEVELS and other != own:
            assert LEVELS[other] > LEVELS[own], f"{name_of(path)} imports {module}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nobody_uses_what_is_private_to_another_folder(path: Path) -> None:
    """A leading underscore is for the folder itself."""
    own = folder_of(name_of(path))
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("srvctl."):
            private = [name.name for name in node.names if name.name.startswith("_") and name.name != "__version__"]
            assert folder_of(node.module) == own or not private, f"{name_of(path)}: {private} of {node.module}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_is_longer_than_its_mark(path: Path) -> None:
    """A module, a class, a function; without those that say why."""
    text = path.read_text()
    module = name_of(path)
    assert len(text.splitlines()) <= MODULE_LINES or module in LONG_MODULES
    for node in ast.walk(ast.parse(text)):
        lines = (getattr(node, "end_lineno", None) or 0) - getattr(node, "lineno", 0) + 1
        if isinstance(node, ast.ClassDef):
            assert lines <= CLASS_LINES or f"{module}.{node.name}" in LONG_CLASSES, f"{node.name} has {lines} lines"
        elif isinstance(node, ast.FunctionDef):
            assert lines <= FUNCTION_LINES or f"{module}.{node.name}" in LONG_FUNCTIONS, f"{node.name}: {lines} lines"


def test_the_long_ones_are_still_long() -> None:
    """Whatever has become shorter is held to the mark from then on."""
    modules, classes = set(), set()
    for path in MODULES:
        text = path.read_text()
        if len(text.splitlines()) > MODULE_LINES:
            modules.add(name_of(path))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef) and (node.end_lineno or 0) - node.lineno + 1 > CLASS_LINES:
                classes.add(f"{name_of(path)}.{node.name}")
    assert (modules, classes) == (LONG_MODULES, LONG_CLASSES)
