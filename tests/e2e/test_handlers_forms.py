"""Handlers, in every form in which one can be named, set, listed and checked; and what is never imported for one."""

from __future__ import annotations

import http.client
import os
import socket
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.launched import Launched, ask, clean_environment, receive_all, run

Launch = Callable[..., Launched]

FORMS = """
import functools
import socketserver

import helper
from srvctl import BaseRequestHandler


class Ours(BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"Ours")


class Theirs(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"Theirs")


class Plain:
    def __init__(self, request, client_address, server):
        request.sendall(b"Plain")


class Outer:
    class Inner(Ours):
        pass

    def __call__(self, request, client_address, server):
        request.sendall(b"an object")


def function(request, client_address, server):
    request.sendall(helper.WORD)


def four(request, client_address, server, word=b"by default"):
    request.sendall(word)


lambda_ = lambda request, client_address, server: request.sendall(b"a lambda")
partial = functools.partial(four, word=b"a partial")
an_object = Outer()


async def coroutine(request, client_address, server):
    pass
"""


@pytest.fixture
def forms(place: Path) -> Path:
    """`place` with the same handlers in a module, in a package, and in files with names that are nobody's."""
    for directory in (place, place / "package", place / "sub"):
        directory.mkdir(exist_ok=True)
        (directory / "helper.py").write_text('WORD = b"a function"\n')
    (place / "package" / "__init__.py").write_text("")
    for file in ("forms.py", "handlers.py", "package/mod.py", "sub/forms.py", "sub/socket.py", "sub/my-app.py"):
        (place / file).write_text(FORMS)
    return place


@pytest.mark.parametrize(
    ("handler", "answer"),
    [
        ("forms:Ours", b"Ours"),
        ("forms.Theirs", b"Theirs"),
        ("forms:Plain", b"Plain"),
        ("forms:Outer.Inner", b"Ours"),
        ("forms.Outer.Inner", b"Ours"),
        ("forms:function", b"a function"),
        ("forms:four", b"by default"),
        ("forms:lambda_", b"a lambda"),
        ("forms:partial", b"a partial"),
        ("forms:an_object", b"an object"),
        ("handlers:Ours", b"Ours"),
        ("package.mod:Ours", b"Ours"),
        ("package.mod.Outer.Inner", b"Ours"),
        ("sub/forms.py:function", b"a function"),
        ("{place}/sub/forms.py:Ours", b"Ours"),
        ("sub/socket.py:Ours", b"Ours"),
        ("sub/my-app.py:Ours", b"Ours"),
    ],
)
def test_whatever_takes_three_arguments_is_a_handler(handler: str, answer: bytes, launch: Launch, forms: Path) -> None:
    """A class of ours, of the standard library's or of nobody's, a function or an object, in a module or a file."""
    server = launch("tcp", ":0", handler.format(place=forms))
    with server.connect() as client:
        assert receive_all(client) == answer
    assert "handler loaded handler=" in server.log
    assert f"file={forms}/" in server.log


@pytest.mark.parametrize(("words", "question", "answer"), [((), b"echo", b"echo"), (("echo",), b"echo", b"echo")])
@pytest.mark.parametrize("word", ["tcp", "udp"])
def test_no_handler_and_a_bare_word_are_ready_made(
    word: str, words: tuple[str, ...], question: bytes, answer: bytes, launch: Launch, place: Path
) -> None:
    """No handler means echo; a bare word is a ready-made one even where a file of that name is."""
    (place / "echo.py").write_text("raise SystemExit('imported')\n")
    with launch(word, "127.0.0.1:0", *words).connect() as client:
        assert ask(client, question) == answer


@pytest.mark.parametrize("handler", ["http.server:SimpleHTTPRequestHandler", "http.server.SimpleHTTPRequestHandler"])
def test_a_handler_of_the_standard_library_serves(handler: str, launch: Launch) -> None:
    """``http.server:SimpleHTTPRequestHandler`` hands out the files of the directory that srvctl was started in."""
    server = launch("tcp", ":0", "--threads", handler)
    connection = http.client.HTTPConnection(*server.sockaddr, timeout=20)
    try:
        connection.request("GET", "/myapp.py")
        with connection.getresponse() as response:
            assert (response.status, response.read()) == (200, (server.cwd / "myapp.py").read_bytes())
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("udp", ":0", "http.server:SimpleHTTPRequestHandler"), "it is made for connections (StreamRequestHandler)"),
        (("tcp", ":0", "socketserver:DatagramRequestHandler"), "it is made for datagrams (DatagramRequestHandler)"),
        (("unix-seqpacket", "s", "myapp:Upper"), "it is made for datagrams (DatagramRequestHandler)"),
        (("unix-dgram", "s", "myapp:Echo"), "it is made for connections (StreamRequestHandler)"),
        (("tcp", ":0", "forms:coroutine"), "it is not a handler: it is a coroutine function"),
        (("tcp", ":0", "forms:helper"), "it is not a handler: module objects cannot be called"),
    ],
    ids=" ".join,
)
def test_a_handler_of_the_wrong_kind_is_refused_at_start(words: tuple[str, ...], why: str, forms: Path) -> None:
    """A handler made for the other type of socket, or none at all, is status 78, and says what it is."""
    completed = run(*words, cwd=forms)
    assert completed.returncode == 78
    assert f"cannot load handler '{words[2]}': {why}" in completed.stderr
    assert not (forms / "s").exists()


# --- attributes

SETTABLE = """
from typing import Optional
from srvctl import BaseRequestHandler

class Base(BaseRequestHandler):
    inherited: int = 1

class Settable(Base):
    flag = False
    count = 0
    ratio = 0.5
    text = ""
    raw = b""
    anything = None
    maybe: float | None = None
    perhaps: Optional[int] = 3
    required: str
    a_list = []
    _private = 1

    def method(self):
        pass

    def handle(self):
        names = "inherited flag count ratio text raw anything maybe perhaps required".split()
        self.request.sendall(repr([getattr(self, name, None) for name in names]).encode())
"""


@pytest.mark.parametrize(
    ("assignments", "values"),
    [
        ("", [1, False, 0, 0.5, "", b"", None, None, 3, None]),
        (
            "inherited=0x10 flag=yes count=-5 ratio=1e3 text=a=b raw=b anything=7 maybe=2 perhaps=none required=r",
            [16, True, -5, 1000.0, "a=b", b"b", 7, 2.0, None, "r"],
        ),
        ("flag=ON anything=1.5 maybe=None perhaps=9 text=", [1, True, 0, 0.5, "", b"", 1.5, None, 9, None]),
        ("flag=1 flag=off anything=word count=1 count=2", [1, False, 2, 0.5, "", b"", "word", None, 3, None]),
    ],
    ids=["nothing", "each", "others", "twice"],
)
def test_attributes_are_set_in_their_own_type(
    assignments: str, values: list[object], launch: Launch, place: Path
) -> None:
    """``--set NAME=VALUE`` is converted to the declared attribute's type; the last one counts."""
    (place / "settable.py").write_text(SETTABLE)
    words = [word for assignment in assignments.split() for word in ("--set", assignment)]
    with launch("tcp", ":0", *words, "settable:Settable").connect() as client:
        assert receive_all(client) == repr(values).encode()


@pytest.mark.parametrize(
    ("assignment", "why"),
    [
        ("nosuch=1", "no such attribute"),
        ("_private=1", "no such attribute"),
        ("a_list=1", "no such attribute"),
        ("method=1", "no such attribute"),
        ("flag=perhaps", "expected yes or no"),
        ("count=1.5", "expected a whole number"),
        ("ratio=much", "expected a number"),
        ("maybe=much", "expected a number"),
    ],
)
def test_an_attribute_that_cannot_be_set_lists_those_that_can(assignment: str, why: str, place: Path) -> None:
    """An unknown name and a value that does not convert are usage errors with every valid name and type."""
    (place / "settable.py").write_text(SETTABLE)
    completed = run("tcp", ":0", "--set", assignment, "settable:Settable", cwd=place)
    assert completed.returncode == 2
    assert completed.stderr.endswith(
        f"{why}; it has anything (any), count (int), flag (bool), inherited (int), maybe (float or none), "
        "perhaps (int or none), ratio (float), raw (bytes), required (str), text (str)\n"
    )


# --- the environment


@pytest.mark.parametrize(
    ("environment", "words", "logged"),
    [
        ({"SRVCTL_THREADS": "1", "SRVCTL_MAX_CONNECTIONS": "7"}, (), " model=threads max=7"),
        ({"SRVCTL_THREADS": "1", "SRVCTL_MAX_CONNECTIONS": "7"}, ("--max-connections", "3"), " model=threads max=3"),
        ({"SRVCTL_THREADS": "1"}, ("--fork",), " model=fork max=40"),
        ({"SRVCTL_FORK": "0"}, (), " model=sync max=1"),
        ({"SRVCTL_LOG_FORMAT": "json", "SRVCTL_VERBOSE": "1"}, (), '"event": "worker started"'),
    ],
    ids=["both", "command line", "other model", "off", "output"],
)
def test_options_can_come_from_the_environment(
    environment: dict[str, str], words: tuple[str, ...], logged: str, launch: Launch
) -> None:
    """``SRVCTL_<OPTION>`` is an option's value, and the command line beats it."""
    server = launch("tcp", ":0", *words, env=clean_environment(**environment))
    assert logged in server.log


def test_assignments_come_from_the_environment_too(launch: Launch) -> None:
    """SRVCTL_SET holds assignments with spaces between them."""
    server = launch("tcp", ":0", "myapp:Greet", env=clean_environment(SRVCTL_SET="greeting=hey times=2"))
    with server.connect() as client:
        assert receive_all(client) == b"hey\nhey\n"


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({"SRVCTL_GRACEFUL_TIMEOUT": "soon"}, "cannot use --graceful-timeout 'soon': expected seconds"),
        ({"SRVCTL_THREADS": "1", "SRVCTL_FORK": "1"}, "cannot use --threads and --fork: expected one"),
    ],
    ids=["value", "models"],
)
def test_a_mistake_in_the_environment_is_a_usage_error(environment: dict[str, str], why: str, place: Path) -> None:
    """What is wrong in a variable is told as it is on the command line."""
    completed = run("tcp", ":0", cwd=place, env=clean_environment(**environment))
    assert completed.returncode == 2
    assert f"srvctl: error: {why}" in completed.stderr


# --- other packages' handlers


@pytest.fixture
def other_package(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which another distribution is installed that has handlers in our entry point group."""
    site = tmp_path_factory.mktemp("site")
    site.chmod(0o755)
    (site / "otherpackage.py").write_text(
        '"""Handlers of somebody else\'s."""\n\n'
        "from srvctl import StreamRequestHandler\n\n\n"
        "class Shout(StreamRequestHandler):\n"
        '    """Send a line back in capitals.\n\n    And more."""\n\n'
        '    mark: str = ""\n\n'
        "    def handle(self):\n"
        "        self.wfile.write(self.rfile.readline().upper() + self.mark.encode())\n\n\n"
        "Stream = Shout\n"
    )
    (site / "brokenpackage.py").write_text("raise RuntimeError('no\\ngood')\n")
    (site / "exitingpackage.py").write_text("raise SystemExit(3)\n")
    info = site / "other_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[srvctl.handlers]\nshout = otherpackage:Shout\nshoutmodule = otherpackage\n"
        "broken = brokenpackage:Name\nexiting = exitingpackage:Name\n"
    )
    return clean_environment(PYTHONPATH=str(site))


@pytest.mark.parametrize("handler", ["shout", "shoutmodule"])
def test_a_handler_of_another_distribution_is_found_by_its_word(
    handler: str, launch: Launch, other_package: dict[str, str]
) -> None:
    """An entry point in ``srvctl.handlers`` is a class, or a module with a ``Stream`` in it; --set works on both."""
    server = launch("tcp", ":0", "--set", "mark=!", handler, env=other_package)
    with server.connect() as client:
        client.sendall(b"hello\n")
        assert receive_all(client) == b"HELLO\n!"


def test_handlers_lists_all_that_are_installed_with_a_line_on_each(place: Path, other_package: dict[str, str]) -> None:
    """``srvctl handlers`` shows ours and others' with their package; one that is broken does not end the list."""
    completed = run("handlers", cwd=place, env=other_package)
    assert completed.returncode == 0, completed.stderr
    lines = {line.split()[0]: line.split(maxsplit=1)[1] for line in completed.stdout.splitlines()}
    assert lines["echo"] == "Send back everything that the client sends (RFC 862)."
    assert {"chargen", "daytime", "discard", "echo", "qotd", "time"} <= lines.keys()
    assert lines["shout"] == "Send a line back in capitals. (other-package)"
    assert lines["shoutmodule"] == "Handlers of somebody else's. (other-package)"
    assert "RuntimeError" in lines["broken"]
    assert "SystemExit" in lines["exiting"]
    assert len(completed.stdout.splitlines()) == len(lines)


# --- check


@pytest.mark.parametrize(
    ("words", "address", "server", "parts"),
    [
        (
            ("tcp", "127.0.0.1:0", "--threads", "--at-limit", "refuse", "myapp:Echo"),
            "tcp://127.0.0.1:",
            "ThreadingTCPServer",
            "StreamSource -> Acceptor -> Admission -> LeaderFollowers -> Closing",
        ),
        (
            ("unix", "s", "--fork", "myapp:Echo"),
            "unix://",
            "ForkingUnixStreamServer",
            "StreamSource -> Acceptor -> ForkPool -> Closing",
        ),
        (
            ("udp4", "127.0.0.1:0", "myapp:Upper"),
            "udp://127.0.0.1:",
            "UDPServer",
            "DatagramSource -> Acceptor -> InLoop -> Closing",
        ),
    ],
    ids=["tcp", "unix", "udp"],
)
def test_check_says_what_a_start_would_serve_and_leaves_nothing(
    words: tuple[str, ...], address: str, server: str, parts: str, place: Path
) -> None:
    """The address, the server with the parts of a request's way, and the file of the handler; no socket is left."""
    completed = run("check", *words, cwd=place)
    assert (completed.returncode, completed.stderr) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in completed.stdout.splitlines())
    assert list(lines) == ["address", "server", "parts", "handler"]
    assert lines["address"].startswith(address)
    assert lines["server"] == server
    assert lines["parts"] == parts
    assert lines["handler"] == f"{words[-1]} ({place}/myapp.py)"
    assert not (place / "s").exists()


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("tcp :0 --set nosuch=1 myapp:Greet", 2),
        ("tcp {taken}", 69),
        ("unix nowhere/s", 69),
        ("unix s myapp:Upper", 78),
        ("unix s broken:Name", 78),
    ],
)
def test_check_fails_as_a_start_would(words: str, status: int, place: Path) -> None:
    """The same line and the same status, and nothing is left of the attempt."""
    (place / "broken.py").write_text("1 / 0\n")
    with socket.create_server(("127.0.0.1", 0)) as other:
        words = words.format(taken=f"127.0.0.1:{other.getsockname()[1]}")
        checked, started = (run(*first, *words.split(), cwd=place) for first in (("check",), ()))
    assert (checked.returncode, checked.stdout) == (status, "")
    assert checked.stderr.splitlines()[-1].startswith("srvctl: error: cannot ")
    assert checked.stderr == started.stderr
    assert started.returncode == status
    assert not (place / "s").exists()


# --- what is never imported

# The installed command: `python -m` puts the current directory first on its own, before any line of ours runs.
SCRIPT = Path(sys.executable).parent / "srvctl"


@pytest.mark.skipif(not SCRIPT.exists(), reason="srvctl is not installed as a command beside this Python")
@pytest.mark.parametrize("handler", ["uses:Handler", "sub/uses.py:Handler", "echo"])
def test_a_file_named_like_a_module_of_others_is_never_run(handler: str, launch: Launch, place: Path) -> None:
    """``socket.py``, ``logging.py`` and every such name beside the handler's module replace nothing."""
    (place / "sub").mkdir()
    # Not those of other systems, such as msvcrt: what the library only tries to import, it finds there.
    names = ["srvctl", "click", *(name for name in sys.stdlib_module_names if find_spec(name))]
    for directory in (place, place / "sub"):
        for name in names:
            (directory / f"{name}.py").write_text(f"open({str(place / 'executed')!r}, 'a').write(__file__ + '\\n')\n")
        (directory / "uses.py").write_text(
            "import asyncio, http.server, json, logging, random, socket, ssl, subprocess, threading\n"
            "from srvctl import BaseRequestHandler\n"
            "class Handler(BaseRequestHandler):\n"
            "    def handle(self):\n"
            "        import colorsys\n"
            "        self.request.sendall(self.request.recv(100))\n"
        )
    server = launch("tcp", ":0", "--threads", handler, command=[str(SCRIPT)])
    with server.connect() as client:
        assert ask(client, b"hello") == b"hello"
    assert server.stop() == 0, server.log
    assert not (place / "executed").exists(), (place / "executed").read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="it is root who must not trust a directory of others")
@pytest.mark.parametrize(
    ("unsafe", "how", "handler"),
    [
        (".", "mode", "myapp:Echo"),
        (".", "owner", "myapp.Echo"),
        (".", "mode", "myapp.py:Echo"),
        ("myapp.py", "owner", "myapp:Echo"),
        ("myapp.py", "mode", "myapp.py:Echo"),
        ("package", "mode", "package.mod:Echo"),
        ("package/__init__.py", "owner", "package.mod:Echo"),
        ("package/mod.py", "mode", "package.mod:Echo"),
        ("package/mod.py", "mode", "package.mod.Echo"),
    ],
)
def test_root_runs_nothing_that_others_can_write(unsafe: str, how: str, handler: str, place: Path) -> None:
    """A directory, package or module that another user can write to is refused with 78, before a line of it runs."""
    (place / "package").mkdir()
    (place / "package" / "__init__.py").write_text("")
    for file in (place / "myapp.py", place / "package" / "mod.py"):
        file.write_text(f"open({str(place / 'executed')!r}, 'w')\ndef Echo(*_): pass\n")
    assert run("check", "tcp", ":0", handler, cwd=place).returncode == 0
    (place / "executed").unlink()
    if how == "mode":
        (place / unsafe).chmod(0o777)
    else:
        os.chown(place / unsafe, 65534, -1)
    completed = run("check", "tcp", ":0", handler, cwd=place)
    assert completed.returncode == 78, completed.stderr
    assert "as root, " in completed.stderr
    assert "can write to it" in completed.stderr
    assert not (place / "executed").exists()
