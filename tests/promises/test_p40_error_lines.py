"""P40: every start that fails says so in one line, ``srvctl: error: cannot <verb> <object>: <why>``, and a status."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launched import COMMAND, PATIENCE, clean_environment, run
from tests.promises.faults import as_somebody_else, inject, needs_strace

LINE = re.compile(r"srvctl: error: cannot [a-z]+ [^:\n]\S*.*: \S[^\n]*\n")

# One of each kind; tests/e2e/test_bad_input.py has them all. The words of the command line, the exit status, and the
# line behind "srvctl: error: cannot ".
START_FAILURES = [
    ("foo :1", 2, "serve 'foo': no such family; expected tcp, tcp4, tcp6, udp, udp4, udp6, unix, unix-dgram, "),
    ("tcp :99999", 2, "parse tcp address ':99999': port 99999 is not between 0 and 65535"),
    ("tcp :0 --fork --max-connections 0", 2, "use --max-connections '0': expected a whole number of at least 1"),
    ("tcp4 192.0.2.1:0", 69, "bind tcp4 192.0.2.1:0: cannot assign requested address"),
    ("unix .", 69, "bind unix .: it is a directory"),
    ("fd web", 69, "serve fd web: no such name in LISTEN_FDNAMES (none was passed)"),
    ("tcp :0 --set colour=red myapp:Greet", 2, "set 'colour' of handler 'myapp:Greet': no such attribute; it has "),
    ("tcp :0 nosuch:Echo", 78, "load handler 'nosuch:Echo': there is no module 'nosuch' in "),
    ("udp :0 myapp:Echo", 78, "load handler 'myapp:Echo': it is made for connections (StreamRequestHandler), and "),
]


def check(said: str, begin: str) -> None:
    """Check that `said` is one line of the one form, and begins as it should."""
    assert LINE.fullmatch(said)
    assert said.startswith(f"srvctl: error: cannot {begin}")
    assert said.isascii()
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("words", "status", "begin"), START_FAILURES, ids=[words[:50] for words, _, _ in START_FAILURES]
)
def test_a_start_that_fails_says_so_in_one_line(place, words, status, begin):
    """P40: one line, with the wrong value and what was expected; the status of sysexits(3); no traceback."""
    failed = run(*words.split(), cwd=place)
    check(failed.stderr, begin)
    assert (failed.returncode, failed.stdout) == (status, "")
    assert not (place / "s").exists()


def test_a_module_that_raises_is_shown_with_its_own_frames_above_the_line(place):
    """P40: the frames of the user's module, none of ours, and then the one line; 78."""
    (place / "broken.py").write_text("def fail():\n    raise ValueError('two\\nlines')\nfail()\n")
    failed = run("unix", "s", "broken:Handler", cwd=place)
    assert failed.returncode == 78
    detail, _, line = failed.stderr.rpartition("srvctl: error:")
    check("srvctl: error:" + line, "load handler 'broken:Handler': module 'broken' failed to import: ValueError: two")
    files = re.findall(r'File "([^"]+)"', detail)
    assert files == [str(place / "broken.py")] * 2
    assert not (place / "s").exists()


@pytest.mark.parametrize(
    "code", ["import os; os._exit(3)", "import os; os.kill(os.getpid(), 9)", "raise SystemExit(4)"]
)
def test_a_module_that_ends_the_worker_is_an_error_line_too(place, code):
    """P40: whatever the module does to the process that imports it, the start fails in words; 78."""
    (place / "deadly.py").write_text(code + "\n")
    failed = run("unix", "s", "deadly:Handler", cwd=place)
    check(failed.stderr.splitlines(keepends=True)[-1], "load handler 'deadly:Handler': ")
    assert failed.returncode == 78
    assert not (place / "s").exists()


def test_an_ordinary_user_is_told_what_is_not_permitted(place):
    """P40: a path, and a port, that the user may not have: 77, in one line."""

    def start(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*as_somebody_else("dac_read_search"), *COMMAND, *words],
            cwd=place,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    failed = start("unix", "s", "echo")
    check(failed.stderr, "bind unix s: permission denied")
    assert failed.returncode == 77
    first = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if first > 1:
        failed = start("tcp4", "127.0.0.1:1", "echo")
        check(failed.stderr, "bind tcp4 127.0.0.1:1: permission denied; a port below 1024 needs CAP_NET_BIND_SERVICE")
        assert failed.returncode == 77


def test_a_descriptor_that_does_not_listen_is_refused(place):
    """P40: a socket that neither listens nor is connected is nothing to serve; 69, and it is left as it is."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        failed = run("fd", str(bound.fileno()), cwd=place, pass_fds=(bound.fileno(),))
        check(failed.stderr, f"serve fd {bound.fileno()}: it is a SOCK_STREAM socket that does not listen")
        assert failed.returncode == 69
        bound.listen()
        with socket.create_connection(bound.getsockname()):
            bound.accept()[0].close()


@needs_strace
@pytest.mark.parametrize(
    ("call", "error", "status", "begin"),
    [
        ("socket", "EMFILE", 71, "bind unix s: too many open files"),
        ("socket", "EAFNOSUPPORT", 69, "bind unix s: address family not supported by protocol"),
        ("bind", "EACCES", 77, "bind unix s: permission denied"),
        ("bind", "ENOMEM", 71, "bind unix s: cannot allocate memory"),
        ("listen", "EADDRINUSE", 69, "bind unix s: address already in use"),
        ("vfork,fork,clone,clone3", "EAGAIN", 71, "start a worker: "),
        ("pidfd_open", "EMFILE", 71, "start a worker: "),
        ("epoll_create1", "EMFILE", 71, "run the server: too many open files"),
        ("eventfd2", "EMFILE", 71, "run the server: too many open files"),
        ("socketpair", "EMFILE", 71, "run the server: too many open files"),
    ],
)
def test_a_system_that_refuses_is_named(place, call, error, status, begin):
    """P40: what the system refuses at the start is one line with its reason; 71, or whose fault it was."""
    words = ["strace", "-D", "-o", str(place / "trace"), *inject(call, f"error={error}"), *COMMAND]
    failed = subprocess.run(
        [*words, "unix", "s", "echo"],
        cwd=place,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    check(failed.stderr, begin)
    assert failed.returncode == status
    assert not (place / "s").exists()


def test_the_command_without_words_says_how_it_is_used(place):
    """P40: no words at all: the usage, and 2."""
    failed = run(cwd=place)
    assert failed.returncode == 2
    assert failed.stderr.startswith("Usage: srvctl FAMILY ADDRESS [OPTIONS] [HANDLER | -- PROGRAM [ARG]...]\n")
    assert os.path.basename(sys.executable) not in failed.stderr
