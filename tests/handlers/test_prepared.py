"""What a ready-made handler cannot serve with ends the start, the check or the reload, not the first conversation."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess

import pytest

from tests.handlers.test_append import send
from tests.launched import COMMAND, PATIENCE, clean_environment, receive_all, run, wait_until
from tests.promises.faults import as_somebody_else

MODELS = ("--sync", "--threads", "--fork")
NOT_MADE = "there is no such file, and it cannot be created"

# The words behind the address, the exit status, and the line behind "srvctl: error: cannot ".
WRONG = [
    ("tcp proxy", 2, "set to='': expected FAMILY://ADDRESS, such as "),
    ("tcp --set to=http://x:80 proxy", 2, "set to='http://x:80': expected FAMILY://ADDRESS, such as "),
    ("tcp --set to=tcp://::1:80 proxy", 2, "set to='tcp://::1:80': an IPv6 address is written in brackets, "),
    ("tcp --set to=udp://x:53 proxy", 2, "set to='udp://x:53': the server's socket is for a stream, and that address"),
    ("udp --set to=tcp://x:80 proxy", 2, "set to='tcp://x:80': the server's socket is for datagrams, and that address"),
    ("tcp --set to=tcp://x:80 --set connect_timeout=0 proxy", 2, "set connect_timeout=0: expected a number of "),
    ("tcp --set file=missing/out append", 78, f"open 'missing/out': {NOT_MADE}"),
    ("udp --set file=missing/out append", 78, f"open 'missing/out': {NOT_MADE}"),
    ("tcp --set file=new/ append", 78, f"open 'new/': {NOT_MADE}"),
    ("tcp --set file=dangling append", 78, f"open 'dangling': {NOT_MADE}"),
    ("tcp --set file=. append", 78, "open '.': Is a directory"),
    ("tcp --set file=pipe append", 78, "open 'pipe': No such device or address"),
    ("tcp --set file=out --set mode=0o10000 append", 2, "set mode=0o10000: expected permissions, 0 to 0o7777"),
    ("tcp --set file=out --set sync=always append", 2, "set sync='always': expected no, record or end"),
    ("tcp --set file=missing/out syslog", 78, f"open 'missing/out': {NOT_MADE}"),
    ("udp --set format=xml syslog", 2, "set format='xml': expected text or json"),
    ("tcp --set directory=missing static", 78, "serve directory 'missing': No such file or directory"),
    ("tcp --set directory=myapp.py static", 78, "serve directory 'myapp.py': Not a directory"),
    ("tcp --set access_log=missing/log static", 78, f"open 'missing/log': {NOT_MADE}"),
    ("tcp --set timeout=0 static", 2, "set timeout=0: expected a number of seconds above 0"),
    ("tcp --set file=missing qotd", 78, "read 'missing': No such file or directory"),
    ("udp --set file=. qotd", 78, "read '.': Is a directory"),
]


@pytest.fixture
def somewhere(place):
    """A directory to start in, with what no record can be appended to."""
    os.mkfifo(place / "pipe")
    (place / "dangling").symlink_to("missing/out")
    return place


def said_by(words, status, place):
    """Run what must fail with this status; return its one line without what all of them begin with."""
    done = run(*words, cwd=place)
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    (line,) = done.stderr.splitlines()
    return line.removeprefix("srvctl: error: cannot ")


@pytest.mark.parametrize(("words", "status", "line"), WRONG, ids=[words for words, _, _ in WRONG])
def test_a_wrong_setting_ends_the_start(somewhere, words, status, line):
    """With one line that names the value, and the status of whose mistake it is."""
    before = sorted(os.listdir(somewhere))
    family, *options = words.split()
    assert said_by([family, "127.0.0.1:0", *options], status, somewhere).startswith(line)
    assert sorted(os.listdir(somewhere)) == before


@pytest.mark.parametrize("model", [[model] for model in MODELS] + [["--threads", "--workers", "2"]], ids=" ".join)
@pytest.mark.parametrize("verb", [[], ["check"]], ids=["serve", "check"])
def test_a_wrong_setting_ends_the_start_of_every_model_and_a_check(place, model, verb):
    """With the same words and the same status."""
    words = [*verb, "unix", "front", *model, "--set", "directory=missing", "static"]
    line = "serve directory 'missing': No such file or directory"
    assert said_by(words, 78, place) == line
    assert not (place / "front").exists()


def test_the_one_connection_of_inetd_is_not_served_with_a_wrong_setting(place):
    """Nor is it told anything: it ends."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            command = [*COMMAND, "fd", "0", "--set", "directory=missing", "static"]
            done = subprocess.run(
                command, cwd=place, env=clean_environment(), stdin=theirs, stderr=subprocess.PIPE, timeout=PATIENCE
            )
        assert done.returncode == 78
        assert done.stderr == b"srvctl: error: cannot serve directory 'missing': No such file or directory\n"
        assert receive_all(ours) == b""


@pytest.mark.parametrize("handler", ["append", "syslog"])
def test_a_check_makes_no_file_and_leaves_one_as_it_was(place, handler):
    """It looks whether one could be made; one that is there is opened, and nothing more."""
    words = ("check", "udp", "127.0.0.1:0", "--set", "file=out", handler)
    assert run(*words, cwd=place).returncode == 0
    assert not (place / "out").exists()
    (place / "out").write_text("old\n")
    before = (place / "out").stat()
    assert run(*words, cwd=place).returncode == 0
    after = (place / "out").stat()
    assert (after.st_mtime_ns, after.st_size, after.st_ino) == (before.st_mtime_ns, before.st_size, before.st_ino)


def test_a_link_that_leads_nowhere_yet_is_made_to_lead_somewhere(launch, place):
    """The file is made where it points to, as open(2) does it."""
    (place / "logs").mkdir()
    (place / "link").symlink_to("logs/out")
    server = launch("tcp", "127.0.0.1:0", "--set", "file=link", "append")
    send(server, b"one\n")
    assert (place / "logs" / "out").read_bytes() == b"one\n"


@pytest.mark.parametrize("model", MODELS)
def test_a_file_that_cannot_be_made_any_more_fails_the_conversation_and_not_the_server(launch, place, model):
    """What was there at the start may go; when it is there again, the next conversation has it."""
    (place / "logs").mkdir()
    server = launch("unix", "front", model, "--set", "file=logs/out", "append")
    (place / "logs").rmdir()
    send(server, b"lost\n")
    assert "cannot create logs/out: No such file or directory" in server.wait_for_log("handler failed")
    (place / "logs").mkdir()
    send(server, b"kept\n")
    assert (place / "logs" / "out").read_bytes() == b"kept\n"


@pytest.mark.parametrize("model", MODELS)
def test_each_worker_has_the_file_open_before_it_serves(launch, place, model):
    """By itself, and to append to."""
    (place / "out").write_bytes(b"old\n")
    server = launch("unix", "front", model, "--workers", "2", "--set", "file=out", "append")
    workers = server.children()
    assert len(workers) == 2
    for worker in workers:
        fds = [fd for fd in os.listdir(f"/proc/{worker}/fd") if shown(worker, fd) == str(place / "out")]
        (flags,) = [flags_of(worker, fd) for fd in fds]
        assert flags & (os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC) == os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC
    for letter in b"abcdef":
        send(server, bytes([letter]) * 1000 + b"\n")
    lines = (place / "out").read_bytes().splitlines()
    assert lines == [b"old", *(bytes([letter]) * 1000 for letter in b"abcdef")]


def shown(pid, fd):
    """Return what a descriptor of process `pid` is; nothing of one that has been closed since."""
    try:
        return os.readlink(f"/proc/{pid}/fd/{fd}")
    except FileNotFoundError:
        return ""


def flags_of(pid, fd):
    """Return the flags of an open file, proc(5)."""
    with open(f"/proc/{pid}/fdinfo/{fd}") as info:
        return int(next(line for line in info if line.startswith("flags:")).split()[1], 8)


def test_the_file_is_the_one_of_the_user_that_serves(launch, place):
    """Who may not make it, or may not write to it, is told so at the start; who may owns it."""
    somebody = as_somebody_else("dac_read_search")  # who may look into the test's directory
    words = ("unix", "@srvctl-prepared-" + os.urandom(8).hex(), "--workers", "2", "--set")
    refused = run(*words, "file=out", "append", cwd=place, prefix=somebody)
    assert (refused.returncode, refused.stderr) == (78, f"srvctl: error: cannot open 'out': {NOT_MADE}\n")
    (place / "secret").touch(mode=0o600)
    refused = run(*words, "file=secret", "append", cwd=place, prefix=somebody)
    assert (refused.returncode, refused.stderr) == (78, "srvctl: error: cannot open 'secret': Permission denied\n")
    (place / "open").mkdir()
    (place / "open").chmod(0o777)
    server = launch(*words, "file=open/out", "append", prefix=somebody)
    send(server, b"one\n")
    made = (place / "open" / "out").stat()
    assert made.st_uid != os.geteuid() and stat.S_IMODE(made.st_mode) & ~0o640 == 0


@pytest.mark.parametrize("model", MODELS)
def test_a_reload_with_a_directory_that_has_gone_leaves_the_old_worker(launch, place, model):
    """One line says why; when it is there again, the next reload succeeds."""
    (place / "site").mkdir()
    server = launch("tcp", "127.0.0.1:0", model, "--set", "directory=site", "static")
    old = server.worker
    shutil.rmtree(place / "site")
    server.send_signal(signal.SIGHUP)
    log = server.wait_for_log("reload failed")
    assert "cannot serve directory 'site': No such file or directory" in log
    wait_until(lambda: server.children() == [old], "end of the new worker", server)
    (place / "site").mkdir()
    server.send_signal(signal.SIGHUP)
    server.wait_for_log("notice reloaded")


@pytest.mark.parametrize("handler", ["append", "syslog"])
def test_a_reload_with_a_file_that_cannot_be_made_leaves_the_old_worker_its_file(launch, place, handler):
    """Which it has open, and goes on writing to."""
    (place / "logs").mkdir()
    (place / "logs" / "out").touch()
    server = launch("tcp", "127.0.0.1:0", "--workers", "2", "--set", "file=logs/out", handler)
    old = server.children()
    (place / "logs").rename(place / "moved")
    server.send_signal(signal.SIGHUP)
    assert f"cannot open 'logs/out': {NOT_MADE}" in server.wait_for_log("reload failed")
    wait_until(lambda: sorted(server.children()) == sorted(old), "end of the new workers", server)
    send(server, b"one\n")
    assert b"one" in (place / "moved" / "out").read_bytes()
