"""Processes: who runs whose code, what each has in it, and what happens when one dies."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.launched import (
    COMMAND,
    PATIENCE,
    Launched,
    ask,
    children_of,
    clean_environment,
    receive_all,
    run,
    wait_until,
)
from tests.promises.faults import processes_in

Launch = Callable[..., Launched]

MODELS = ("--sync", "--threads", "--fork")
by_model = pytest.mark.parametrize("model", MODELS)

# What a forking worker has no use for, and each of its children would pay for.
HEAVY = {
    *("click", "rich", "logging", "asyncio", "threading", "typing", "inspect", "dataclasses", "ssl", "traceback"),
    *(
        "subprocess",
        "json",
        "tempfile",
        "random",
        "email",
        "importlib.metadata",
        "srvctl.cli.commands",
        "srvctl.supervisor.supervisor",
    ),
}
PRIVATE = {
    "LISTEN_FDS": "0",
    "LISTEN_FDNAMES": "a:b",
    "LISTEN_PIDFDID": "1",
    "WATCHDOG_USEC": "1",
    "WATCHDOG_PID": "1",
    "JOURNAL_STREAM": "1:1",
}


def said_by(server: Launched) -> dict:
    """Return what the handler `Modules` says of its process."""
    with server.connect() as client:
        return json.loads(receive_all(client))


@pytest.fixture(scope="module")
def bare_modules() -> set[str]:
    """What this interpreter has in it before anything is imported: `.pth` files bring some."""
    words = [sys.executable, "-P", "-c", "import sys; print(*sys.modules)"]
    return set(
        subprocess.run(words, capture_output=True, text=True, check=True, env=clean_environment()).stdout.split()
    )


@by_model
def test_a_handler_runs_in_a_lean_process_of_its_own(
    model: str, launch: Launch, place: Path, bare_modules: set[str]
) -> None:
    """The worker, or its child, imports no more than its model needs, and holds only what was handed to it."""
    with (place / "secret").open("w") as secret, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(place / "notify"))
        environment = clean_environment(**PRIVATE, NOTIFY_SOCKET=str(place / "notify"), KEPT="yes")
        server = launch("tcp", ":0", model, "myapp:Modules", pass_fds=(secret.fileno(),), env=environment)
        said = said_by(server)
    worker = server.worker
    assert (said["pid"], said["ppid"])[model == "--fork"] == worker
    allowed = {"threading"} if model == "--threads" else set()
    assert (set(said["modules"]) - bare_modules) & HEAVY == allowed
    assert said["environment"]["KEPT"] == "yes"
    assert [name for name in said["environment"] if name in PRIVATE or name == "NOTIFY_SOCKET"] == []
    held = said["descriptors"]
    assert str(place / "secret") not in held.values()
    log = os.readlink(f"/proc/{server.pid}/fd/2")
    assert [held.pop(fd) for fd in ("0", "1", "2")] == ["/dev/null", log, log]
    kinds = sorted(target.split("[")[0] for target in held.values())
    # A child has its connection and the lifeline; the worker has its listener, its channel, its loop, and a pipe for
    # its stacks and the record of its connections too, and where threads wait for requests they do so at a gate, and
    # share a limit with other workers.
    loops = {"--fork": 0, "--threads": 3, "--sync": 1}[model]
    rest = [] if model == "--fork" else ["pipe:", "socket:", "socket:", "/memfd:srvctl-connections (deleted)"]
    assert kinds == sorted(["anon_inode:", "anon_inode:"] * loops + rest + ["socket:", "pipe:"]), held


@by_model
def test_a_program_that_a_handler_executes_inherits_no_descriptor(model: str, launch: Launch) -> None:
    """Listener, channel and connection are close-on-exec, also to a handler that closes nothing itself."""
    server = launch("tcp", ":0", model, "myapp:Shell")
    if model == "--fork":  # so that it is the child that waits that gets the connection: from its parent, by a message
        wait_until(lambda: server.children(server.worker), "child that waits", server)
    with server.connect() as client:
        assert receive_all(client).split() == [b"0", b"1", b"2", b"3"]  # 3: the listing's own


def test_the_supervisor_never_imports_the_handler(launch: Launch, place: Path) -> None:
    """A module's code runs once in each worker, and in no other process; a worker is a fresh interpreter each time."""
    (place / "tells.py").write_text(
        "import os, sys\n"
        f"with open({str(place / 'imported')!r}, 'a') as file: file.write(f'{{os.getpid()}} {{sys.orig_argv[1]}}\\n')\n"
        "def Name(request, client_address, server): pass\n"
    )
    server = launch("tcp", ":0", "--fork", "tells:Name")
    with server.connect() as client:
        assert client.recv(1) == b""
    first = server.worker
    os.kill(first, signal.SIGKILL)
    second = wait_until(lambda: set(server.children()) - {first}, "another worker", server).pop()
    with server.connect() as client:
        assert client.recv(1) == b""
    assert (place / "imported").read_text() == f"{first} -P\n{second} -P\n"


@by_model
def test_a_worker_that_was_killed_is_replaced(model: str, launch: Launch) -> None:
    """The supervisor holds the socket: clients that come while there is no worker wait, and are served by the next."""
    server = launch("unix", "socket", model, "myapp:Pid")
    first = server.worker
    os.kill(first, signal.SIGKILL)
    with server.connect() as client:
        answer = int(receive_all(client))
    server.wait_for_log(f"worker died pid={first} how=SIGKILL")
    second = server.worker
    assert second != first
    assert answer == second or model == "--fork"
    assert server.stop() == 0, server.log


def test_workers_that_keep_dying_end_the_server(launch: Launch, place: Path) -> None:
    """When one after the other fails the status is 70, the reason is the last one's, and the socket's file is gone."""
    (place / "fragile.py").write_text("import os\nassert not os.path.exists('broken')\nfrom myapp import Echo\n")
    server = launch("unix", "socket", "fragile:Echo")
    (place / "broken").touch()
    os.kill(server.worker, signal.SIGKILL)
    assert server.wait() == 70, server.log
    assert server.log.splitlines()[-1].startswith(
        "srvctl: error: cannot keep a worker: the starts of 10 s failed; the last one: "
    )
    assert "AssertionError" in server.log.splitlines()[-1]
    assert server.log.count("worker died") >= 5
    assert not (place / "socket").exists()


@pytest.mark.parametrize("is_abstract", [False, True], ids=["path", "abstract"])
def test_a_service_manager_is_told_of_ready_and_stopping(is_abstract: bool, launch: Launch, place: Path) -> None:
    """READY=1 comes when clients are served, STOPPING=1 when a stop begins, at a path or an abstract name."""
    name = "@srvctl-test-" + os.urandom(6).hex() if is_abstract else str(place / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0", 1) if is_abstract else name)
        manager.settimeout(PATIENCE)
        server = launch("unix", "socket", env=clean_environment(NOTIFY_SOCKET=name))
        assert manager.recv(4096).splitlines()[0] == b"READY=1"
        with server.connect() as client:
            assert ask(client, b"hello") == b"hello"
        assert server.stop() == 0
        assert manager.recv(4096).splitlines()[0] == b"STOPPING=1"


def test_a_service_manager_is_told_why_a_start_failed(place: Path) -> None:
    """Instead of READY=1 comes the one line of the error as STATUS, with the exit status as ERRNO."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(place / "notify"))
        manager.settimeout(PATIENCE)
        environment = clean_environment(NOTIFY_SOCKET=str(place / "notify"))
        words = [*COMMAND, "tcp", ":0", "nomodule:Name"]
        done = subprocess.run(words, cwd=place, env=environment, capture_output=True, text=True, timeout=PATIENCE)
        said = manager.recv(4096).decode().splitlines()
    assert said == [f"STATUS={done.stderr.removeprefix('srvctl: error: ').rstrip()}", "ERRNO=78"]


@by_model
def test_standard_output_is_for_the_announcement_alone(model: str, launch: Launch) -> None:
    """After the one line its reader sees the end, while the server runs; what a handler prints goes to the log."""
    server = launch("tcp", ":0", model, "myapp:Print")
    assert server.process.stdout is not None
    assert server.process.stdout.read() == b""
    assert server.process.poll() is None
    with server.connect() as client:
        client.sendall(b"to be printed\n")
        assert client.recv(100) == b"printed\n"
    assert 'line="to be printed"' in server.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT], ids=["TERM", "INT", "QUIT"])
def test_a_signal_before_it_is_ready_ends_it_as_that_signal(number: signal.Signals, place: Path) -> None:
    """A handler that never finishes its import: nothing is announced, the worker and the socket's file go."""
    os.mkfifo(place / "fifo")
    (place / "blocks.py").write_text("open('fifo').read()\nfrom myapp import Echo\n")
    words = [*COMMAND, "unix", "socket", "--announce", "blocks:Echo"]
    with subprocess.Popen(words, cwd=place, stdout=subprocess.PIPE, env=clean_environment()) as process:
        try:
            fifo = os.open(place / "fifo", os.O_WRONLY)  # waits until the worker is there
            (worker,) = children_of(process.pid)
            assert (place / "socket").is_socket()
            process.send_signal(number)
            assert process.wait(PATIENCE) == -number
            os.close(fifo)
            assert process.stdout is not None
            assert process.stdout.read() == b""
        finally:
            process.kill()
    assert not Path(f"/proc/{worker}").exists()
    assert not (place / "socket").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("tcp", ":0", "--nope"),
        ("tcp", ":port"),
        ("tcp", ":0", "nomodule:Name"),
        ("unix", "none/socket"),
        ("tcp", ":0", "--", "/none"),
        ("tcp", "--help"),
    ],
    ids=" ".join,
)
def test_words_that_serve_nothing_leave_no_process(words: tuple[str, ...], place: Path) -> None:
    """A worker that was started before they were read has ended when the command has."""
    run(*words, cwd=place)
    assert processes_in(place) == []


@pytest.mark.parametrize("end", [(), ("--", "./shows")], ids=["handler", "program"])
def test_a_worker_has_the_signals_of_the_system(end: tuple[str, ...], launch: Launch, place: Path) -> None:
    """Whichever were ignored or blocked where srvctl was started, and whenever it takes its own."""
    (place / "shows").write_text("#!/bin/sh\n")
    (place / "shows").chmod(0o755)
    prefix = ("env", "--block-signal=USR1", "--ignore-signal=TTIN")
    server = launch("tcp", ":0", *end, prefix=prefix)
    lines = Path(f"/proc/{server.worker}/status").read_text().splitlines()
    masks = dict(line.split(":") for line in lines if line.startswith(("SigBlk", "SigIgn")))
    assert int(masks["SigBlk"], 16) == 0
    assert int(masks["SigIgn"], 16) & 1 << signal.SIGTTIN - 1 == 0
