"""How a program is found and started, how its processes are found again, and what is known of its connection."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from srvctl.errors import LoadError
from srvctl.programs import conversation, program, spawn, spawn_ctypes
from srvctl.programs.program import Program
from srvctl.programs.spawn import GilSpawner
from srvctl.programs.spawn_ctypes import CtypesSpawner
from srvctl.runtime import process_session
from tests.launched import wait_until
from tests.promises.faults import is_gone

SPAWNS = pytest.mark.parametrize("spawning", [GilSpawner, CtypesSpawner])


@pytest.fixture
def place(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, and the only one of PATH but for the system's."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("PATH", f"{place}/bin:/usr/bin:/bin")
    (place / "bin").mkdir()
    return place


def script(path: Path, text: str = "#!/bin/sh\n", mode: int = 0o755) -> Path:
    """Write a program."""
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_name_is_searched_for_and_a_path_is_not(place: Path) -> None:
    """As execvp(3) does it."""
    ours = script(place / "bin" / "ls")
    assert program.find("ls") == str(ours)
    assert program.find("./bin/ls") == program.find("bin/ls") == str(ours)
    with pytest.raises(LoadError, match=r"no such program in PATH"):
        program.find("bin")


def test_what_cannot_be_executed_is_passed_by_in_path(place: Path) -> None:
    """And named when there is nothing else."""
    script(place / "bin" / "ls", mode=0o644)
    assert program.find("ls") != str(place / "bin" / "ls")
    script(place / "bin" / "only-here", mode=0o644)
    with pytest.raises(LoadError, match="only-here' is not executable"):
        program.find("only-here")


@pytest.mark.parametrize("line", ["#!/bin/sh", "#! /bin/sh", "#!\t/bin/sh -e\t"])
def test_the_interpreter_of_a_script_is_looked_at(place: Path, line: str) -> None:
    """As the kernel reads it."""
    assert program.find(str(script(place / "run", f"{line}\n")))


def test_a_binary_that_is_not_elf_may_be_one(place: Path) -> None:
    """binfmt_misc knows more than we do."""
    (place / "wasm").write_bytes(b"\0asm\1\0\0\0")
    (place / "wasm").chmod(0o755)
    assert program.find("./wasm") == str(place / "wasm")


def test_a_program_that_can_be_executed_and_not_read_is_one(place: Path) -> None:
    """Nothing but the start can tell more."""
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    assert program.find(str(script(place / "run", mode=0o111)))


def start(program: Program, descriptors: tuple[int, int, int], variables: dict[str, str]) -> int:
    """Start it and return its process id."""
    spawning = program.prepare(descriptors, variables)
    return spawning.result(spawning.run())


@SPAWNS
def test_a_program_has_the_words_the_variables_and_the_descriptors_it_was_started_with(
    place: Path, spawning: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process group of its own."""
    monkeypatch.setattr(program, "prepared", spawning)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        text = '#!/bin/sh\necho "$0 $1 $A $B"; ps -o pgid= -p $$ 2>/dev/null || :\n'
        path = str(script(place / "run", text))
        started = Program(path, ["run", "one"], {"A": "a", "PATH": "/bin:/usr/bin"})
        pid = start(started, (theirs.fileno(),) * 3, {"B": "2"})
        assert os.waitpid(pid, 0)[1] == 0
        theirs.close()
        first, *rest = ours.makefile().read().splitlines()
        assert first == f"{path} one a 2"
        assert [int(word) for word in rest] in ([], [pid])


def test_a_session_is_killed_whole_and_its_leader_is_left() -> None:
    """Whatever groups there are in it; a process that leads none has nothing killed."""
    words = ["sh", "-mc", "sleep 600 & sleep 600 & echo $!; exec cat"]  # -m: a group for each job
    read, write = os.pipe()
    ours, theirs = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, read, 0), (os.POSIX_SPAWN_DUP2, theirs, 1)]
    leader = os.posix_spawn("/bin/sh", words, os.environ, file_actions=actions, setsid=True)
    os.close(read)
    os.close(theirs)
    with open(ours) as said:
        job = int(said.readline())
    process_session.kill_session(os.getpid() if os.getsid(0) != os.getpid() else job)  # no leader
    assert not is_gone(job) and not is_gone(leader)
    process_session.kill_session(leader)
    wait_until(lambda: is_gone(job), "end of the job")
    assert not is_gone(leader)
    os.close(write)
    assert os.waitpid(leader, 0)[1] == 0
    process_session.kill_session(leader)


def test_tcp_counts_what_comes_and_goes() -> None:
    """And not the end of file, which the kernel counts as a byte."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        served, _ = listener.accept()
    with client, served:
        assert conversation.read_tcp_info(served)[:2] == (0, 0)  # type: ignore[index]
        client.sendall(b"x" * 1000)
        served.sendall(b"y" * 70)
        client.shutdown(socket.SHUT_WR)
        wait_until(lambda: len(served.recv(2000, socket.MSG_PEEK)) == 1000, "all of it")
        assert conversation.read_tcp_info(served)[:2] == (1000, 70)  # type: ignore[index]
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert conversation.read_tcp_info(ours) is None


def test_what_a_process_and_its_children_read_and_write_is_a_sign_of_life() -> None:
    """A process that is gone gives none."""
    before = conversation.process_tree_io(os.getpid())
    Path("/proc/self/stat").read_text()
    assert conversation.process_tree_io(os.getpid()) > before > 0
    assert conversation.process_tree_io(2**30) == 0


@SPAWNS
def test_a_signal_of_ours_does_not_reach_a_program(
    place: Path, spawning: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what is ignored, nor what is blocked."""
    monkeypatch.setattr(program, "prepared", spawning)
    path = str(script(place / "run", "#!/bin/sh\nexec grep -E '^Sig(Blk|Ign)' /proc/self/status\n"))
    read, write = os.pipe()
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    try:
        pid = start(Program(path, ["run"], {"PATH": "/bin:/usr/bin"}), (write,) * 3, {})
    finally:
        signal.signal(signal.SIGUSR1, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    os.close(write)
    with open(read) as said:
        masks = [int(line.split()[1], 16) for line in said]
    os.waitpid(pid, 0)
    assert [mask & ~(3 << 31) for mask in masks] == [0, 0]  # 32 and 33 are glibc's own


@SPAWNS
def test_a_program_that_is_not_there_any_more_is_an_error(
    place: Path, spawning: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one of execve(2)."""
    monkeypatch.setattr(program, "prepared", spawning)
    gone = Program(str(place / "gone"), ["gone"], {})
    with pytest.raises(FileNotFoundError):
        start(gone, (0, 1, 2), {})
    with pytest.raises(ValueError):
        start(gone, (0, 1, 2), {"PATH": "a\0b"})


def test_bytes_that_are_not_utf_8_are_passed_on_as_they_are() -> None:
    """Words and variables of the administrator's."""
    read, write = os.pipe()
    path = program.find("sh")
    words = ["sh", "-c", 'printf "$1 $A $B"', "sh", "\udcfe"]
    pid = start(Program(path, words, {"A": "\udcff"}), (write,) * 3, {"B": "\udcfd"})
    os.close(write)
    with open(read, "rb") as said:
        assert said.read() == b"\xfe \xff \xfd"
    assert os.waitpid(pid, 0)[1] == 0


def test_where_ctypes_is_not_there_programs_are_started_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the interpreter's lock held."""
    monkeypatch.delitem(sys.modules, "srvctl.programs.spawn_ctypes")
    monkeypatch.setitem(sys.modules, "ctypes", None)
    assert isinstance(spawn.prepared("/bin/true", ["true"], []), spawn.GilSpawner)


def test_descriptors_that_come_again_and_again_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept ready for them is bounded."""
    monkeypatch.setattr(spawn_ctypes, "_MOST_ACTIONS", 2)
    unlocked = CtypesSpawner(program.find("true"), ["true"], [])
    for _ in range(2):
        for descriptors in ((0, 1, 2), (1, 1, 2), (2, 2, 2)):
            unlocked.prepare(descriptors, b"").cancel()
            spawning = unlocked.prepare(descriptors, b"")
            assert os.waitpid(spawning.result(spawning.run()), 0)[1] == 0
            assert len(unlocked._actions) <= 2


@SPAWNS
def test_a_program_has_nothing_of_the_environment_of_the_one_before(
    spawning: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Be it more, less or longer, and while others are on their way."""
    monkeypatch.setattr(program, "prepared", spawning)
    printing = Program(program.find("env"), ["env"], {"A": "a", "B": ""})
    given = [{"C": "1", "D": "2"}, {"C": "3"}, {}, {"D": "x" * 5000}, {f"N{i}": str(i) for i in range(50)}, {"C": "4"}]
    for together in (1, len(given)):
        for at in range(0, len(given), together):
            pipes = [os.pipe() for _ in given[at : at + together]]
            spawnings = [
                printing.prepare((0, write, 2), variables)
                for (_, write), variables in zip(pipes, given[at : at + together], strict=True)
            ]
            pids = [spawning.result(spawning.run()) for spawning in spawnings]
            for pid, (read, write), variables in zip(pids, pipes, given[at : at + together], strict=True):
                os.close(write)
                with open(read) as said:
                    found = dict(line.split("=", 1) for line in said.read().splitlines())
                assert found == {"A": "a", "B": "", **variables}
                assert os.waitpid(pid, 0)[1] == 0
