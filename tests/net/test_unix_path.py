"""The file of a unix socket: made, taken over, and removed, and nothing else touched."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import stat
import subprocess
import sys
import threading

import pytest

from srvctl.net import unix_path
from srvctl.net.unix_path import bind_path

PATIENCE = 10.0
KINDS = pytest.mark.parametrize(
    "kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET], ids=lambda kind: kind.name[5:].lower()
)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can do this")


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "s")


@contextlib.contextmanager
def bound(path, kind=socket.SOCK_STREAM, **options):
    """A server at `path` as a launcher makes it; yield its `BoundPath`, and leave the file where it is."""
    with socket.socket(socket.AF_UNIX, kind) as sock:
        listen = None if kind == socket.SOCK_DGRAM else sock.listen
        yield bind_path(sock, path, listen=listen, **options)


def connects(path, kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_UNIX, kind) as client:
        return client.connect_ex(path) == 0


def leave_stale(path, kind=socket.SOCK_STREAM):
    """Leave the file of a server that is dead."""
    with socket.socket(socket.AF_UNIX, kind) as dead:
        dead.bind(path)


# --- the name of a dead server, and of a live one


@KINDS
def test_the_file_of_a_dead_server_is_replaced_and_told(path, kind):
    """A stale socket file does not stop a start, and the start says that it removed it."""
    told = []
    leave_stale(path, kind)
    with bound(path, kind, on_stale=told.append):
        assert connects(path, kind)
    assert told == [path]


@KINDS
def test_the_file_of_a_live_server_stays(path, kind):
    """A server that lives keeps its name: the second start fails with EADDRINUSE and removes nothing."""
    with bound(path, kind) as first:
        with pytest.raises(OSError, match="a server is listening there") as caught, bound(path, kind):
            pass
        assert caught.value.errno == errno.EADDRINUSE
        assert os.stat(path).st_ino == first.inode
        assert connects(path, kind)


@KINDS
def test_a_live_server_of_another_type_stays_too(path, kind):
    """Whatever type the live socket is of, it is not removed for being another."""
    for other in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        with bound(path, kind) as first:
            with pytest.raises(OSError, match="a server is listening there"), bound(path, other):
                pass
            first.unlink()


def test_a_live_server_whose_queue_is_full_stays(path):
    """A server that is too busy to be connected to is alive."""
    with socket.socket(socket.AF_UNIX) as server, contextlib.ExitStack() as clients:
        server.bind(path)
        server.listen(0)
        while True:
            client = clients.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            if client.connect_ex(path) == errno.EAGAIN:
                break
        with pytest.raises(OSError, match="a server is listening there"), bound(path):
            pass
        assert os.path.exists(path)


@pytest.mark.parametrize("kind", ["file", "directory", "fifo", "link to a stale socket", "link to nothing"])
def test_anything_else_at_the_path_is_refused_and_stays(path, kind, tmp_path):
    """Only a socket is ever replaced: a file, a directory, a fifo or a link is EADDRINUSE."""
    target = str(tmp_path / "t")
    if kind == "file":
        with open(path, "w") as file:
            file.write("precious")
    elif kind == "directory":
        os.mkdir(path)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        if "stale" in kind:
            leave_stale(target)
        os.symlink(target, path)
    before = os.lstat(path)
    with pytest.raises(OSError, match="it is a") as caught, bound(path):
        pass
    assert caught.value.errno == errno.EADDRINUSE
    after = os.lstat(path)
    assert (after.st_ino, after.st_mode, after.st_size) == (before.st_ino, before.st_mode, before.st_size)
    assert os.path.exists(target) == ("stale" in kind)


# --- what the file looks like


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666, 0o777, 0o000])
@pytest.mark.parametrize("umask", [0o022, 0o000, 0o777])
def test_the_mode_is_right_before_anyone_can_connect(path, mode, umask):
    """The file has the permissions that were asked for when the server begins to listen, whatever the umask."""
    seen = []
    before = os.umask(umask)
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            bind_path(sock, path, mode=mode, listen=lambda: seen.append(stat.S_IMODE(os.stat(path).st_mode)))
        assert seen == [mode]
        assert os.umask(umask) == umask, "the umask is as it was"
    finally:
        os.umask(before)


def test_without_a_mode_the_umask_decides(path):
    """No mode is 0777 less the umask, as for any socket."""
    before = os.umask(0o027)
    try:
        with bound(path):
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o750
    finally:
        os.umask(before)


@as_root
def test_the_owner_is_right_before_anyone_can_connect(path):
    """The file has its owner and group when the server begins to listen, and nobody could use it before that."""
    seen, modes = [], []
    chown = os.chown

    def watched(target, uid, gid):
        modes.append(stat.S_IMODE(os.stat(path).st_mode))
        chown(target, uid, gid)

    with pytest.MonkeyPatch.context() as patch, socket.socket(socket.AF_UNIX) as sock:
        patch.setattr(os, "chown", watched)
        bind_path(sock, path, mode=0o660, owner=(65534, 65533), listen=lambda: seen.append(os.stat(path)))
    assert modes == [0], "before the owner is right there are no permissions"
    assert (seen[0].st_uid, seen[0].st_gid, stat.S_IMODE(seen[0].st_mode)) == (65534, 65533, 0o660)


@as_root
def test_an_owner_without_a_mode_leaves_the_permissions(path):
    """A change of owner alone is no change of permissions."""
    before = os.umask(0o022)
    try:
        with bound(path, owner=(65534, -1)):
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o755
            assert os.stat(path).st_uid == 65534
    finally:
        os.umask(before)


def test_an_owner_that_cannot_be_set_leaves_no_file(path, monkeypatch):
    """A start that fails in the middle takes its file away again."""

    def refused(*args):
        raise PermissionError(errno.EPERM, "not permitted")

    monkeypatch.setattr(os, "chown", refused)
    with pytest.raises(PermissionError), bound(path, mode=0o600, owner=(65534, 65534)):
        pass
    assert not os.path.lexists(path)


def test_a_listen_that_fails_leaves_no_file(path):
    """A start that fails at the last step takes its file away again."""

    def refused():
        raise OSError(errno.ENOBUFS, "no buffers")

    with socket.socket(socket.AF_UNIX) as sock, pytest.raises(OSError, match="no buffers"):
        bind_path(sock, path, listen=refused)
    assert not os.path.lexists(path)


def test_abstract_names_have_no_file(tmp_path):
    """A name in the abstract namespace is bound and listened on; there is nothing to remove."""
    name = f"\0srvctl-test-{os.getpid()}-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX) as sock, socket.socket(socket.AF_UNIX) as client:
        assert bind_path(sock, name, listen=sock.listen) is None
        client.connect(name)


@pytest.mark.parametrize("kind", [str, os.fsencode], ids=["str", "bytes"])
def test_a_path_may_be_text_or_bytes(tmp_path, kind):
    """A path is what bind() takes for one."""
    with bound(kind(str(tmp_path / "s"))) as file:
        assert file.path == str(tmp_path / "s")
        file.unlink()
    assert not (tmp_path / "s").exists()


@as_root
@pytest.mark.parametrize(("mode", "is_safe"), [(0o777, False), (0o770, False), (0o1777, True), (0o755, True)])
def test_as_root_a_directory_where_others_can_rename_is_refused(tmp_path, mode, is_safe):
    """Root makes no socket where somebody else could put another in its place."""
    directory = tmp_path / "d"
    directory.mkdir()
    directory.chmod(mode)
    path = str(directory / "s")
    if is_safe:
        with bound(path) as file:
            file.unlink()
    else:
        with pytest.raises(PermissionError, match="others can write to directory"), bound(path):
            pass
    assert os.listdir(directory) == []


# --- removing it


def test_unlink_removes_our_own_file_only(path):
    """Once another server has the path, ours is not there any more to be removed."""
    with socket.socket(socket.AF_UNIX) as deaf:
        first = bind_path(deaf, path)  # it does not listen, and counts as dead
        with bound(path) as second:
            assert second.inode != first.inode, "as long as the socket is open, no other file gets its number"
            first.unlink()
            assert os.stat(path).st_ino == second.inode
            second.unlink()
            assert not os.path.lexists(path)
            second.unlink()  # twice is not an error


def test_unlink_survives_a_change_of_directory(tmp_path, monkeypatch):
    """A relative path is the one that it was when the file was made."""
    monkeypatch.chdir(tmp_path)
    with bound("s") as file:
        monkeypatch.chdir("/")
        file.unlink()
    assert os.listdir(tmp_path) == []


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_nothing_is_unlinked_from_a_forked_child(path):
    """A handler's process that ends does not take the server's file with it."""
    with bound(path) as file:
        pid = os.fork()
        if pid == 0:
            try:
                file.unlink()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        assert os.path.exists(path)
        file.unlink()
        assert not os.path.lexists(path)


# --- two at once

STARTER = """
import os, socket, sys
from srvctl.net.unix_path import bind_path
path, kind, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for _ in range(rounds):
    sys.stdin.readline()
    sock = socket.socket(socket.AF_UNIX, kind)
    try:
        file = bind_path(sock, path, listen=None if kind == socket.SOCK_DGRAM else sock.listen)
    except OSError as error:
        print("lost", error.errno, flush=True)
        file = None
    else:
        print("won", file.inode, flush=True)
    sys.stdin.readline()
    if file:  # a crash leaves the file; the next round is over a stale one
        sock.close()
    print("done", flush=True)
"""


@KINDS
def test_of_starters_that_race_one_wins_and_keeps_its_file(path, kind):
    """Whoever starts at the same time on a stale path: one has it in the end, and it is the one that says so."""
    rounds = 25
    leave_stale(path, kind)
    program = [sys.executable, "-c", STARTER, path, str(int(kind)), str(rounds)]
    with contextlib.ExitStack() as stack:
        starters = [
            stack.enter_context(subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for _ in range(3)
        ]

        def told(word):
            for starter in starters:
                starter.stdin.write(f"{word}\n")
                starter.stdin.flush()
            return [starter.stdout.readline().split() for starter in starters]

        for _ in range(rounds):
            answers = told("go")
            winners = [int(inode) for word, inode in answers if word == "won"]
            assert len(winners) == 1, answers
            assert os.stat(path).st_ino == winners[0]
            assert connects(path, kind)
            assert {int(number) for word, number in answers if word == "lost"} == {errno.EADDRINUSE}
            assert told("end") == [["done"]] * 3


def test_a_start_does_not_wait_long_for_another(path, tmp_path, monkeypatch):
    """Whoever holds the lock on the directory holds up a start for less than a second; then it is EADDRINUSE."""
    monkeypatch.setattr(unix_path, "LOCK_SECONDS", 0.05)
    at = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(at, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="another server is starting there") as caught, bound(path):
            pass
        assert caught.value.errno == errno.EADDRINUSE
    finally:
        os.close(at)
    with bound(path):
        assert connects(path)


# --- an attacker in the directory


def exchange(directory, one, other):
    """Swap two names at once, renameat2(2); return whether both were there."""
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.renameat2(directory, os.fsencode(one), directory, os.fsencode(other), 2) == 0  # RENAME_EXCHANGE


class Attacker(threading.Thread):
    """Puts links to a victim's files in place of the socket, as fast as it can, until it is told to stop."""

    def __init__(self, directory, victims):
        super().__init__(daemon=True)
        self.directory, self.victims = directory, victims
        self.told, self.swaps = threading.Event(), 0

    def run(self):
        at = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            while not self.told.is_set():
                victim = self.victims[self.swaps % len(self.victims)]
                with contextlib.suppress(OSError):
                    os.symlink(victim, "trap", dir_fd=at)
                if exchange(at, "trap", "s"):
                    self.swaps += 1
                    exchange(at, "trap", "s")
                    continue
                with contextlib.suppress(OSError):
                    os.rename("trap", "s", src_dir_fd=at, dst_dir_fd=at)
                    self.swaps += 1
                with contextlib.suppress(OSError):
                    os.unlink("s", dir_fd=at)
        finally:
            os.close(at)


def look_at(directory):
    """Return all that can be seen of what is in a directory, but when it was last looked at."""
    seen = {}
    for name in sorted(os.listdir(directory)):
        found = os.lstat(os.path.join(directory, name))
        seen[name] = (found.st_ino, found.st_mode, found.st_uid, found.st_gid, found.st_nlink, found.st_size)
    return seen


@pytest.mark.parametrize("rounds", [300, pytest.param(10_000, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
def test_an_attacker_who_swaps_the_name_gets_nothing_outside_changed(tmp_path, rounds):
    """Promise P24: whatever is renamed while binds and unlinks run, no file outside of the directory is touched."""
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (outside / "file").write_text("precious")
    (outside / "file").chmod(0o640)
    leave_stale(str(outside / "stale"))
    with bound(str(outside / "live")):
        before = look_at(outside)
        attacker = Attacker(str(inside), [str(outside / name) for name in before])
        attacker.start()
        owner = (65534, 65534) if os.geteuid() == 0 else (-1, -1)
        made = 0
        try:
            done = 0
            while done < rounds or attacker.swaps < rounds:
                done += 1
                with contextlib.suppress(OSError), bound(str(inside / "s"), mode=0o666, owner=owner) as file:
                    made += 1
                    file.unlink()
        finally:
            attacker.told.set()
            attacker.join(PATIENCE)
        assert look_at(outside) == before
        assert (outside / "file").read_text() == "precious"
        assert connects(str(outside / "live"))
    assert attacker.swaps >= rounds
    assert made, "a race that the server never wins shows nothing"
