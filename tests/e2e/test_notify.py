"""sd_notify(3) and the descriptor store, against a socket of the test's own in the place of a service manager."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

import pytest

from srvctl.systemd.protocol import PRIVATE_VARIABLES, STORED
from tests.launched import PATIENCE, Launched, clean_environment, descriptors, freeze, receive_all

Launch = Restart = Callable[..., Launched]

# LISTEN_PID and WATCHDOG_PID name the process that they are for, whose number is not known before it is there.
FOR_ITSELF = ("sh", "-c", 'export WATCHDOG_PID=$$; exec "$@"', "sh")

WATCHDOG_SECONDS = 0.4


class Notice:
    """One datagram: what it assigns, and the descriptors that came with it, which are the caller's."""

    def __init__(self, text: str, descriptors: list[int]) -> None:
        self.text = text
        self.fields = dict(line.split("=", 1) for line in text.splitlines())
        self.descriptors = descriptors


class Manager:
    """The service manager's end of NOTIFY_SOCKET, at the address `name`; a context manager."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + name[1:] if name[0] == "@" else name)

    def __enter__(self) -> Manager:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, frames: TracebackType | None) -> None:
        self.socket.close()

    def environment(self, **more: str) -> dict[str, str]:
        return clean_environment(NOTIFY_SOCKET=self.name, **more)

    def receive(self, timeout: float = PATIENCE) -> Notice:
        """Return the next notice; raises TimeoutError."""
        self.socket.settimeout(timeout)
        data, descriptors, flags, _ = socket.recv_fds(self.socket, 65536, 8)
        assert not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)
        return Notice(data.decode(), descriptors)

    def receive_with(self, field: str) -> Notice:
        """Return the next notice that assigns `field`; those that only tell a status on the way are skipped."""
        while field not in (notice := self.receive()).fields:
            assert set(notice.fields) <= {"STATUS", "WATCHDOG"}, notice.text
        return notice

    def count(self, text: str, seconds: float) -> int:
        """Return how many notices that are `text` come within a bounded time."""
        end, counted = time.monotonic() + seconds, 0
        with contextlib.suppress(TimeoutError):
            while (left := end - time.monotonic()) > 0:
                counted += self.receive(left).text == text
        return counted


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """A service manager at a path."""
    with Manager(str(tmp_path / "notify")) as manager:
        yield manager


# --- the life of a service


@pytest.mark.parametrize("is_abstract", [False, True], ids=["path", "abstract"])
def test_ready_is_told_when_clients_are_served_and_not_before(is_abstract: bool, launch: Launch, place: Path) -> None:
    """While the handler is being imported nothing is told; with READY=1 the first client is answered."""
    os.mkfifo(place / "fifo")
    (place / "slow.py").write_text("open('fifo').read()\nfrom myapp import Echo\n")
    name = "@srvctl-test-" + os.urandom(6).hex() if is_abstract else str(place / "notify")
    with Manager(name) as manager:
        pid = os.fork()
        if pid == 0:  # lets the handler go on as soon as its import waits, and tells the order of the two
            fifo = os.open(place / "fifo", os.O_WRONLY)
            manager.socket.setblocking(False)
            try:
                manager.socket.recv(4096, socket.MSG_PEEK)
            except BlockingIOError:
                os.close(fifo)
                os._exit(0)
            os._exit(1)
        server = launch("tcp", "127.0.0.1:0", "slow:Echo", env=manager.environment())
        assert os.waitpid(pid, 0)[1] == 0, "something was told before the handler was loaded"
        assert manager.receive().fields["READY"] == "1"
        with server.connect() as client:
            client.sendall(b"line\n")
            assert client.recv(100) == b"line\n"


def test_a_stop_is_told_with_the_time_that_it_may_take(launch: Launch, place: Path, manager: Manager) -> None:
    """STOPPING=1 comes when the drain begins, with an EXTEND_TIMEOUT_USEC that covers --graceful-timeout."""
    server = launch("tcp", "127.0.0.1:0", "--graceful-timeout", "120", "myapp:Wait", env=manager.environment())
    assert manager.receive_with("READY")
    with server.connect() as client:
        assert client.recv(100) == b"began\n"
        server.send_signal(signal.SIGTERM)
        notice = manager.receive_with("STOPPING")
        assert notice.fields["STOPPING"] == "1"
        assert notice.fields["STATUS"] == "draining"
        assert int(notice.fields["EXTEND_TIMEOUT_USEC"]) >= 120 * 1_000_000
        client.sendall(b"\n")
        assert receive_all(client) == b"ended\n"
    assert server.wait() == 0, server.log


def test_the_status_has_live_figures(launch: Launch, manager: Manager) -> None:
    """After conversations a STATUS comes by itself that counts them."""
    server = launch("tcp", "127.0.0.1:0", "--threads", "myapp:Raise", env=manager.environment())
    first = manager.receive_with("READY").fields["STATUS"]
    assert first == f"serving on {server.address} with 1 worker: 0 conversations, 0 served, 0 failed, 0 refused"
    with server.connect() as client:
        client.sendall(b"ValueError\n")
        assert client.recv(1) == b""
    status = manager.receive_with("STATUS").fields["STATUS"]
    assert status == f"serving on {server.address} with 1 worker: 0 conversations, 0 served, 1 failed, 0 refused"


# --- reload


def reload(server: Launched, manager: Manager) -> tuple[Notice, Notice]:
    """Send HUP; return what tells that a reload has begun, and that it is over."""
    before = time.clock_gettime(time.CLOCK_MONOTONIC)
    server.send_signal(signal.SIGHUP)
    began = manager.receive_with("RELOADING")
    assert began.fields["RELOADING"] == "1"
    stamp = int(began.fields["MONOTONIC_USEC"])
    assert int(before * 1e6) <= stamp <= time.clock_gettime(time.CLOCK_MONOTONIC) * 1e6
    return began, manager.receive_with("READY")


def test_a_reload_is_told_in_one_message_and_its_end_in_another(launch: Launch, manager: Manager) -> None:
    """RELOADING=1 and MONOTONIC_USEC, no earlier than the HUP, come together; then READY=1, from new workers."""
    server = launch("tcp", "127.0.0.1:0", "myapp:Pid", env=manager.environment())
    manager.receive_with("READY")
    first = server.worker
    began, ended = reload(server, manager)
    assert "READY" not in began.fields
    assert ended.fields["READY"] == "1"
    assert "failed:" not in ended.fields["STATUS"]
    with server.connect() as client:
        assert int(receive_all(client)) != first


def test_a_reload_that_failed_ends_in_ready_and_says_why(launch: Launch, place: Path, manager: Manager) -> None:
    """The status keeps the reason until a reload succeeds; the old worker serves on."""
    (place / "changing.py").write_text("from myapp import Pid\n")
    server = launch("tcp", "127.0.0.1:0", "changing:Pid", env=manager.environment())
    manager.receive_with("READY")
    first = server.worker
    (place / "changing.py").write_text("raise RuntimeError('not today')\n")
    _, ended = reload(server, manager)
    assert ended.fields["READY"] == "1"
    assert re.search(r"; the last reload failed: .*not today", ended.fields["STATUS"])
    with server.connect() as client:
        assert int(receive_all(client)) == first
    (place / "changing.py").write_text("from myapp import Pid\n# and something else\n")
    _, ended = reload(server, manager)
    assert ended.fields["READY"] == "1"
    assert "the last reload failed" not in ended.fields["STATUS"]


# --- watchdog


@pytest.fixture
def watched(manager: Manager) -> dict[str, str]:
    """The environment of a service with a watchdog."""
    return manager.environment(WATCHDOG_USEC=str(int(WATCHDOG_SECONDS * 1e6)))


@pytest.mark.parametrize("model", ["--sync", "--threads", "--fork"])
def test_the_watchdog_is_fed_again_and_again(
    model: str, launch: Launch, manager: Manager, watched: dict[str, str]
) -> None:
    """WATCHDOG=1 comes on and on, also from a server that nobody talks to."""
    launch("tcp", "127.0.0.1:0", model, "myapp:Echo", env=watched, prefix=FOR_ITSELF)
    manager.receive_with("READY")
    for _ in range(5):
        assert manager.receive_with("WATCHDOG").text == "WATCHDOG=1"


@pytest.mark.parametrize("model", ["--threads", "--fork"])
def test_a_handler_that_blocks_does_not_stop_the_watchdog(
    model: str, launch: Launch, manager: Manager, watched: dict[str, str]
) -> None:
    """A worker whose handler waits for its client is well."""
    server = launch("tcp", "127.0.0.1:0", model, "myapp:Wait", env=watched, prefix=FOR_ITSELF)
    manager.receive_with("READY")
    with server.connect() as client:
        assert client.recv(100) == b"began\n"
        for _ in range(5):
            manager.receive_with("WATCHDOG")
        client.sendall(b"\n")
        assert receive_all(client) == b"ended\n"


def test_the_watchdog_starves_while_a_worker_does_not_answer(
    launch: Launch, manager: Manager, watched: dict[str, str]
) -> None:
    """Within an interval of a worker's stop nothing feeds it any more, however many are well; it is fed again after."""
    server = launch("tcp", "127.0.0.1:0", "--workers", "2", "myapp:Echo", env=watched, prefix=FOR_ITSELF)
    manager.receive_with("READY")
    manager.receive_with("WATCHDOG")
    stopped = server.children()[0]
    freeze(stopped)
    try:
        manager.count("WATCHDOG=1", WATCHDOG_SECONDS)  # what was under way: the worker was heard a moment ago
        assert manager.count("WATCHDOG=1", 3 * WATCHDOG_SECONDS) == 0
    finally:
        os.kill(stopped, signal.SIGCONT)
    for _ in range(3):
        manager.receive_with("WATCHDOG")
    assert stopped in server.children()


def test_the_watchdog_of_another_process_is_not_fed(launch: Launch, manager: Manager, watched: dict[str, str]) -> None:
    """WATCHDOG_PID says whose it is; the variables are inherited by whoever does not remove them."""
    launch("tcp", "127.0.0.1:0", "myapp:Echo", env=watched | {"WATCHDOG_PID": str(os.getpid())})
    manager.receive_with("READY")
    assert manager.count("WATCHDOG=1", 3 * WATCHDOG_SECONDS) == 0


# --- the descriptor store


@pytest.fixture
def kept(manager: Manager) -> Iterator[Callable[[], int]]:
    """Receive what a server with --fd-store leaves in the store: one descriptor, closed when the test ends."""
    with contextlib.ExitStack() as held:

        def receive() -> int:
            notice = manager.receive_with("FDSTORE")
            (descriptor,) = notice.descriptors
            held.callback(os.close, descriptor)
            assert notice.fields == {"FDSTORE": "1", "FDNAME": STORED, "FDPOLL": "0"}
            manager.receive_with("READY")
            return descriptor

        yield receive


@pytest.fixture
def restart(launch: Launch, manager: Manager) -> Restart:
    """Start srvctl with --fd-store and with `descriptor` from the store, as systemd does."""

    def start(descriptor: int, *words: str, handler: str = "myapp:Pid") -> Launched:
        passing = f'export LISTEN_PID=$$; exec "$@" 3<&{descriptor} {descriptor}<&-'
        environment = manager.environment(LISTEN_FDS="1", LISTEN_FDNAMES=STORED)
        # bash, since dash knows only descriptors of one digit.
        prefix = ("bash", "-c", passing, "bash")
        return launch(*words, "--fd-store", handler, prefix=prefix, env=environment, pass_fds=(descriptor,))

    return start


def test_the_listening_socket_is_stored(launch: Launch, manager: Manager, kept: Callable[[], int]) -> None:
    """With --fd-store the service manager gets the very socket, with a name."""
    server = launch("tcp", "127.0.0.1:0", "--fd-store", "myapp:Pid", env=manager.environment())
    with socket.socket(fileno=os.dup(kept())) as stored:
        assert stored.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        assert stored.getsockname() == server.sockaddr


def test_nothing_is_stored_unless_asked_for(launch: Launch, manager: Manager) -> None:
    """READY=1 is the first thing that a service manager hears of a server without --fd-store."""
    launch("tcp", "127.0.0.1:0", "myapp:Pid", env=manager.environment())
    assert next(iter(manager.receive().fields)) == "READY"


@pytest.mark.parametrize(
    ("family", "address", "is_same_port_asked_for"),
    [
        ("tcp", ":0", False),
        ("tcp", "127.0.0.1:0", True),
        ("tcp6", "[::1]:0", True),
        ("unix", "socket", False),
        ("unix", "@", False),
        ("unix-seqpacket", "socket", False),
    ],
    ids=lambda value: str(value).replace("@", "abstract"),
)
def test_a_restart_loses_no_client(
    family: str,
    address: str,
    is_same_port_asked_for: bool,
    launch: Launch,
    manager: Manager,
    kept: Callable[[], int],
    restart: Restart,
) -> None:
    """Who connects while nobody runs is answered by the next start, on the same port, or the same file."""
    if address == "@":
        address += "srvctl-test-" + os.urandom(6).hex()
    first = launch(family, address, "--fd-store", "myapp:Pid", env=manager.environment())
    descriptor = kept()
    assert first.stop() == 0, first.log
    with contextlib.ExitStack() as clients:
        waiting = [clients.enter_context(first.connect()) for _ in range(20)]
        if is_same_port_asked_for:
            address = first.address.partition("://")[2]
        second = restart(descriptor, family, address)
        assert second.address == first.address
        answers = {int(client.recv(100)) for client in [*waiting, clients.enter_context(second.connect())]}
    assert answers == {second.worker}


def test_a_restart_loses_no_datagram(
    launch: Launch, manager: Manager, kept: Callable[[], int], restart: Restart
) -> None:
    """What comes while nobody runs waits in the stored socket."""
    first = launch("udp", "127.0.0.1:0", "--fd-store", env=manager.environment())
    descriptor = kept()
    assert first.stop() == 0, first.log
    with first.connect() as client:
        client.send(b"in between")
        second = restart(descriptor, "udp", "127.0.0.1:0", handler="echo")
        assert second.address == first.address
        assert client.recv(100) == b"in between"


def test_a_stored_vsock_is_taken_again(
    launch: Launch, manager: Manager, kept: Callable[[], int], restart: Restart
) -> None:
    """As any other, though few machines have a way to themselves to try a client on."""
    try:
        socket.socket(socket.AF_VSOCK).close()
    except (AttributeError, OSError):
        pytest.skip("no vsock here")
    first = launch("vsock", ":0", "--fd-store", "myapp:Pid", env=manager.environment())
    descriptor = kept()
    assert first.stop() == 0, first.log
    second = restart(descriptor, "vsock", first.address.partition("://")[2])
    assert second.address == first.address


def test_a_socket_of_the_store_can_be_used_again_and_again(
    launch: Launch, manager: Manager, kept: Callable[[], int], restart: Restart
) -> None:
    """A start that was given its socket leaves it in the store too."""
    first = launch("tcp", "127.0.0.1:0", "--fd-store", "myapp:Pid", env=manager.environment())
    descriptor = kept()
    first.stop()
    for _ in range(2):
        manager.receive_with("STOPPING")
        again = restart(descriptor, "tcp", "127.0.0.1:0")
        descriptor = kept()
        assert again.address == first.address
        assert again.stop() == 0, again.log


def test_the_store_loses_nobody_under_load(
    launch: Launch, manager: Manager, kept: Callable[[], int], restart: Restart, place: Path
) -> None:
    """Clients that come all through a stop and a start, one after the other without a pause, are all answered."""
    first = launch("tcp", "127.0.0.1:0", "--fd-store", "--threads", "myapp:Pid", env=manager.environment())
    descriptor = kept()
    old = first.worker
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            lost = answered = 0
            while not os.path.exists(place / "enough"):
                try:
                    with first.connect() as client:
                        answered += bool(receive_all(client))
                except OSError:
                    lost += 1
            os.write(write, f"{lost} {answered}".encode())
        os._exit(0)
    os.close(write)
    try:
        assert first.stop() == 0, first.log
        second = restart(descriptor, "tcp", "127.0.0.1:0", "--threads")
        assert second.worker != old
        with second.connect() as client:
            receive_all(client)
    finally:
        (place / "enough").touch()
        lost, answered = map(int, os.read(read, 100).split())
        os.close(read)
        os.waitpid(pid, 0)
    assert lost == 0
    assert answered > 0


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [
        (("tcp", "127.0.0.1:0"), ("tcp", "127.0.0.2:0")),
        (("tcp6", ":0"), ("tcp", ":0")),
        (("unix", "one"), ("unix", "other")),
        (("unix", "@srvctl-test"), ("unix-seqpacket", "@srvctl-test")),
        (("unix", "s"), ("tcp", "127.0.0.1:0")),
        (("tcp", "127.0.0.1:0"), ("unix", "one")),
    ],
    ids=lambda words: "-".join(words),
)
def test_a_stored_socket_of_another_address_is_given_up(
    stored: tuple[str, str],
    wanted: tuple[str, str],
    launch: Launch,
    manager: Manager,
    kept: Callable[[], int],
    restart: Restart,
) -> None:
    """After a change of the command line the old socket is dropped from the store, and a new one is made."""
    first = launch(*stored, "--fd-store", "myapp:Pid", env=manager.environment())
    descriptor = kept()
    first.stop()
    manager.receive_with("STOPPING")
    second = restart(descriptor, *wanted)
    removal = manager.receive_with("FDSTOREREMOVE")
    assert removal.fields == {"FDSTOREREMOVE": "1", "FDNAME": STORED}
    assert os.fstat(kept()).st_ino != os.fstat(descriptor).st_ino
    assert f"socket:[{os.fstat(descriptor).st_ino}]" not in descriptors(second.pid).values()


def test_a_unix_socket_whose_file_was_removed_is_made_anew(
    launch: Launch, manager: Manager, kept: Callable[[], int], restart: Restart, place: Path
) -> None:
    """Nobody finds a socket without its file, stored or not."""
    first = launch("unix", "socket", "--fd-store", "myapp:Pid", env=manager.environment())
    descriptor = kept()
    first.stop()
    (place / "socket").unlink()
    manager.receive_with("STOPPING")
    second = restart(descriptor, "unix", "socket")
    manager.receive_with("FDSTOREREMOVE")  # there is room for one
    assert os.fstat(kept()).st_ino != os.fstat(descriptor).st_ino
    with second.connect() as client:
        assert int(receive_all(client)) == second.worker


def test_without_a_store_the_file_goes_with_the_server(launch: Launch, manager: Manager, place: Path) -> None:
    """Nobody could use it."""
    server = launch("unix", "socket", "myapp:Pid", env=manager.environment())
    assert server.stop() == 0
    assert not (place / "socket").exists()


# --- what reaches whom


def test_no_variable_of_the_service_manager_reaches_a_handler(launch: Launch, watched: dict[str, str]) -> None:
    """They are about the supervisor: a handler's program would take its socket, or speak for it."""
    more = {name: "1" for name in PRIVATE_VARIABLES if not name.startswith("SRVCTL_")}
    environment = more | watched | {"LISTEN_FDS": "0"}
    server = launch("tcp", "127.0.0.1:0", "myapp:Modules", env=environment, prefix=FOR_ITSELF)
    with server.connect() as client:
        said = json.loads(receive_all(client))["environment"]
    assert "PATH" in said
    assert set(said) & set(PRIVATE_VARIABLES) == set()


@pytest.mark.parametrize("is_same", [True, False], ids=["the journal", "another file"])
def test_lines_have_priorities_only_where_the_journal_reads_them(is_same: bool, launch: Launch, place: Path) -> None:
    """JOURNAL_STREAM is inherited by who redirects standard error; device and inode tell whether it still holds."""
    with (place / "stream").open("wb") as stream:
        status = os.fstat(stream.fileno())
        named = f"{status.st_dev}:{status.st_ino + (not is_same)}"
        server = launch("tcp", ":0", "myapp:Raise", stderr=stream, env=clean_environment(JOURNAL_STREAM=named))
    with server.connect() as client:
        client.sendall(b"ValueError\n")
        assert client.recv(1) == b""
    assert server.stop() == 0
    lines = (place / "stream").read_text().splitlines()
    assert len(lines) > 3
    priorities = [line[:3] for line in lines if re.match(r"<[0-7]>[a-z]", line)]
    assert len(priorities) == (len(lines) if is_same else 0)
    assert not is_same or {"<3>", "<6>"} <= set(priorities)
