"""From a dotted path to a handler, in an interpreter of its own as in a worker."""

from __future__ import annotations

import os
import py_compile
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launched import PATIENCE, clean_environment

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root is refused")
CHECKOUT = Path(__file__).parents[2]

SCRIPT = """
import sys
sys.path.append(sys.argv[1])
from srvctl.errors import LaunchError
from srvctl.loader.importer import load
target, is_ready_made, is_stream, *assignments = sys.argv[2:]
try:
    loaded = load(target, is_ready_made == "1", is_stream == "1", [tuple(a.split("=")) for a in assignments])
except LaunchError as error:
    print(f"{int(error.status)} {error}")
    print(error.detail, end="")
else:
    import socket
    assert hasattr(socket, "AF_INET"), socket.__file__
    print("loaded", getattr(loaded.handler, "__qualname__", loaded.handler), loaded.file)
"""


@pytest.fixture
def load(place: Path):  # type: ignore[no-untyped-def]
    """Load a handler as a worker started in `place` does; return what was said."""

    def run(target: str, *assignments: str, ready_made: bool = False, stream: bool = True) -> str:
        words = [str(CHECKOUT), target, str(int(ready_made)), str(int(stream)), *assignments]
        return subprocess.run(
            [sys.executable, "-P", "-c", SCRIPT, *words],
            cwd=place,
            env=clean_environment(PYTHONPATH=str(place / "installed")),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        ).stdout

    return run


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("myapp:Echo", "Echo"),
        ("myapp.Echo", "Echo"),
        ("myapp.py:Echo", "Echo"),
        ("./myapp.py:Echo", "Echo"),
        ("myapp:function", "function"),
        ("http.server:SimpleHTTPRequestHandler", "SimpleHTTPRequestHandler"),
        ("http.server.SimpleHTTPRequestHandler", "SimpleHTTPRequestHandler"),
    ],
)
def test_a_handler_is_found_by(load, target: str, name: str) -> None:  # type: ignore[no-untyped-def]
    """A module and a name, joined either way, or a file and a name."""
    assert load(target).startswith(f"loaded {name} /")


def test_a_name_in_a_class_in_a_package_is_found(load, place: Path) -> None:  # type: ignore[no-untyped-def]
    """The longest part that is a module is the module."""
    (place / "package").mkdir()
    (place / "package" / "__init__.py").write_text("")
    (place / "package" / "mod.py").write_text("class Outer:\n    class Inner:\n        def __init__(self, *_): pass\n")
    assert load("package.mod.Outer.Inner").startswith("loaded Outer.Inner ")
    assert load("package.mod:Outer.Inner").startswith("loaded Outer.Inner ")


@pytest.mark.parametrize(("stream", "name"), [(True, "Stream"), (False, "Datagram")])
def test_a_ready_made_module_has_a_class_for_each_type(load, stream: bool, name: str) -> None:  # type: ignore[no-untyped-def]
    """Which one is taken is the socket's doing."""
    assert load("srvctl.handlers.echo", ready_made=True, stream=stream).startswith(f"loaded {name} ")


def test_attributes_are_set(load) -> None:  # type: ignore[no-untyped-def]
    """Or refused, as a usage error."""
    assert load("myapp:Greet", "times=3").startswith("loaded ")
    assert load("myapp:Greet", "times=x").startswith("2 cannot set times='x' of handler 'myapp:Greet': ")


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("nope:Echo", "there is no module 'nope' in "),
        ("nope.mod.Echo", "there is no module 'nope' in "),
        ("myapp.sub:Echo", "there is no module 'myapp.sub' in "),
        ("myapp:Nope", "there is no 'Nope' in module 'myapp'; it has Echo, Upper, Greet, "),
        ("myapp.Nope", "there is no 'Nope' in module 'myapp'; it has "),
        ("myapp:not_a_handler", "it is not a handler: int objects cannot be called; expected "),
        ("myapp:two_arguments", "it is not a handler: it takes 2 arguments; expected "),
        ("nope.py:Echo", "there is no file '/"),
        ("myapp.py", "expected FILE.py:NAME"),
        ("./script.sh", "expected FILE.py:NAME"),
        ("1x:Echo", "'1x' is not the name of a module"),
        (":Echo", "'' is not the name of a module"),
        ("nope", "expected MODULE:NAME, or a ready-made handler"),
        ("myapp:Upper", "it is made for datagrams (DatagramRequestHandler), and this socket is for connections"),
    ],
)
def test_what_cannot_be_loaded_is_told_apart(load, target: str, error: str) -> None:  # type: ignore[no-untyped-def]
    """In one line, with status 78."""
    said = load(target)
    assert said.startswith(f"78 cannot load handler '{target}': {error}")
    assert said.count("\n") == 1


def test_a_stream_handler_is_refused_for_datagrams(load) -> None:  # type: ignore[no-untyped-def]
    """The standard library's too."""
    why = "it is made for connections (StreamRequestHandler), and this socket is for datagrams"
    assert why in load("myapp:Echo", stream=False)
    assert why in load("http.server:SimpleHTTPRequestHandler", stream=False)
    assert load("myapp:Anything", stream=False).startswith("loaded ")


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        ("myapp:Ehco", "did you mean Echo?"),
        ("myapp.echo", "did you mean Echo?"),
        ("myap:Echo", "did you mean myapp?"),
        ("./myap.py:Echo", "did you mean myapp.py?"),
    ],
)
def test_a_misspelt_name_is_recognized(load, target: str, hint: str) -> None:  # type: ignore[no-untyped-def]
    """A name in a module, a module, and a file."""
    assert load(target).endswith(f"; {hint}\n")


def test_names_that_a_module_imports_are_not_listed(load, place: Path) -> None:  # type: ignore[no-untyped-def]
    """Unless it has no others."""
    (place / "mine.py").write_text("from socketserver import BaseRequestHandler\nclass Own: pass\n")
    (place / "imports.py").write_text("from socketserver import BaseRequestHandler\n")
    assert load("mine:Nope").endswith("; it has Own\n")
    assert load("imports:Nope").endswith("; it has BaseRequestHandler\n")


@pytest.mark.parametrize(
    "function",
    [
        "def handler(request, client_address, server): pass",
        "def handler(*args): pass",
        "def handler(request, client_address, server, more=None): pass",
        "class Callable:\n    def __call__(self, *args): pass\nhandler = Callable()",
        "from functools import partial\ndef f(a, b, c, d): pass\nhandler = partial(f, 1)",
        "class handler:\n    def __init__(self, request, client_address, server): pass",
    ],
)
def test_whatever_can_be_called_with_three_arguments_is_a_handler(load, place: Path, function: str) -> None:  # type: ignore[no-untyped-def]
    """The contract is the standard library's."""
    (place / "mine.py").write_text(function + "\n")
    assert load("mine:handler").startswith("loaded ")


@pytest.mark.parametrize(
    ("function", "why"),
    [
        ("async def handler(a, b, c): pass", "it is a coroutine function, which nothing awaits"),
        ("def handler(): pass", "it takes 0 arguments"),
        ("def handler(a, b, c, d): pass", "it takes 4 arguments"),
        ("def handler(a, b=1): pass", "it takes 1 to 2 arguments"),
        ("def handler(a, b, c, *, d): pass", "it takes 3 arguments"),
        ("class handler:\n    def __init__(self): pass", "it takes 1 arguments"),
        ("class handler: pass", "its constructor takes no arguments"),
        ("class handler:\n    def handle(self): pass", "its constructor takes no arguments"),
        ("handler = 'text'", "str objects cannot be called"),
        ("handler = None", "NoneType objects cannot be called"),
    ],
)
def test_what_cannot_be_called_so_is_not_a_handler(load, place: Path, function: str, why: str) -> None:  # type: ignore[no-untyped-def]
    """Found at start, and not with the first client."""
    (place / "mine.py").write_text(function + "\n")
    assert f"it is not a handler: {why}" in load("mine:handler")


@pytest.fixture
def install(place: Path):  # type: ignore[no-untyped-def]
    """Write the module `mine` where packages are installed."""
    (place / "installed").mkdir()
    return (place / "installed" / "mine.py").write_text


@pytest.mark.parametrize("target", ["mine:Echo", "mine.Echo", "mine.py:Echo"])
@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("def deep():\n    raise ValueError('two\\nlines')\ndeep()", "ValueError: two"),
        ("import nope_at_all", "ModuleNotFoundError: No module named 'nope_at_all'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def broken(:", "SyntaxError: invalid syntax"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    ],
)
def test_a_module_that_fails_to_import_is_shown_with_its_own_frames(load, place, target, code, why) -> None:  # type: ignore[no-untyped-def]
    """And without those of srvctl and of the import system."""
    (place / "mine.py").write_text(code + "\n")
    first, *detail = load(target).splitlines()
    start = f"78 cannot load handler '{target}': module 'mine' failed to import: {why} ("
    assert first.startswith(start) and re.fullmatch(r"/\S+/mine\.py:\d\)", first.removeprefix(start))
    assert any("mine.py" in line for line in detail)
    assert not any("loading.py" in line or "importlib" in line for line in detail)


def test_a_file_beside_the_module_replaces_nothing_of_the_standard_library(load, place: Path) -> None:  # type: ignore[no-untyped-def]
    """Promise P27: neither for the handler nor for srvctl."""
    for name in ("socket", "logging", "enum", "selectors"):
        (place / f"{name}.py").write_text("raise SystemExit('planted')\n")
    (place / "mine.py").write_text("import logging, selectors, socket\nlogging.INFO\ndef handler(a, b, c): pass\n")
    assert load("mine:handler").startswith("loaded ")
    assert load("mine.py:handler").startswith("loaded ")


def test_a_file_may_be_called_as_a_module_of_the_standard_library(load, place: Path) -> None:  # type: ignore[no-untyped-def]
    """It is the handler's file, and nobody's ``socket``."""
    (place / "socket.py").write_text("def handler(a, b, c): pass\n")
    assert load("./socket.py:handler").startswith("loaded handler ")


@as_root
@pytest.mark.parametrize("target", ["myapp:Echo", "myapp.py:Echo"])
def test_as_root_a_directory_that_others_can_write_to_is_not_searched(load, place: Path, target: str) -> None:  # type: ignore[no-untyped-def]
    """Promise P27."""
    place.chmod(0o777)
    said = load(target)
    assert said.startswith("78 ")
    assert f"as root, directory '{place}' is not searched: others can write to it" in said


@as_root
@pytest.mark.parametrize("target", ["myapp:Echo", "myapp.py:Echo"])
def test_as_root_a_file_that_others_can_write_to_is_not_run(load, place: Path, target: str) -> None:  # type: ignore[no-untyped-def]
    """Nor one that is not root's."""
    (place / "myapp.py").chmod(0o666)
    assert f"as root, '{place}/myapp.py' is not run: others can write to it" in load(target)
    (place / "myapp.py").chmod(0o644)
    os.chown(place / "myapp.py", 65534, 65534)
    assert f"as root, '{place}/myapp.py' is not run: user 65534 can write to it" in load(target)


@as_root
def test_as_root_a_directory_above_that_another_can_rename_is_not_searched(load, place: Path) -> None:  # type: ignore[no-untyped-def]
    """Its owner can put another tree in its place before the next reload; a sticky directory is no danger."""
    (place / "user" / "app").mkdir(parents=True)
    (place / "user" / "app" / "mine.py").write_text("def handler(a, b, c): pass\n")
    (place / "user").chmod(0o1777)
    assert load("user/app/mine.py:handler").startswith("loaded ")
    os.chown(place / "user", 65534, 65534)
    assert f"user 65534 can write to '{place}/user'" in load("user/app/mine.py:handler")
    (place / "link.py").symlink_to(place / "user" / "app" / "mine.py")
    assert f"user 65534 can write to '{place}/user'" in load("link.py:handler")


@as_root
def test_as_root_a_module_that_the_handler_imports_is_held_to_the_same(load, place: Path) -> None:  # type: ignore[no-untyped-def]
    """A package below the directory as well."""
    (place / "mine.py").write_text("import part.helper\ndef handler(a, b, c): pass\n")
    (place / "part").mkdir()
    (place / "part" / "__init__.py").write_text("")
    (place / "part" / "helper.py").write_text("")
    assert load("mine:handler").startswith("loaded ")
    (place / "part").chmod(0o777)
    assert f"is not run: others can write to '{place}/part'" in load("mine:handler")


def test_bytecode_is_neither_read_nor_written(load, place: Path) -> None:  # type: ignore[no-untyped-def]
    """The source is what counts, in packages too, whatever its time and size say."""
    (place / "package").mkdir()
    for path in (place / "mine.py", place / "package" / "__init__.py"):
        path.write_text("def handler(a, b, c): pass\n")
        py_compile.compile(str(path))
        before = path.stat()
        path.write_text("def renamed(a, b, c): pass\n")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert load("mine:renamed").startswith("loaded renamed ")
    assert load("package:renamed").startswith("loaded renamed ")
    assert "there is no 'handler'" in load("mine:handler")
    assert len([*(place / "package" / "__pycache__").iterdir()]) == 1


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("async def handle(self): pass", "its method handle is a coroutine function"),
        ("def handle(self): yield", "its method handle is a generator, whose body does not run"),
        ("async def handle(self): yield", "its method handle is a coroutine function"),
        ("def hanlde(self): pass", "it has no method handle(self), so it would do nothing; is 'hanl"),
        ("pass", "it has no method handle(self), so it would do nothing"),
        ("handle = print\n    async def setup(self): pass", "its method setup is a coroutine function"),
        ("handle = print\n    async def do_GET(self): pass", "its method do_GET is a coroutine function"),
    ],
)
@pytest.mark.parametrize("library", ["srvctl", "socketserver"])
def test_a_handler_that_does_nothing_is_refused(load, place: Path, library: str, body: str, why: str) -> None:  # type: ignore[no-untyped-def]
    """It would be a success in the log for each client."""
    source = f"from {library} import StreamRequestHandler\nclass Mine(StreamRequestHandler):\n    {body}\n"
    (place / "mine.py").write_text(source)
    assert f"it is not a handler: {why}" in load("mine:Mine")


@pytest.mark.parametrize(
    "body",
    [
        "def __new__(cls, *arguments): return object.__new__(cls)",
        "__init__ = print",
        "__slots__ = ()\n    def __init__(self, *arguments): pass",
    ],
)
def test_a_class_of_no_base_is_a_handler_by_its_constructor(load, place: Path, body: str) -> None:  # type: ignore[no-untyped-def]
    """Whatever it is made with."""
    (place / "mine.py").write_text(f"class Mine:\n    {body}\n")
    assert load("mine:Mine").startswith("loaded ")


@pytest.mark.parametrize("method", ["__init__(self, *a)", "setup(self)", "finish(self)"])
def test_a_handler_may_do_its_work_in_another_method(load, place: Path, method: str) -> None:  # type: ignore[no-untyped-def]
    """What the base class calls as well."""
    source = f"from srvctl import StreamRequestHandler\nclass Mine(StreamRequestHandler):\n    def {method}: pass\n"
    (place / "mine.py").write_text(source)
    assert load("mine:Mine").startswith("loaded ")


def test_an_asyncio_protocol_is_named_as_such(load, place: Path) -> None:  # type: ignore[no-untyped-def]
    """It has other methods."""
    (place / "mine.py").write_text("import asyncio\nclass Mine(asyncio.Protocol):\n    pass\n")
    assert "it is an asyncio protocol; expected a class with a method handle(self)" in load("mine:Mine")
