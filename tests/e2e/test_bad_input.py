"""Bad input: one line on standard error that names the value and says what was expected, and the right status."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.launched import COMMAND, PATIENCE, Launched, ask, clean_environment, run

Launch = Callable[..., Launched]

NOBODY = 65534
# Another user who may read everything, as the interpreter may be in a home directory, and write nothing.
AS_NOBODY = (
    *("setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"),
    *("--inh-caps", "-all,+dac_read_search", "--ambient-caps", "-all,+dac_read_search"),
    *("--bounding-set", "-all,+dac_read_search"),
)

LONG = "x" * 200
GREET = "disable_nagle_algorithm (bool), greeting (str), loud (bool), pause (float), rbufsize (int), "

# (words, exit status, what cannot be done to what, a part of why)
ROWS = [
    # the family and the address
    ("nofamily :0", 2, "serve 'nofamily'", "no such family; expected tcp, tcp4, tcp6, udp,"),
    ("tcp", 2, "serve tcp", "ADDRESS is missing"),
    ("tcp :99999", 2, "parse tcp address ':99999'", "port 99999 is not between 0 and 65535"),
    ("tcp :-1", 2, "parse tcp address ':-1'", "port -1 is not between 0 and 65535"),
    ("tcp 127.0.0.1", 2, "parse tcp address '127.0.0.1'", "expected HOST:PORT or :PORT"),
    ("tcp [::1:9", 2, "parse tcp address '[::1:9'", "expected [HOST]:PORT"),
    ("tcp :nosuchservice", 2, "parse address 'tcp :nosuchservice'", "'nosuchservice' is not a port"),
    ("tcp nohost.invalid:1", 69, "resolve 'nohost.invalid'", ""),
    ("tcp 192.0.2.1:0", 69, "bind tcp 192.0.2.1:0", "cannot assign requested address"),
    ("vsock x:y", 2, "parse vsock address 'x:y'", "CID 'x' is not a number"),
    ("unix directory", 69, "bind unix directory", "it is a directory"),
    ("unix file", 69, "bind unix file", "it is a file that is not a socket"),
    ("unix nowhere/socket", 69, "bind unix nowhere/socket", "no such file or directory"),
    (f"unix {LONG}", 2, f"parse unix address '{LONG}'", "it has 200 bytes; the limit is 107"),
    (f"unix-dgram @{LONG}", 2, f"parse unix-dgram address '@{LONG}'", "it has 201 bytes; the limit is 108"),
    ("fd 9", 69, "serve fd 9", "it is not open"),
    ("fd 0", 69, "serve fd 0", "it is not a socket"),
    ("fd mine", 69, "serve fd mine", "no such name in LISTEN_FDNAMES (none was passed)"),
    # options
    ("tcp :0 --threads --fork", 2, "use --threads and --fork", "expected one concurrency model"),
    ("tcp :0 --sync --threads", 2, "use --sync and --threads", "expected one concurrency model"),
    ("tcp :0 --threads --max-connections 0", 2, "use --max-connections '0'", "expected a whole number of at least 1"),
    (
        "tcp :0 --fork --max-connections many",
        2,
        "use --max-connections 'many'",
        "expected a whole number of at least 1",
    ),
    (
        "tcp :0 --max-connections 5",
        2,
        "use --max-connections 5",
        "without --threads or --fork, one request is served at a time",
    ),
    ("tcp :0 --nosuch", 2, "use option '--nosuch'", "no such option"),
    (
        "tcp :0 --graceful-timeout soon",
        2,
        "use --graceful-timeout 'soon'",
        "expected seconds, or a number with ms, s, m or h",
    ),
    ("tcp :0 --at-limit later", 2, "use --at-limit 'later'", "expected wait or refuse"),
    ("tcp :0 --socket-mode 0600", 2, "use --socket-mode or --socket-owner", "tcp :0 has no file"),
    ("unix s --socket-mode 0888", 2, "use --socket-mode '0888'", "expected permission bits in octal"),
    ("unix s --socket-owner nobody-like", 2, "use --socket-owner 'nobody-like'", "there is no user 'nobody-like'"),
    ("tcp :0 -v -q", 2, "use --verbose and --quiet", "they exclude each other"),
    ("tcp :0 --tls", 2, "use --tls", "srvctl has no TLS"),
    ("tcp :0 echo extra", 2, "read the command line", "(extra)"),
    ("tcp :0 --set times", 2, "use --set 'times'", "expected NAME=VALUE"),
    ("tcp :0 --set nosuch=1 myapp:Greet", 2, "set 'nosuch' of handler 'myapp:Greet'", f"it has {GREET}"),
    ("tcp :0 --set times=x myapp:Greet", 2, "set times='x' of handler 'myapp:Greet'", "expected a whole number"),
    # the handler
    ("tcp :0 nomodule:Name", 78, "load handler 'nomodule:Name'", "there is no module 'nomodule' in "),
    ("tcp :0 nomodule.Name", 78, "load handler 'nomodule.Name'", "there is no module 'nomodule' in "),
    ("tcp :0 sink", 78, "load handler 'sink'", "it is called 'append' now"),
    ("tcp :0 noword", 78, "load handler 'noword'", "there is no ready-made handler of that name (append, chargen,"),
    ("tcp :0 nofile.py:Name", 78, "load handler 'nofile.py:Name'", "there is no file '"),
    (
        "tcp :0 myapp.py",
        78,
        "load handler 'myapp.py'",
        "it is a file; expected myapp.py:NAME, NAME being one of Echo, Upper,",
    ),
    ("tcp :0 myapp", 78, "load handler 'myapp'", "it is a module; expected myapp:NAME, NAME being one of Echo, Upper,"),
    ("tcp :0 eco", 78, "load handler 'eco'", "there is no ready-made handler of that name; did you mean echo?"),
    (
        "tcp :0 :443",
        2,
        "serve ':443'",
        "it is an address, and one command line serves one; start another srvctl for it",
    ),
    ("tcp :0 ::1:80", 2, "serve '::1:80'", "it is an address, and one command line serves one"),
    ("tcp4 :0 /bin/sh", 2, "run program '/bin/sh'", "there is no -- before it; did you mean: -- /bin/sh"),
    ("tcp :0 myapp:Ehco", 78, "load handler 'myapp:Ehco'", "; did you mean Echo?"),
    ("tcp :0 myapp:Nothing", 78, "load handler 'myapp:Nothing'", "there is no 'Nothing' in module 'myapp'; it has "),
    ("tcp :0 myapp:not_a_handler", 78, "load handler 'myapp:not_a_handler'", "it is not a handler: int objects cannot"),
    (
        "tcp :0 myapp:two_arguments",
        78,
        "load handler 'myapp:two_arguments'",
        "it takes 2 arguments; expected (request,",
    ),
    ("tcp :0 myapp:Upper", 78, "load handler 'myapp:Upper'", "it is made for datagrams (DatagramRequestHandler)"),
    ("udp :0 myapp:Echo", 78, "load handler 'myapp:Echo'", "it is made for connections (StreamRequestHandler)"),
]


def the_error(completed: subprocess.CompletedProcess[str]) -> str:
    """Return the one line that an error is, and see that it is the only one."""
    assert completed.stdout == ""
    lines = completed.stderr.splitlines()
    assert len(lines) == 1, completed.stderr
    assert lines[0].startswith("srvctl: error: cannot ")
    return lines[0].removeprefix("srvctl: error: cannot ")


@pytest.mark.parametrize(("words", "status", "what", "why"), ROWS, ids=[row[0].replace(LONG, "...") for row in ROWS])
def test_a_mistake_is_one_line_and_a_status(words: str, status: int, what: str, why: str, place: Path) -> None:
    """``srvctl: error: cannot VERB OBJECT: WHY`` with the wrong value in it, and nothing left behind."""
    (place / "directory").mkdir()
    (place / "file").touch()
    before = sorted(place.iterdir())
    completed = run(*words.split(), cwd=place)
    assert completed.returncode == status, completed.stderr
    error = the_error(completed)
    assert error.startswith(f"{what}: ")
    assert why in error.removeprefix(f"{what}: ")
    left = [path.name for path in sorted(place.iterdir()) if path not in before]
    assert [name for name in left if name != "__pycache__"] == []


@pytest.mark.parametrize("address", ["", "a\nb:1", "\x1b[2J:1", "\udcff:1"], ids=ascii)
def test_a_value_of_any_bytes_stays_on_the_one_line(address: str, place: Path) -> None:
    """An address that is empty, or has line breaks, escapes or broken UTF-8 in it, is a usage error on one line."""
    completed = run("tcp", address, cwd=place)
    assert completed.returncode in (2, 69), completed.stderr
    assert the_error(completed).isascii()
    assert the_error(completed).isprintable()


BROKEN = {
    "import_of_nothing": ("import nosuchthing\n", "ModuleNotFoundError: No module named 'nosuchthing'"),
    "an_exception": ("def helper():\n    raise RuntimeError('first\\nsecond')\nhelper()\n", "RuntimeError: first"),
    "a_syntax_error": ("class Name(\n", "SyntaxError: '(' was never closed"),
    "an_exit": ("raise SystemExit(0)\n", "SystemExit: 0"),
    "a_keyboard_interrupt": ("raise KeyboardInterrupt\n", "KeyboardInterrupt"),
}


@pytest.mark.parametrize(
    ("name", "form"),
    [*((name, "{}:Name") for name in BROKEN), ("an_exception", "{}.Name"), ("an_exit", "{}.py:Name")],
)
def test_a_module_that_raises_shows_the_users_own_frames(name: str, form: str, place: Path) -> None:
    """Above the one line come the frames of the user's files, and none of srvctl's; the status is 78."""
    text, why = BROKEN[name]
    (place / f"{name}.py").write_text(text)
    handler = form.format(name)
    completed = run("tcp", ":0", handler, cwd=place)
    assert completed.returncode == 78
    *frames, line = completed.stderr.splitlines()
    start = f"srvctl: error: cannot load handler {handler!r}: module {name!r} failed to import: {why} "
    assert line.startswith(f"{start}({place}/{name}.py:")
    files = [frame.split('"')[1] for frame in frames if frame.startswith("  File ")]
    assert files, completed.stderr
    assert set(files) == {str(place / f"{name}.py")}


def test_a_module_that_kills_its_process_is_told_as_that(place: Path) -> None:
    """A worker that dies while it loads the handler is an error that names handler and signal."""
    (place / "suicide.py").write_text("import os\nos.kill(os.getpid(), 9)\n")
    completed = run("tcp", ":0", "suicide:Name", cwd=place)
    assert completed.returncode == 78
    assert the_error(completed).startswith("load handler 'suicide:Name': the worker ended with SIGKILL")


def test_a_descriptor_that_cannot_be_served_is_refused(place: Path) -> None:
    """A file, a socket that does not listen, and an end of a pair are not served, and say why."""
    with (place / "myapp.py").open() as file, socket.socket() as idle:
        for held, why in ((file, "it is not a socket"), (idle, "it is a SOCK_STREAM socket that does not listen")):
            completed = run("fd", str(held.fileno()), cwd=place, pass_fds=(held.fileno(),))
            assert completed.returncode == 69
            assert the_error(completed) == f"serve fd {held.fileno()}: {why}"


@pytest.mark.parametrize("word", ["tcp", "udp"])
def test_a_port_in_use_names_who_holds_it(word: str, launch: Launch, place: Path) -> None:
    """A port that another program has, or another srvctl, is status 69, and the line says which process it is."""
    type_ = socket.SOCK_STREAM if word == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, type_) as others:
        others.bind(("127.0.0.1", 0))
        if word == "tcp":
            others.listen()
        address = f"127.0.0.1:{others.getsockname()[1]}"
        completed = run(word, address, cwd=place)
        assert completed.returncode == 69
        error = the_error(completed)
        assert error.startswith(f"bind {word} {address}: address already in use")
        assert f"held by pid {os.getpid()}," in error
    ours = launch(word, address)
    completed = run(word, address, cwd=place)
    assert completed.returncode == 69
    assert f"held by pid {ours.pid}," in the_error(completed)
    with ours.connect() as client:
        assert ask(client, b"unharmed") == b"unharmed"


@pytest.mark.parametrize("words", [("tcp", "127.0.0.1:{port}"), ("udp4", "127.0.0.1:{port}"), ("unix", "socket")])
def test_a_check_while_the_same_server_runs_says_so(words: tuple[str, str], launch: Launch, place: Path) -> None:
    """It does not fail for that, but with --strict; for other words, and from another directory, it does."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    family, address = words[0], words[1].format(port=port)
    server = launch(family, address, "--threads", "myapp:Anything")
    words_of_server = (family, address, "--threads", "--announce", "myapp:Anything")
    checked = run("check", *words_of_server, cwd=place)
    assert checked.returncode == 0, checked.stderr
    expected = f"address  {family} {address}, in use by srvctl pid {server.pid}, as this command line would\n"
    assert checked.stdout.startswith(expected)
    assert "handler  myapp:Anything (" in checked.stdout
    for others in (("--strict", "--threads", "--announce"), ("--fork", "--announce"), ("--threads",)):
        refused = run("check", family, address, *others, "myapp:Anything", cwd=place)
        assert (refused.returncode, refused.stdout) == (69, ""), refused.stderr
    (place / "below").mkdir()
    (place / "below" / "myapp.py").symlink_to(place / "myapp.py")
    below = str(place / "socket") if family == "unix" else address
    assert run("check", family, below, *words_of_server[2:], cwd=place / "below").returncode == 69
    (place / "myapp.py").write_text("class Anything: pass\n")  # what the server has loaded is another matter
    assert run("check", *words_of_server, cwd=place).returncode == 78


@pytest.mark.parametrize("word", ["unix", "unix-dgram", "unix-seqpacket"])
def test_a_path_on_which_somebody_listens_is_left_alone(word: str, launch: Launch, place: Path) -> None:
    """A live server's socket, whatever its type, is status 69 and is not removed; ours goes on serving."""
    ours = launch(word, "socket")
    inode = (place / "socket").stat().st_ino
    for other in ("unix", "unix-dgram"):
        completed = run(other, "socket", cwd=place)
        assert completed.returncode == 69, completed.stderr
        assert the_error(completed) == f"bind {other} socket: a server is listening there"
    assert (place / "socket").stat().st_ino == inode
    with ours.connect() as client:
        assert ask(client, b"unharmed") == b"unharmed"


# --- as an ordinary user


@pytest.fixture
def nobody() -> tuple[str, ...]:
    """The words to put before a command so that an ordinary user runs it; none when one runs the tests."""
    if os.geteuid() != 0:
        return ()
    if not shutil.which("setpriv"):
        pytest.skip("setpriv is not installed")
    tried = subprocess.run([*AS_NOBODY, "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"cannot become another user here: {tried.stderr.strip()}")
    return AS_NOBODY


def test_a_port_below_1024_is_not_for_an_ordinary_user(nobody: tuple[str, ...], place: Path) -> None:
    """Status 77, the address in the line, and what would help."""
    first = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if first <= 1:
        pytest.skip("every port is for everybody here: ip_unprivileged_port_start")
    completed = run("tcp", "127.0.0.1:1", cwd=place, prefix=nobody)
    assert completed.returncode == 77, completed.stderr
    assert the_error(completed).startswith("bind tcp 127.0.0.1:1: permission denied")


@pytest.mark.parametrize("word", ["unix", "unix-dgram", "unix-seqpacket"])
def test_a_place_that_cannot_be_written_to_is_no_permission(word: str, nobody: tuple[str, ...], place: Path) -> None:
    """Status 77 for a socket in a directory in which this user can make no file."""
    closed = place / "closed"
    closed.mkdir(mode=0o755 if nobody else 0o555)
    completed = run(word, "closed/socket", cwd=place, prefix=nobody)
    assert completed.returncode == 77, completed.stderr
    assert the_error(completed) == f"bind {word} closed/socket: permission denied"
    assert list(closed.iterdir()) == []


def test_an_ordinary_user_can_serve(nobody: tuple[str, ...], launch: Launch, place: Path) -> None:
    """Where the directory is theirs, a user who is not root starts, serves and stops as root does."""
    own = place / "own"
    own.mkdir()
    if nobody:
        os.chown(own, NOBODY, NOBODY)
    server = launch("unix", "own/socket", "--fork", "myapp:Echo", prefix=nobody)
    assert (own / "socket").stat().st_uid == (NOBODY if nobody else os.geteuid())
    with server.connect() as client:
        assert ask(client, b"hello\n") == b"hello\n"
    assert server.stop() == 0, server.log
    assert not (own / "socket").exists()


def test_a_ready_made_handler_is_served_from_a_directory_that_is_gone(launch, place):
    """There is nothing to be looked for in it; a handler of one's own is refused in one line."""
    gone = place / "gone"
    gone.mkdir()
    script = 'rmdir "$PWD" && exec "$@"'
    prefix = ("sh", "-c", script, "sh")
    server = launch("tcp4", "127.0.0.1:0", "echo", command=("sh", "-c", f"cd {gone} && {script}", "sh", *COMMAND))
    assert server.stop() == 0
    gone.mkdir()
    ended = run("tcp4", "127.0.0.1:0", "mine:Handler", prefix=prefix, cwd=gone)
    assert ended.returncode == 78
    (line,) = [line for line in ended.stderr.splitlines() if "error" in line]
    assert line.endswith("the current directory, where it would be looked for, is gone")


@pytest.mark.parametrize("words", ["handlers", "--help", "check tcp :0"])
def test_output_that_nobody_reads_ends_a_command_quietly(words: str, place: Path) -> None:
    """As after ``srvctl handlers | head -1``: status 0, and not a word."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as unread:
        process = subprocess.Popen(
            [*COMMAND, *words.split()], cwd=place, env=clean_environment(), stdout=unread, stderr=subprocess.PIPE
        )
    _, said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said) == (0, b"")
