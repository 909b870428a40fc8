"""Several workers: who serves, what each may, how one is added, retired, replaced, renewed, and found to hang."""

from __future__ import annotations

import contextlib
import os
import random
import re
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.load import Load, Tail, is_gone, wait_for_workers
from tests.launched import Launched, ask, freeze, receive_all, run, wait_until

Launch = Callable[..., Launched]

TCP = ("tcp4", "127.0.0.1:0")
HELD = '''
import os

from srvctl import StreamRequestHandler

WORKER = os.getpid()


class Held(StreamRequestHandler):
    """Say which worker serves, and send each line back until the client ends."""

    def handle(self):
        self.wfile.write(b"%d\\n" % WORKER)
        for line in self.rfile:
            self.wfile.write(line)


class Glutton(Held):
    """Keep 64 MiB."""

    kept = []

    def handle(self):
        self.kept.append(b"x" * 2**26)
        super().handle()


class Busy(StreamRequestHandler):
    """Compute in C, where no other thread and no signal handler of Python runs, until the sun has gone out."""

    def handle(self):
        self.wfile.write(b"began\\n")
        sum(range(10**15))
'''
GATED = "import os\nif os.path.exists('gate'):\n    open('gate').read()\nfrom held import Held\n"

by_model = pytest.mark.parametrize("model", ["--sync", "--threads", "--fork"])


@pytest.fixture
def place(place: Path) -> Path:
    """The place of every test, with `held.py` too."""
    (place / "held.py").write_text(HELD)
    return place


class Holder:
    """Conversations with `held:Held` that stay open, by the worker that serves them."""

    def __init__(self, server: Launched) -> None:
        self._server = server
        self._opened = ExitStack()
        self.served: list[tuple[int, socket.socket]] = []

    def __enter__(self) -> Holder:
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()

    def connect(self) -> socket.socket:
        """Return a connection that need not be served yet."""
        return self._opened.enter_context(self._server.connect())

    def hold(self) -> int:
        """Begin a conversation; return which worker serves it, or 0 when it is refused."""
        sock = self.connect()
        return self.take(sock)

    def take(self, sock: socket.socket) -> int:
        """Wait until a conversation has begun; return which worker serves it, or 0 when it is refused."""
        try:
            said = sock.recv(100)
        except ConnectionResetError:
            said = b""
        if not said:
            return 0
        self.served.append((int(said), sock))
        return int(said)

    @property
    def workers(self) -> set[int]:
        """The workers that serve any of them."""
        return {worker for worker, _ in self.served}


@pytest.fixture
def hold() -> Iterator[Callable[[Launched], Holder]]:
    """Hold conversations with a server until the test ends."""
    with ExitStack() as opened:
        yield lambda server: opened.enter_context(Holder(server))


def figures_of(line: str) -> dict[str, str]:
    """Return the fields of a line of the log."""
    return dict(re.findall(r"(\w+)=(\S+)", line))


def lines_of(server: Launched, event: str) -> list[dict[str, str]]:
    """Return the fields of each `event` that was logged."""
    return [figures_of(line) for line in server.log.splitlines() if f" {event} " in line]


@by_model
def test_every_worker_serves(model: str, launch: Launch, hold) -> None:
    """Three workers that may serve one conversation each serve three at the same time."""
    server = launch(*TCP, model, "--workers", "3", "--max-connections", "3", "held:Held")
    held = hold(server)
    assert {held.hold(), held.hold(), held.hold()} == set(wait_for_workers(server, 3))


@pytest.mark.parametrize("model", ["--threads", "--fork"])
def test_the_limit_is_shared_out(model: str, launch: Launch, hold) -> None:
    """Two workers with --max-connections 3 serve three together: of five clients two wait until others leave."""
    server = launch(*TCP, model, "--workers", "2", "--max-connections", "3", "held:Held")
    held = hold(server)
    waiting = [held.connect() for _ in range(5)]

    def serve_some() -> int:
        for sock in select.select(waiting, [], [], 0)[0]:
            waiting.remove(sock)
            held.take(sock)
        return len(held.served)

    wait_until(lambda: serve_some() == 3, "three conversations", server)
    server.send_signal(signal.SIGUSR1)
    server.wait_for_log("notice state ")
    assert lines_of(server, "state")[-1]["conversations"] == "3"
    assert serve_some() == 3
    assert sorted(int(line["conversations"]) for line in lines_of(server, "notice worker")) == [1, 2]
    for most in (4, 5):
        held.served[most - 4][1].close()
        wait_until(lambda most=most: serve_some() == most, "the next one's turn", server)


def test_together_they_refuse_what_is_beyond_the_limit(launch: Launch, hold) -> None:
    """With --at-limit refuse and --max-connections 3 two workers serve three; whoever comes then is turned away."""
    server = launch(*TCP, "--threads", "--workers", "2", "--max-connections", "3", "--at-limit", "refuse", "held:Held")
    held = hold(server)
    # One that is full refuses what it happens to accept, though the other has room.
    wait_until(lambda: held.hold() and len(held.served) == 3, "three conversations", server)
    assert [held.hold() for _ in range(10)] == [0] * 10


def test_more_workers_than_may_be_served_is_wrong_usage(place: Path) -> None:
    """Each worker needs something to do."""
    done = run(*TCP, "--threads", "--workers", "4", "--max-connections", "2", "held:Held", cwd=place)
    assert done.returncode == 2, done
    assert done.stderr.startswith("srvctl: error: cannot share --max-connections 2 out to 4 workers: ")


def test_a_worker_is_added_and_retired_on_request(launch: Launch, hold) -> None:
    """TTIN adds one, which gets its share; TTOU retires one, whose share the others get and whose clients finish."""
    server = launch(*TCP, "--threads", "--max-connections", "4", "--drain-idle-timeout", "20", "held:Held")
    (first,) = server.children()
    server.send_signal(signal.SIGTTIN)
    second = (set(wait_for_workers(server, 2)) - {first}).pop()
    held = hold(server)
    assert sorted(held.hold() for _ in range(4)) == sorted([first, first, second, second])
    server.send_signal(signal.SIGTTOU)
    more = [held.hold(), held.hold()]  # the two that the other one served are its own now
    assert more == [first, first]
    for _, sock in held.served:
        assert ask(sock, b"still\n") == b"still\n"
    for worker, sock in held.served:
        if worker == second:
            sock.close()
    assert wait_for_workers(server, 1) == [first]
    assert server.stop(signal.SIGQUIT) in (0, 75)


def test_the_last_worker_stays(launch: Launch) -> None:
    """TTOU never leaves a server without one, TTIN adds none without a share of --max-connections; both are logged."""
    server = launch(*TCP, "--threads", "--max-connections", "1", "myapp:Echo")
    server.send_signal(signal.SIGTTOU)
    server.wait_for_log("signal ignored signal=SIGTTOU")
    server.send_signal(signal.SIGTTIN)
    server.wait_for_log("signal ignored signal=SIGTTIN")
    assert len(server.children()) == 1
    with server.connect() as client:
        assert ask(client, b"hello\n") == b"hello\n"


def test_shares_are_right_when_a_worker_is_added_during_a_reload(launch: Launch, place: Path, hold) -> None:
    """Workers that were loading when one was added take their new share with the word to serve."""
    (place / "gated.py").write_text(GATED)
    server = launch(*TCP, "--threads", "--max-connections", "4", "-v", "gated:Held")
    (old,) = server.children()
    os.mkfifo(place / "gate")
    server.send_signal(signal.SIGHUP)
    with (place / "gate").open("w"):
        (place / "gate").unlink()
        server.send_signal(signal.SIGTTIN)
        server.send_signal(signal.SIGUSR1)
        server.wait_for_log("notice state ")
    server.wait_for_log("worker ready", 3)
    wait_until(lambda: is_gone(old), "end of the old worker", server)
    held = hold(server)
    assert sorted(held.hold() for _ in range(4)) == sorted(wait_for_workers(server, 2) * 2)


@by_model
def test_the_death_of_a_worker_is_that_of_its_own_conversations(model: str, launch: Launch, hold) -> None:
    """After kill -9 of one of two the other's conversations go on, and a new one takes the place at once."""
    server = launch(*TCP, model, "--workers", "2", "--max-connections", "2", "held:Held")
    held = hold(server)
    held.hold(), held.hold()
    (killed, lost), (other, kept) = held.served
    os.kill(killed, signal.SIGKILL)
    with contextlib.suppress(ConnectionResetError):
        assert lost.recv(100) == b""
    assert ask(kept, b"still\n") == b"still\n"
    server.wait_for_log(f"worker died pid={killed} how=SIGKILL restart_in=0.000")
    assert held.hold() in set(wait_for_workers(server, 2)) - {killed, other}


def test_service_is_never_down_while_workers_are_killed(launch: Launch) -> None:
    """Of two workers one is killed, five times: no client is refused or left waiting, and only a dead one's are cut."""
    server = launch(*TCP, "--threads", "--workers", "2", "myapp:Echo")
    with Load(server) as load, Tail(server) as tail:
        for times in range(1, 6):
            os.kill(random.choice(wait_for_workers(server, 2)), signal.SIGKILL)
            tail.wait_for("worker died", times)
            load.wait_for_more()
    assert set(load.faults) <= {"reset", "truncated"}, server.log
    assert sum(load.faults.values()) <= 5 * 4  # at most what every client asked at the time
    assert server.stop() == 0


@pytest.mark.long
@pytest.mark.timeout(300)
def test_service_is_never_down_while_workers_are_killed_for_a_minute(launch: Launch) -> None:
    """P16: every 100 ms for 60 s a random worker is killed, of four, of those that serve at the time."""
    server = launch(*TCP, "--threads", "--workers", "4", "-v", "myapp:Echo")
    end, kills = time.monotonic() + 60, 0
    with Tail(server, from_start=True) as tail, Load(server) as load:
        while time.monotonic() < end and server.process.poll() is None:
            # More who are killed while they load than --start-limit, and nobody serving: that stops a server.
            if workers := [pid for pid in server.children() if tail.count(f"worker ready pid={pid} ")]:
                os.kill(random.choice(workers), signal.SIGKILL)
                kills += 1
            select.select([], [], [], 0.1)
        assert server.process.poll() is None, server.log[-2000:]
        load.wait_for_more()
    print(f"{kills} kills: {dict(load.outcomes)}")
    assert kills > 10
    assert set(load.faults) <= {"reset", "truncated"}


def test_a_worker_that_keeps_dying_is_replaced_more_and_more_slowly(launch: Launch) -> None:
    """The first five replacements are at once, then there is a pause, which doubles."""
    server = launch("unix", "socket", "--threads", "myapp:Pid")
    for times in range(1, 8):
        with server.connect() as client:  # waits for the next one
            os.kill(int(receive_all(client)), signal.SIGKILL)
        server.wait_for_log("worker died", times)
    assert [line["restart_in"] for line in lines_of(server, "worker died")] == ["0.000"] * 5 + ["0.100", "0.200"]


def test_a_worker_that_has_served_enough_is_renewed(launch: Launch) -> None:
    """With --max-requests no client notices that the workers change, and they do so one after the other."""
    server = launch(*TCP, "--threads", "--workers", "2", "-v", "--max-requests", "5", "myapp:Echo")
    first = set(server.children())
    with Load(server) as load, Tail(server) as tail:
        tail.wait_for("worker renewed", 4)
        load.wait_for_more()
    assert load.faults == {}, server.log
    assert load.answered > 10
    events = [event for line in tail.lines for event in ("worker renewed", "worker ready") if event in line]
    assert "worker renewed worker renewed" not in " ".join(events)
    assert 'why="it has served' in "".join(tail.lines)
    assert not first & set(server.children())


def test_a_worker_that_is_old_enough_is_renewed(launch: Launch) -> None:
    """With --max-worker-age no client notices that the workers change."""
    server = launch(*TCP, "--threads", "--max-worker-age", "0.5", "myapp:Echo")
    with Load(server) as load, Tail(server) as tail:
        tail.wait_for("worker renewed", 2)
        load.wait_for_more()
    assert load.faults == {}, server.log


def test_a_worker_that_holds_too_much_memory_is_renewed(launch: Launch, hold) -> None:
    """With --max-worker-memory one conversation too many is the last: its worker gets a successor."""
    server = launch(*TCP, "--threads", "--max-worker-memory", "64M", "held:Glutton")
    with server.connect() as client:
        client.shutdown(socket.SHUT_WR)
        old = int(receive_all(client))
    server.wait_for_log(f'worker renewed pid={old} why="it holds ')
    wait_until(lambda: is_gone(old), "end of the old worker", server)
    assert hold(server).hold() not in (0, old)


def test_a_worker_that_is_stopped_is_found_and_replaced(launch: Launch, hold) -> None:
    """With --hang-timeout a worker that does not answer is killed; the other one serves meanwhile."""
    server = launch(*TCP, "--threads", "--workers", "2", "--hang-timeout", "1", "held:Held")
    stopped, other = server.children()
    freeze(stopped)
    held = hold(server)
    assert {held.hold() for _ in range(10)} == {other}
    server.wait_for_log(f'worker killed pid={stopped} why="it has not answered for ')
    server.wait_for_log(f'worker died pid={stopped} how="SIGKILL: it has not answered for ')
    assert stopped not in wait_for_workers(server, 2)
    assert other in server.children()
    for _, sock in held.served:
        assert ask(sock, b"still\n") == b"still\n"


def test_a_worker_that_computes_for_ever_shows_where_before_it_is_killed(launch: Launch, place: Path) -> None:
    """Code in C that keeps the interpreter for itself is found, its stack logged, and its worker replaced."""
    server = launch(*TCP, "--sync", "--hang-timeout", "1", "held:Busy")
    hung = server.worker
    with server.connect() as client:
        assert client.recv(100) == b"began\n"
        log = server.wait_for_log(f"worker died pid={hung}")
    stacks = next(line for line in log.splitlines() if f"stacks pid={hung}" in line)
    assert str(place / "held.py") in stacks
    assert log.index("stacks pid=") < log.index("worker died")
    with server.connect() as client:
        assert client.recv(100) == b"began\n"


def test_stacks_are_logged_on_request(launch: Launch, hold) -> None:
    """USR2 logs where every thread of every worker is, and all go on."""
    server = launch(*TCP, "--threads", "--workers", "2", "--max-connections", "2", "held:Held")
    held = hold(server)
    held.hold(), held.hold()
    server.send_signal(signal.SIGUSR2)
    stacks = [line for line in server.wait_for_log("notice stacks ", 2).splitlines() if " stacks " in line]
    assert {int(figures_of(line)["pid"]) for line in stacks} == held.workers == set(server.children())
    assert all("held.py" in line for line in stacks)
    for _, sock in held.served:
        assert ask(sock, b"still\n") == b"still\n"


def test_the_state_is_logged_on_request(launch: Launch, hold) -> None:
    """USR1 logs a line for each worker, and one for the whole whose figures are their sums."""
    server = launch(*TCP, "--threads", "--workers", "3", "held:Held")
    for _ in range(7):
        with server.connect() as client:
            client.shutdown(socket.SHUT_WR)
            receive_all(client)
    server.wait_for_log("how=done", 7)
    hold(server).hold()
    server.send_signal(signal.SIGUSR1)
    server.wait_for_log("notice state ")
    workers, (whole,) = lines_of(server, "notice worker"), lines_of(server, "notice state")
    assert {int(line["pid"]) for line in workers} == set(server.children())
    assert all(float(line["age"]) > 0 and line["state"] == "serving" for line in workers)
    assert (whole["state"], whole["workers"], whole["served"], whole["conversations"]) == ("serving", "3", "7", "1")
    for name in ("served", "conversations", "received", "sent", "failed", "refused"):
        assert sum(int(line[name]) for line in workers) == int(whole[name])


def test_the_state_is_logged_though_a_worker_hangs(launch: Launch) -> None:
    """USR1 does not wait for a worker that does not answer."""
    server = launch(*TCP, "--threads", "--workers", "2", "myapp:Echo")
    freeze(server.children()[0])
    server.send_signal(signal.SIGUSR1)
    server.wait_for_log("notice state ")
    assert {int(line["pid"]) for line in lines_of(server, "notice worker")} == set(server.children())


def test_workers_that_load_are_not_troubled_by_a_request_for_the_state(launch: Launch, place: Path) -> None:
    """USR1 and USR2 during a reload do not make it fail."""
    (place / "gated.py").write_text(GATED)
    server = launch(*TCP, "--threads", "gated:Held")
    os.mkfifo(place / "gate")
    server.send_signal(signal.SIGHUP)
    with (place / "gate").open("w"):
        server.send_signal(signal.SIGUSR2)
        server.send_signal(signal.SIGUSR1)
        assert "state=loading" in server.wait_for_log("notice state ")
    assert "reload failed" not in server.wait_for_log("notice reloaded")


def test_all_workers_go_with_their_supervisor(launch: Launch) -> None:
    """After kill -9 of the supervisor none of three is left."""
    server = launch(*TCP, "--fork", "--workers", "3", "myapp:Wait")
    with server.connect() as client:
        assert client.recv(100) == b"began\n"
        workers = server.children()

        def family_of_seven() -> list[int]:  # of each worker, one child waits for a request
            family = [*workers, *(child for worker in workers for child in server.children(worker))]
            return family if len(family) == 7 else []

        family = wait_until(family_of_seven, "all children", server)
        server.send_signal(signal.SIGKILL)
        assert server.wait() == -signal.SIGKILL
        wait_until(lambda: all(map(is_gone, family)), "end of the workers", server)


@pytest.mark.parametrize("family", ["tcp4", "unix"])
def test_clients_that_wait_are_told_of(family: str, launch: Launch, place: Path) -> None:
    """In the log after three seconds, and in the answer to SIGUSR1 at once."""
    (place / "held.py").write_text(HELD)
    server = launch(family, "127.0.0.1:0" if family == "tcp4" else "s", "held:Held")
    with server.connect() as held, server.connect(), server.connect():
        held.recv(99)
        server.send_signal(signal.SIGUSR1)
        assert " waiting=2\n" in server.wait_for_log(" state ")
        assert "warning clients wait queue=2 max=1\n" in server.wait_for_log("clients wait")
    assert server.stop() == 0, server.log


def test_counters_go_on_over_reloads_and_deaths(launch: Launch) -> None:
    """Of a worker that died, what it had reported last."""
    server = launch("unix", "s", "--threads", "myapp:Echo")

    def served(count: int) -> int:
        server.send_signal(signal.SIGUSR1)
        lines = [line for line in server.wait_for_log(" state ", count).splitlines() if " state " in line]
        return int(re.findall(r" served=(\d+)", lines[count - 1])[0])

    for generation in range(3):
        with server.connect() as client:
            assert ask(client, b"hello\n") == b"hello\n"
        server.wait_for_log(" ended ", generation + 1)
        assert served(generation + 1) == generation + 1
        if generation:
            (worker,) = wait_for_workers(server, 1)
            os.kill(worker, signal.SIGKILL)
        else:
            server.send_signal(signal.SIGHUP)
        server.wait_for_log("handler loaded", generation + 2)
    assert server.stop() == 0, server.log


def held(server: Launched, opened: ExitStack) -> socket.socket | None:
    """Connect and have a line sent back; return the connection, or None if it was refused."""
    client = opened.enter_context(server.connect())
    try:
        return client if ask(client, b"x\n") == b"x\n" else None
    except OSError:
        return None


@pytest.mark.parametrize("words", [("--threads", "echo"), ("--fork", "echo"), ("--", "/bin/cat")], ids=" ".join)
def test_old_and_new_workers_together_serve_no_more_than_the_limit(words: tuple[str, ...], launch: Launch) -> None:
    """After reloads, newcomers wait as long as the old workers' conversations last; a place that is free is theirs."""
    options = [*words[:1], "--max-connections", "2"] if words[0] != "--" else ["--max-connections", "2"]
    server = launch(*TCP, *options, *(words[1:] if words[0] != "--" else words))
    with ExitStack() as opened:
        first, second = held(server, opened), held(server, opened)
        assert first and second
        for _ in range(2):
            with Tail(server) as tail:
                server.send_signal(signal.SIGHUP)
                tail.wait_for("notice reloaded", 1)
        late = opened.enter_context(server.connect())
        late.sendall(b"late\n")
        assert not select.select([late], [], [], 0.2)[0]
        assert ask(second, b"still\n") == b"still\n"
        first.close()
        assert late.recv(9) == b"late\n"
        later = opened.enter_context(server.connect())
        later.sendall(b"later\n")
        second.close()
        assert later.recv(9) == b"later\n"
    wait_for_workers(server, 1)
    assert server.stop() == 0, server.log


@pytest.mark.parametrize("model", ["--threads", "--fork"])
def test_nobody_is_refused_while_another_worker_has_room(model: str, launch: Launch) -> None:
    """However the kernel spreads clients; the places of a worker that dies are free again."""
    server = launch(*TCP, model, "--max-connections", "6", "--workers", "3", "--at-limit", "refuse", "echo")
    for _ in range(2):
        with ExitStack() as opened:
            assert all(held(server, opened) for _ in range(6))
            assert held(server, opened) is None
            workers = wait_for_workers(server, 3)
            os.kill(workers[0], signal.SIGKILL)
            wait_until(lambda: is_gone(workers[0]), "end of the worker", server)  # noqa: B023
            wait_for_workers(server, 3)
        wait_until(lambda: state_of(server)["conversations"] == "0", "end of all conversations", server)
    assert server.stop() == 0, server.log


def state_of(server: Launched) -> dict[str, str]:
    """Ask for the state, and return its fields."""
    with Tail(server) as tail:
        server.send_signal(signal.SIGUSR1)
        tail.wait_for("notice state ", 1)
        return dict(re.findall(r"(\w+)=(\S+)", next(line for line in tail.lines if "notice state " in line)))


@pytest.mark.parametrize("words", [("--sync", "echo"), ("--threads", "echo"), ("--fork", "echo"), ("--", "/bin/cat")])
@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_each_conversation_of_a_worker_that_dies_is_a_line(family: str, words: tuple[str, ...], launch: Launch) -> None:
    """Whose client it was is what one wants to know then; it counts as cut."""
    server = launch(family, "127.0.0.1:0" if family == "tcp" else "s", *words)
    count = 1 if "--sync" in words else 3
    with ExitStack() as opened:
        gone = held(server, opened)
        assert gone
        gone.close()
        server.wait_for_log(" how=done ")
        clients = [held(server, opened) for _ in range(count)]
        assert all(clients)
        os.kill(server.worker, signal.SIGKILL)
        server.wait_for_log('why="its worker died"', count)
        names = sorted(re.findall(r' cut peer=(\S+) age=\d\.\d+ why="its worker died" id=\S+\n', server.log))
        if family == "tcp":
            assert names == sorted(":".join(map(str, client.getsockname())) for client in clients if client)
        else:
            assert names == ["-"] * count
        wait_for_workers(server, 1)
        assert state_of(server)["cut"] == str(count)
    assert server.stop() == 0, server.log
