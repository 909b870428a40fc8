"""Programs in the place of handlers, as real processes: connections, datagrams, what they say, and how they end."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.launched import COMMAND, PATIENCE, Launched, clean_environment, receive_all, receive_exactly, run, wait_until
from tests.promises.faults import descendants, is_gone, lines_with, read_line, stat_of

STREAMS = ["tcp", "tcp4", "unix", "unix-seqpacket"]
DATAGRAMS = ["udp", "udp4", "unix-dgram"]
ADDRESSES = {"unix": "s", "unix-seqpacket": "s", "unix-dgram": "s"}


def script(place: Path, name: str, text: str) -> str:
    """Write a shell script and return how it is named on a command line."""
    path = place / name
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(0o755)
    return f"./{name}"


def fields(line: str) -> dict[str, str]:
    """Return the fields of a line of the log."""
    return dict(word.split("=", 1) for word in line.split() if "=" in word)


def asked(server: Launched, question: bytes = b"") -> bytes:
    """Connect, send `question`, shut down the writing side, and return the whole answer."""
    with server.connect() as client:
        client.sendall(question)
        client.shutdown(socket.SHUT_WR)
        return receive_all(client)


def ended(server: Launched, count: int = 1) -> list[dict[str, str]]:
    """Wait for `count` conversations to have ended and return the fields of their lines."""
    server.wait_for_log(" ended ", count)
    return [fields(line) for line in lines_with(server.log, " ended ")]


# --- connections


@pytest.mark.parametrize("model", [(), ("--fork",), ("--threads",), ("--sync",)], ids=str)
@pytest.mark.parametrize("family", STREAMS)
def test_a_program_is_executed_for_each_connection(launch, family: str, model: tuple[str, ...]) -> None:
    """With the connection as standard input and output, in a process of its own."""
    server = launch(family, ADDRESSES.get(family, "127.0.0.1:0"), *model, "--", "/bin/cat")
    for text in (b"one\n", b"two\n"):
        assert asked(server, text) == text
    first, second = ended(server, 2)
    assert (first["how"], first["status"]) == ("done", "0")
    assert first["id"] != second["id"]
    if family.startswith("tcp"):
        assert (first["received"], first["sent"]) == ("4", "4")
    assert server.stop() == 0


def test_the_words_are_not_a_shell_s(launch) -> None:
    """They arrive as they were typed."""
    words = ["a b", "$HOME", "*", ";", "--", "-x", ""]
    server = launch("tcp4", "127.0.0.1:0", "--", "printf", "<%s>", *words)
    assert asked(server) == "".join(f"<{word}>" for word in words).encode()


def test_a_client_that_shuts_down_its_side_gets_the_whole_answer(launch, place: Path) -> None:
    """The program sees the end of its input, and its answer goes through (nmap #962 is what happens otherwise)."""
    count = 500_000
    server = launch("tcp4", "127.0.0.1:0", "--", script(place, "late", f"cat >/dev/null; yes | head -n {count}\n"))
    assert asked(server, b"question\n") == b"y\n" * count


def test_input_that_was_not_read_does_not_destroy_the_answer(launch, place: Path) -> None:
    """As with a handler."""
    server = launch("tcp4", "127.0.0.1:0", "--", script(place, "deaf", "yes | head -n 20000\n"))
    with server.connect() as client:
        client.sendall(b"never read\n" * 1000)
        assert receive_all(client) == b"y\n" * 20000


@pytest.mark.parametrize(("model", "most"), [("--sync", 1), ("--threads", 3), ("--fork", 3)])
def test_no_more_programs_than_max_run(launch, model: str, most: int) -> None:
    """Whatever the model; the next client is served when one has ended."""
    server = launch("tcp4", "127.0.0.1:0", model, *(("--max-connections", "3") if most > 1 else ()), "--", "/bin/cat")
    with contextlib.ExitStack() as opened:
        clients = [opened.enter_context(server.connect()) for _ in range(most + 1)]
        for client in clients:
            client.sendall(b"x")
        for client in clients[:most]:
            assert receive_exactly(client, 1) == b"x"
        # Not at once: the guardian is not known by its name before it has begun.
        wait_until(lambda: len(descendants(server.worker)) == most, f"{most} programs", server)
        clients[0].close()
        assert receive_exactly(clients[-1], 1) == b"x"


def test_the_status_and_the_signal_of_a_program_are_logged(launch) -> None:
    """With how long it ran, on the conversation's one line."""
    server = launch("tcp4", "127.0.0.1:0", "--", "sh", "-c", 'read what; eval "$what"')
    for what in (b"exit 0\n", b"exit 7\n", b"exit 255\n", b"kill -KILL $$\n", b"kill -TERM $$\n"):
        asked(server, what)
    found = [(f["how"], f.get("status"), f.get("signal")) for f in ended(server, 5)]
    assert found == [
        ("done", "0", None),
        ("failed", "7", None),
        ("failed", "255", None),
        ("SIGKILL", None, "SIGKILL"),
        ("SIGTERM", None, "SIGTERM"),
    ]
    assert all(float(f["seconds"]) >= 0 for f in ended(server, 5))


def test_statuses_are_true_where_children_are_ignored(launch) -> None:
    """SIGCHLD ignored, as some that start servers leave it, has the kernel throw the statuses away."""
    ignoring = ("env", "--ignore-signal=CHLD")
    if subprocess.run([*ignoring, "true"], capture_output=True, check=False).returncode:
        pytest.skip("env(1) cannot ignore a signal here")
    server = launch("tcp4", "127.0.0.1:0", "--", "sh", "-c", "exit 9", prefix=ignoring)
    asked(server)
    assert ended(server)[0]["status"] == "9"


def test_a_background_job_keeps_neither_the_conversation_nor_the_log(launch, place: Path) -> None:
    """What a program leaves running goes on with the connection, as with tcpserver; the conversation has ended."""
    job = "(echo $$ started >&2; read -r line; echo later >&2; echo $line) <&0 &\n"
    server = launch("tcp4", "127.0.0.1:0", "--", script(place, "leave", f"exec 3<&0\n{job.replace('<&0', '<&3')}"))
    with server.connect() as client:
        assert ended(server)[0]["status"] == "0"
        client.sendall(b"still here\n")
        assert read_line(client) == b"still here\n"
        assert receive_all(client) == b""
    server.wait_for_log("line=later")


def test_what_a_program_leaves_in_another_session_keeps_the_connection(launch, place: Path) -> None:
    """As with tcpserver: nobody shuts it down; and it is reaped when it ends."""
    text = "exec 3<&0; setsid sh -c 'echo $$; read -r line <&3; echo later $line' &\n"
    server = launch("tcp4", "127.0.0.1:0", "--", script(place, "leave", text))
    with server.connect() as client:
        orphan = int(read_line(client))
        assert ended(server)[0]["status"] == "0"
        client.sendall(b"said\n")
        assert receive_all(client) == b"later said\n"
    wait_until(lambda: is_gone(orphan), "orphan to be reaped", server)


@pytest.mark.parametrize("family", ["tcp4", "unix"])
def test_the_client_meets_the_end_when_the_program_has_closed_the_connection(launch, place: Path, family: str) -> None:
    """And not when the program ends: what it does then is a conversation still, whose bytes are known."""
    (place / "end").touch()
    text = "read -r line; echo answer; exec <&- >&-\nwhile test -e end; do sleep 0.05; done\n"
    address = "127.0.0.1:0" if family == "tcp4" else "s"
    server = launch(family, address, "--", script(place, "close", text))
    with server.connect() as client:
        client.sendall(b"hello\n")
        assert receive_all(client) == b"answer\n"
    assert not lines_with(server.log, " ended ")
    (place / "end").unlink()
    (line,) = ended(server)
    assert line["how"] == "done"
    if family == "tcp4":
        assert (line["received"], line["sent"]) == ("6", "7")


# --- standard error


@pytest.mark.parametrize(
    ("where", "in_log", "to_client"),
    [
        ("log", "program said peer=127.0.0.1:", b""),
        ("inherit", "\noops\n", b""),
        ("socket", "", b"oops\n"),
        ("null", "", b""),
    ],
)
def test_standard_error_goes_where_it_should(launch, where: str, in_log: str, to_client: bytes) -> None:
    """To the log with the peer, as it is, to the client, or nowhere."""
    server = launch("tcp4", "127.0.0.1:0", "--program-stderr", where, "--", "sh", "-c", "echo oops >&2")
    assert asked(server) == to_client
    ended(server)
    assert in_log in server.log
    assert (lines_with(server.log, "oops")[1:] != []) == bool(in_log)  # the first is the command line


def test_what_a_program_says_is_one_line_of_the_log_for_each_of_its_own(launch) -> None:
    """Escaped, cut when it is long, and the last one without an end too."""
    said = r"printf 'one\ntwo \033[2J\r\n\377\n'; yes abc | head -c 5000 | tr -d '\n'; printf '\nlast'"
    server = launch("tcp4", "127.0.0.1:0", "--", "sh", "-c", f"({said}) >&2")
    asked(server)
    ended(server)
    lines = [line.partition(" line=")[2] for line in lines_with(server.log, "program said")]
    assert lines[:3] == ["one", r'"two \x1b[2J"', r'"\\xff"']
    assert lines[3].startswith("abcabc") and lines[3].endswith("...") and len(lines[3]) < 1100
    assert lines[4:] == ["last"]


def test_a_line_is_in_the_log_while_its_program_runs(launch) -> None:
    """And one who watches sees it."""
    server = launch("tcp4", "127.0.0.1:0", "--", "sh", "-c", "echo began >&2; cat; echo ended >&2")
    with server.connect() as client:
        server.wait_for_log("line=began")
        client.shutdown(socket.SHUT_WR)
        server.wait_for_log("line=ended")


def test_a_program_that_floods_its_standard_error_does_not_stop_the_server(launch) -> None:
    """Others are served meanwhile."""
    server = launch(
        "tcp4", "127.0.0.1:0", "-q", "--", "sh", "-c", 'read x; [ "$x" = flood ] && exec yes >&2; echo "$x"'
    )
    with server.connect() as flooding:
        flooding.sendall(b"flood\n")
        for _ in range(5):
            assert asked(server, b"x\n") == b"x\n"
    assert server.stop(signal.SIGQUIT) == 75


# --- how it ends


def test_a_stop_waits_for_a_program(launch) -> None:
    """What runs finishes, and the status is 0."""
    server = launch(
        "tcp4", "127.0.0.1:0", "--drain-idle-timeout", "60", "--", "sh", "-c", "echo began; read x; echo $x"
    )
    with server.connect() as client:
        assert read_line(client) == b"began\n"
        server.send_signal(signal.SIGTERM)
        server.wait_for_log("stopping")
        client.sendall(b"finished\n")
        assert read_line(client) == b"finished\n"
    assert server.wait() == 0


def test_a_quiet_connection_meets_its_end_when_the_server_stops(launch) -> None:
    """As a handler's does: cat would never end by itself."""
    for family in ("tcp4", "unix"):
        server = launch(family, ADDRESSES.get(family, "127.0.0.1:0"), "--drain-idle-timeout", "0.1", "--", "/bin/cat")
        with server.connect() as client:
            client.sendall(b"x")
            assert receive_exactly(client, 1) == b"x"
            assert server.stop() == 0


POLITE = "trap 'echo bye; exit 3' TERM; echo $$; while :; do sleep 1000 & wait $!; done\n"
STUBBORN = "trap '' TERM; sleep 1000 & echo $$ $!; while :; do wait; done\n"


def test_the_deadline_of_a_stop_terminates_a_program(launch, place: Path) -> None:
    """It is told with TERM, may say something to its client, and its status is logged; 75."""
    server = launch("tcp4", "127.0.0.1:0", "--graceful-timeout", "0.2", "--", script(place, "polite", POLITE))
    with server.connect() as client:
        pid = int(read_line(client))
        server.send_signal(signal.SIGTERM)
        assert receive_all(client) == b"bye\n"
        assert server.wait() == 75
    assert is_gone(pid)
    (line,) = ended(server)
    assert (line["how"], line["status"]) == ("cut", "3")
    assert "worker killed" not in server.log


def test_a_program_that_ignores_that_is_killed_with_its_group(launch, place: Path) -> None:
    """Two seconds later; and the worker has the time for it."""
    server = launch("tcp4", "127.0.0.1:0", "--graceful-timeout", "0.2", "--", script(place, "stubborn", STUBBORN))
    with server.connect() as client:
        pids = [int(word) for word in read_line(client).split()]
        server.send_signal(signal.SIGTERM)
        assert receive_all(client) == b""
        assert server.wait() == 75
    wait_until(lambda: all(map(is_gone, pids)), "end of the group", server)
    (line,) = ended(server)
    assert (line["how"], line["signal"]) == ("cut", "SIGKILL")
    assert 1.9 < float(fields(lines_with(server.log, " stopped ")[0])["seconds"]) < 4
    assert "worker killed" not in server.log


def test_a_group_whose_program_took_the_hint_is_killed_too(launch, place: Path) -> None:
    """What the program leaves behind when it is cut has not got the connection to itself."""
    text = "(trap '' TERM; sleep 1000) & echo $$ $!; wait\n"
    server = launch("tcp4", "127.0.0.1:0", "--max-duration", "0.2", "--", script(place, "half", text))
    with server.connect() as client:
        pids = [int(word) for word in read_line(client).split()]
        assert receive_all(client) == b""
        wait_until(lambda: all(map(is_gone, pids)), "end of the group", server)
    assert server.stop() == 0


@pytest.mark.parametrize("family", ["tcp4", "unix"])
def test_time_limits_count_for_programs(launch, family: str, place: Path) -> None:
    """--max-duration whatever it does, --idle-timeout when nothing comes or goes; TERM ends it."""
    address = ADDRESSES.get(family, "127.0.0.1:0")
    server = launch(family, address, "--max-duration", "0.3", "--", "/bin/cat")
    with server.connect() as client:
        assert receive_all(client) == b""
    assert (ended(server)[0]["how"], ended(server)[0]["signal"]) == ("max-duration", "SIGTERM")
    server.stop()
    server = launch(family, address, "--idle-timeout", "0.4", "--", "/bin/cat")
    with server.connect() as client:
        client.sendall(b"x")
        assert receive_exactly(client, 1) == b"x"
        assert receive_all(client) == b""
    assert ended(server)[0]["how"] == "idle"


@pytest.mark.parametrize("family", ["tcp4", "unix"])
def test_a_conversation_on_which_something_moves_is_not_idle(launch, family: str) -> None:
    """Though srvctl sees none of it."""
    server = launch(family, ADDRESSES.get(family, "127.0.0.1:0"), "--idle-timeout", "0.5", "--", "/bin/cat")
    with server.connect() as client:
        for _ in range(12):
            client.sendall(b"x")
            assert receive_exactly(client, 1) == b"x"
            select.select([client], [], [], 0.1)  # a part of the limit passes, and nothing comes
        assert "idle" not in server.log
        assert receive_all(client) == b""


def test_programs_die_with_the_worker_and_with_the_supervisor(launch, place: Path) -> None:
    """P16: they are in process groups of their own, and whoever is left finds them."""
    server = launch("tcp4", "127.0.0.1:0", "--", script(place, "stubborn", STUBBORN))
    with server.connect() as client:
        pids = [int(word) for word in read_line(client).split()]
        worker = server.worker
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: all(map(is_gone, pids)), "end of the worker's programs", server)
        assert receive_all(client) == b""
    wait_until(lambda: server.children() not in ([], [worker]), "another worker", server)
    with server.connect() as client:
        pids = [int(word) for word in read_line(client).split()]
        server.send_signal(signal.SIGKILL)
        server.wait()
        wait_until(lambda: all(map(is_gone, pids)), "end of everything", server)


# --- what cannot be started


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("./missing", "no such file or directory"),
        ("no-such-program-anywhere", "there is no such program in PATH; for one in this directory, write ./ before it"),
        ("./", "it is a directory"),
        ("", "it has no name"),
        ("./plain", "it is not executable"),
        ("./text", "it is neither a binary nor does it begin with #! and an interpreter"),
        ("./empty", "it is empty"),
        ("./dos", "its interpreter '/bin/sh\\r' cannot be executed; its lines end in CR LF"),
        ("./astray", "its interpreter '/no/such/sh' cannot be executed"),
        ("./pipe", "it is not a file"),
    ],
)
def test_a_program_that_can_never_run_is_found_at_start(place: Path, word: str, why: str) -> None:
    """Status 78 and one line, by a start and by a check."""
    for name, text in {"text": "echo", "empty": "", "dos": "#!/bin/sh\r\n", "astray": "#!/no/such/sh\n"}.items():
        (place / name).write_text(text, newline="")
        (place / name).chmod(0o755)
    (place / "plain").write_text("#!/bin/sh\n")
    (place / "plain").chmod(0o644)
    os.mkfifo(place / "pipe", 0o755)
    for command in ((), ("check",)):
        done = run(*command, "tcp4", "127.0.0.1:0", "--", word, cwd=place)
        assert done.returncode == 78
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("srvctl: error:")]
        assert line.endswith(f"cannot run program {word!r}: {why}")


def test_a_program_that_others_can_change_is_not_trusted_by_root(place: Path) -> None:
    """As a handler is not, P27."""
    if os.geteuid() != 0:
        pytest.skip("only root has that to fear")
    script(place, "open", "exit 0\n")
    (place / "open").chmod(0o777)
    done = run("check", "tcp4", "127.0.0.1:0", "--", "./open", cwd=place)
    assert done.returncode == 78
    assert f"as root, {str(place / 'open')!r} is not trusted: others can write to it" in done.stderr


def test_a_relative_path_is_from_where_srvctl_was_started(launch, place: Path) -> None:
    """Whatever --chdir says of where the program runs."""
    (place / "there").mkdir()
    server = launch("tcp4", "127.0.0.1:0", "--chdir", "there", "--", script(place, "where", "pwd\n"))
    assert asked(server) == f"{place / 'there'}\n".encode()
    done = run("check", "tcp4", "127.0.0.1:0", "--chdir", "nowhere", "--", "/bin/cat", cwd=place)
    assert done.returncode == 78
    assert "cannot enter directory 'nowhere': no such file or directory" in done.stderr


def test_check_says_which_program_it_is(place: Path) -> None:
    """By the file that was found."""
    done = run("check", "tcp4", "127.0.0.1:0", "--", "cat", "-u", cwd=place)
    assert done.returncode == 0
    found = {line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1] for line in done.stdout.splitlines()}
    assert found["program"] == f"cat -u ({shutil.which('cat')})"
    assert found["server"] == "ProgramTCPServer"


def test_a_program_that_is_gone_costs_each_client_its_own_connection(launch, place: Path) -> None:
    """It is logged, the server goes on, and when the program is back it serves."""
    server = launch("tcp4", "127.0.0.1:0", "--", script(place, "fickle", "echo here\n"))
    assert asked(server) == b"here\n"
    (place / "fickle").rename(place / "gone")
    for _ in range(3):
        assert asked(server) == b""
    (line,) = lines_with(server.log, "program not started")
    assert "FileNotFoundError" in line and "suppressed=0" in line
    (place / "gone").rename(place / "fickle")
    assert asked(server) == b"here\n"
    assert [f["how"] for f in ended(server, 5)] == ["done", "failed", "failed", "failed", "done"]
    assert server.stop() == 0


# --- what a program is given


def test_umask_nice_and_limits_are_the_program_s(launch) -> None:
    """From its first instruction."""
    server = launch(
        *("tcp4", "127.0.0.1:0", "--umask", "027", "--nice", "3", "--rlimit", "nofile=33", "--rlimit", "core=0:7"),
        *("--", "sh", "-c", "umask; ulimit -Sn; ulimit -Sc; cat /proc/self/stat; exec cat"),
    )
    with server.connect() as client:
        assert [read_line(client) for _ in range(3)] == [b"0027\n", b"33\n", b"0\n"]
        stat = read_line(client).decode()
        assert stat.rpartition(") ")[2].split()[16] == "3"
        wait_until(lambda: len(descendants(server.worker)) == 1, "end of the other programs", server)
        (program,) = descendants(server.worker)
        limits = Path(f"/proc/{program}/limits").read_text()
        assert "Max open files            33                   33 " in limits
        assert "Max core file size        0                    7 " in limits
        assert "Max open files            33 " not in Path(f"/proc/{server.worker}/limits").read_text()


def test_a_memory_limit_is_not_the_worker_s(launch) -> None:
    """Nor is one of processor time: it would end itself."""
    server = launch(
        *("tcp4", "127.0.0.1:0", "--rlimit", "as=20M", "--rlimit", "cpu=1", "--rlimit", "nproc=5000"),
        *("--", "sh", "-c", "read x; ulimit -v; ulimit -t"),
    )
    assert asked(server, b"\n") == b"20480\n1\n"


# --- datagrams


@pytest.mark.parametrize("family", DATAGRAMS)
def test_a_program_gets_one_datagram_and_its_output_is_the_answer(launch, place: Path, family: str) -> None:
    """Then the end of its input; nothing said is no answer."""
    rev = script(place, "reply", 'x=$(cat); [ "$x" = quiet ] || printf "%s, %s" "$x" "$x"\n')
    server = launch(family, ADDRESSES.get(family, "127.0.0.1:0"), "-v", "--", rev)
    with server.connect() as client:
        client.send(b"quiet")
        client.send(b"hello")
        assert client.recv(100) == b"hello, hello"
    lines = ended(server, 2)
    assert [line["status"] for line in lines] == ["0", "0"]
    assert sorted((line["received"], line["sent"]) for line in lines) == [("5", "0"), ("5", "12")]
    assert server.stop() == 0


def test_the_longest_datagram_comes_and_goes_whole(launch) -> None:
    """65,507 bytes; an answer that is longer is none."""
    server = launch("udp4", "127.0.0.1:0", "--", "sh", "-c", "cat; read x || :")
    with server.connect() as client:
        data = os.urandom(65507)
        client.send(data)
        assert client.recv(65536) == data
    server = launch("udp4", "127.0.0.1:0", "-v", "--", "sh", "-c", "cat; cat /dev/zero")
    with server.connect() as client:
        client.send(b"x")
        server.wait_for_log("answer dropped")
        assert ended(server)[0]["how"] == "failed"


def test_an_answer_comes_from_the_address_that_was_asked(launch) -> None:
    """Also on a server that is bound to every interface; the environment has that address."""
    server = launch("udp", ":0", "--", "sh", "-c", "echo $PROTO $UDPLOCALIP $UDPREMOTEIP")
    port = server.sockaddr[1]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        client.connect(("127.0.0.2", port))
        client.send(b"ten bytes.")  # an answer may be three times as long
        assert client.recv(100) == b"UDP 127.0.0.2 127.0.0.1\n"


def test_an_answer_that_is_much_longer_than_its_request_is_dropped(launch) -> None:
    """The sender may be forged: three times as long is the most, unless the guard is off."""
    words = ("--", "sh", "-c", "echo 123456789")
    for guard, answer in (("on", b""), ("off", b"123456789\n")):
        server = launch("udp4", "127.0.0.1:0", "--datagram-guard", guard, *words)
        with server.connect() as client:
            client.send(b"abc")
            if answer:
                assert client.recv(100) == answer
            else:
                server.wait_for_log("answer dropped")
                assert "it is longer than 9 bytes" in server.log


@pytest.mark.parametrize("family", DATAGRAMS)
def test_a_program_can_have_the_socket_itself(launch, place: Path, family: str) -> None:
    """inetd's wait: nobody else looks at the socket until it has ended."""
    (place / "two.py").write_text(
        "import socket\n"
        "sock = socket.socket(fileno=0)\n"
        "for n in range(2):\n"
        "    data, peer = sock.recvfrom(100)\n"
        "    sock.sendto(b'%d %s' % (n, data), peer)\n"
    )
    server = launch(family, ADDRESSES.get(family, "127.0.0.1:0"), "--datagram-wait", "--", "python3", "two.py")
    with server.connect() as client:
        for n in range(4):
            client.send(b"x%d" % n)
            assert client.recv(100) == b"%d x%d" % (n % 2, n)
    assert server.stop() == 0


def test_a_program_that_takes_nothing_is_not_started_without_end(launch) -> None:
    """Ten times a second at most, and the log says so once."""
    server = launch("udp4", "127.0.0.1:0", "--datagram-wait", "-v", "--", "true")
    with server.connect() as client:
        client.send(b"x")
        lines = ended(server, 3)
    assert len(lines) < 10
    assert len(lines_with(server.log, "program took nothing")) == 1
    assert server.stop() == 0


# --- inherited sockets, inetd, and programs of others


@pytest.mark.parametrize("type_", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_an_inherited_socket_is_served_by_a_program(place: Path, type_: socket.SocketKind) -> None:
    """Its type is the descriptor's."""
    with socket.socket(socket.AF_INET, type_) as sock, contextlib.ExitStack() as undo:
        sock.bind(("127.0.0.1", 0))
        if type_ == socket.SOCK_STREAM:
            sock.listen()
        process = subprocess.Popen(
            [*COMMAND, "fd", str(sock.fileno()), "-q", "--", "cat"],
            pass_fds=[sock.fileno()],
            env=clean_environment(),
            cwd=place,
        )
        undo.callback(process.wait)
        undo.callback(process.send_signal, signal.SIGTERM)
        with socket.socket(socket.AF_INET, type_) as client:
            client.settimeout(PATIENCE)
            client.connect(sock.getsockname())
            client.send(b"ping")
            assert client.recv(4) == b"ping"


@pytest.mark.parametrize("are_all", [False, True], ids=["0", "0, 1 and 2"])
def test_a_connection_of_inetd_s_is_served_by_a_program(place: Path, are_all: bool) -> None:
    """By the process that got it, with nothing else that it inherited left in the program."""
    ours, theirs = socket.socketpair()
    leak = os.open(os.devnull, os.O_RDONLY)
    with ours, theirs:
        process = subprocess.Popen(
            [*COMMAND, "fd", "0", "-q", "--", "sh", "-c", "cat; ls /proc/self/fd | wc -l"],
            stdin=theirs,
            stdout=theirs if are_all else subprocess.DEVNULL,
            stderr=theirs if are_all else subprocess.DEVNULL,
            pass_fds=[leak],
            env=clean_environment(),
            cwd=place,
        )
        os.close(leak)
        theirs.close()
        ours.settimeout(PATIENCE)
        ours.sendall(b"ping\n")
        ours.shutdown(socket.SHUT_WR)
        # 0, 1, 2 and what ls opens itself.
        assert receive_all(ours) == b"ping\n4\n"
        assert process.wait(PATIENCE) == 0


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_git_daemon_serves_a_clone(launch, place: Path) -> None:
    """A program that was written for inetd."""
    environment = clean_environment(
        GIT_AUTHOR_NAME="a", GIT_AUTHOR_EMAIL="a@b", GIT_COMMITTER_NAME="a", GIT_COMMITTER_EMAIL="a@b", HOME=str(place)
    )

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=place, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    git("init", "-q", "there")
    (place / "there" / "big").write_bytes(os.urandom(300_000))
    git("-C", "there", "add", "big")
    git("-C", "there", "commit", "-q", "-m", "one")
    words = ["git", "daemon", "--inetd", "--export-all", f"--base-path={place}", str(place)]
    server = launch("tcp4", "127.0.0.1:0", "--env", f"HOME={place}", "--", *words)
    git("clone", "-q", f"git://127.0.0.1:{server.sockaddr[1]}/there/.git", "here")
    assert git("-C", "here", "rev-parse", "HEAD") == git("-C", "there", "rev-parse", "HEAD")
    assert ended(server)[0]["status"] == "0"


@pytest.mark.skipif(not (shutil.which("busybox") and shutil.which("curl")), reason="busybox or curl is not installed")
def test_busybox_httpd_serves_a_file(launch, place: Path) -> None:
    """Another one."""
    (place / "file").write_bytes(os.urandom(200_000))
    server = launch("tcp4", "127.0.0.1:0", "--", "busybox", "httpd", "-i", "-h", str(place))
    url = f"http://127.0.0.1:{server.sockaddr[1]}/file"
    got = subprocess.run(["curl", "--silent", "--fail", url], capture_output=True, timeout=PATIENCE, check=True).stdout
    assert got == (place / "file").read_bytes()


def test_nothing_is_left(launch) -> None:
    """No process, no zombie and no descriptor, when many have come and gone."""
    server = launch("tcp4", "127.0.0.1:0", "--", "sh", "-c", "echo out; echo err >&2")
    assert asked(server) == b"out\n"
    ended(server)  # and so its loop is there, which a worker makes when it has said that it is ready
    wait_until(lambda: descendants(server.worker) == [], "end of the program", server)
    held = len(os.listdir(f"/proc/{server.worker}/fd"))
    for _ in range(20):
        assert asked(server) == b"out\n"
    ended(server, 21)
    wait_until(lambda: descendants(server.worker) == [], "end of the programs", server)
    wait_until(lambda: len(os.listdir(f"/proc/{server.worker}/fd")) == held, "closed descriptors", server)
    assert all(stat_of(pid)[:1] != ["Z"] for pid in descendants(server.pid))
