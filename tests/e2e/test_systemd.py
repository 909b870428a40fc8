"""The units that ``srvctl unit`` prints, in a real systemd: start, activation, reload, restart, watchdog, stop."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from srvctl.unit.syntax import quoted
from tests.e2e.booted import Booted, why_not
from tests.launched import PATIENCE, receive_all, wait_until

TCP = ("tcp", "127.0.0.1:0")

NASTY = ["", "a b", "'", '"', "\\", "100%", "%n", "$HOME", "${HOME}", "$$", ";", "a;b"]
NASTY += ["é\t\n\r\x01", "-x", "\\x41", "#"]


@pytest.fixture(scope="module")
def systemd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booted]:
    """A systemd that was booted for this module."""
    if reason := why_not():
        pytest.skip(reason)
    with Booted(tmp_path_factory.mktemp("systemd")) as booted:
        yield booted


@pytest.fixture
def name(request: pytest.FixtureRequest, systemd: Booted) -> Iterator[str]:
    """A name for the units of one test; whatever has it is killed when the test ends."""
    name = "srvctl-" + os.urandom(4).hex()
    yield name
    for kind in ("socket", "service"):
        systemd.systemctl("kill", "--signal=KILL", f"{name}.{kind}", is_checked=False)
        systemd.systemctl("stop", f"{name}.{kind}", is_checked=False)


def free_port() -> int:
    """Return a port that nobody has, for who cannot be told to choose one."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def connect(port: int) -> socket.socket:
    """Return a client's connection."""
    return socket.create_connection(("127.0.0.1", port), PATIENCE)


def answer(port: int) -> bytes:
    """Return what the server at `port` says to a client that says nothing."""
    with connect(port) as client:
        return receive_all(client)


class Load:
    """Clients that come one after the other without a pause, while the context lasts; `lost` and `answers` of them."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.lost: list[Exception] = []
        self.answers: list[bytes] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._come)

    def _come(self) -> None:
        while not self._is_over.is_set():
            try:
                self.answers.append(answer(self._port))
            except OSError as error:
                self.lost.append(error)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        self._thread.join()

    def wait_for_more(self, count: int = 20) -> None:
        """Wait until so many more have come."""
        enough = len(self.answers) + len(self.lost) + count
        wait_until(lambda: len(self.answers) + len(self.lost) >= enough, f"{count} clients")


# --- start


def test_a_service_is_active_when_it_serves(systemd: Booted, name: str, place: Path) -> None:
    """`systemctl start` returns with READY=1, and the status line tells the address and the figures."""
    service = systemd.install(name, place, *TCP, "--threads", "myapp:Pid")
    service.start()
    assert service.show("ActiveState") == "active"
    assert int(answer(service.port)) > 0
    said = f"serving on tcp://127.0.0.1:{service.port} with 1 worker: 0 conversations, "
    assert service.show("StatusText").startswith(said)


def test_a_service_with_a_unix_socket_is_hardened_and_serves(systemd: Booted, name: str, place: Path) -> None:
    """systemd makes the one directory in which it may create files, also for a forking server."""
    service = systemd.install(name, place, "unix", f"/run/{name}/socket", "--fork", "myapp:Modules")
    service.start()
    with systemd.connect(f"/run/{name}/socket") as client:
        said = json.loads(receive_all(client))["environment"]
    assert not [variable for variable in said if variable.startswith(("NOTIFY_", "WATCHDOG_", "LISTEN_"))]


def test_a_handler_that_does_not_load_fails_once(systemd: Booted, name: str, place: Path) -> None:
    """Status 78 is not tried again, and `systemctl status` shows why."""
    service = systemd.install(name, place, *TCP, "nomodule:Name")
    with pytest.raises(AssertionError):
        service.start()
    service.wait_for(ActiveState="failed", SubState="failed")
    assert (service.show("ExecMainStatus"), service.show("NRestarts")) == ("78", "0")
    assert service.show("StatusText").startswith("cannot load handler 'nomodule:Name': ")


def test_an_address_that_is_taken_is_tried_again(systemd: Booted, name: str, place: Path) -> None:
    """Status 69 may mend itself: whoever has the port may go."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        service = systemd.install(name, place, "tcp", f"127.0.0.1:{port}", "myapp:Pid", more="StartLimitBurst=1000\n")
        with pytest.raises(AssertionError):
            service.start()
        assert service.show("ExecMainStatus") == "69"
    service.wait_for(ActiveState="active")
    assert int(answer(port)) > 0


def test_a_socket_unit_starts_the_service_with_the_first_client(systemd: Booted, name: str, place: Path) -> None:
    """It takes the socket by its name; the client that came first is answered, and so are those after a restart."""
    port = free_port()
    service = systemd.install(name, place, "tcp", f"127.0.0.1:{port}", "--socket", "--threads", "myapp:Pid")
    systemd.systemctl("start", f"{name}.socket")
    assert service.show("ActiveState") == "inactive"
    first = answer(port)
    service.wait_for(ActiveState="active")
    with Load(port) as load:
        load.wait_for_more()
        service.do("restart")
        load.wait_for_more()
    assert load.lost == [], service.log
    assert {first} < set(load.answers)
    assert b"" not in load.answers


def test_a_template_has_a_process_for_each_connection(systemd: Booted, name: str, place: Path) -> None:
    """Accept=yes: ``fd 0`` serves the one connection that it was given, and its instance ends well."""
    port = free_port()
    command = " ".join(map(quoted, [sys.executable, "-m", "srvctl", "fd", "0", "myapp:Pid"]))
    (systemd.units / f"{name}.socket").write_text(f"[Socket]\nListenStream=127.0.0.1:{port}\nAccept=yes\n")
    (systemd.units / f"{name}@.service").write_text(
        f"[Service]\nExecStart={command}\nStandardInput=socket\nWorkingDirectory={place}\n"
        f"StandardError=append:{place}/log\nStandardOutput=append:{place}/log\n"
    )
    systemd.systemctl("daemon-reload")
    systemd.systemctl("start", f"{name}.socket")
    assert len({int(answer(port)) for _ in range(3)}) == 3
    systemd.wait_for(f"{name}.socket", NConnections="0", NAccepted="3")
    failed = systemd.systemctl("list-units", "--failed", "--plain", "--no-legend", f"{name}@*")
    assert failed == "", (place / "log").read_text()


# --- reload


def test_a_reload_replaces_the_workers_and_keeps_the_process(systemd: Booted, name: str, place: Path) -> None:
    """`systemctl reload` under load: nobody is lost, and in the end new workers answer."""
    service = systemd.install(name, place, *TCP, "--threads", "myapp:Pid")
    service.start()
    main, port, old = service.show("MainPID"), service.port, answer(service.port)
    with Load(port) as load:
        load.wait_for_more()
        service.do("reload")
        wait_until(lambda: load.answers[-1] != old, "answer of a new worker")
        wait_until(lambda: " reloaded" in service.log, "word of the reload")
        load.wait_for_more()
    assert load.lost == [], service.log
    assert (service.show("MainPID"), service.show("ActiveState")) == (main, "active")


def test_a_reload_that_fails_leaves_the_service_active(systemd: Booted, name: str, place: Path) -> None:
    """The old worker goes on, and the status line tells why."""
    (place / "changing.py").write_text("from myapp import Pid\n")
    service = systemd.install(name, place, *TCP, "changing:Pid")
    service.start()
    port, old = service.port, answer(service.port)
    (place / "changing.py").write_text("this is no Python\n")
    service.do("reload")
    wait_until(lambda: "; the last reload failed: " in service.show("StatusText"), "status")
    assert service.show("ActiveState") == "active"
    assert answer(port) == old


# --- restart


def test_a_restart_loses_nobody_without_a_socket_unit(systemd: Booted, name: str, place: Path) -> None:
    """The listening socket waits in systemd's descriptor store: three restarts under load, 0 refused, 0 reset."""
    service = systemd.install(name, place, *TCP, "--threads", "myapp:Pid")
    service.start()
    port, workers = service.port, set()
    assert service.show("NFileDescriptorStore") == "1"
    with Load(port) as load:
        for _ in range(3):
            load.wait_for_more()
            workers.add(load.answers[-1])
            service.do("restart")
            assert service.port == port
        load.wait_for_more()
        workers.add(load.answers[-1])
    assert load.lost == [], service.log
    assert b"" not in load.answers
    assert len(workers) == 4
    assert service.show("NFileDescriptorStore") == "1"


def test_a_stop_gives_the_port_up(systemd: Booted, name: str, place: Path) -> None:
    """What is stored is for a restart; a service that was stopped is not to be connected to."""
    service = systemd.install(name, place, *TCP, "myapp:Pid")
    service.start()
    port = service.port
    service.do("stop")
    service.wait_for(ActiveState="inactive", NFileDescriptorStore="0")
    with pytest.raises(ConnectionRefusedError):
        connect(port)


# --- watchdog


def test_the_watchdog_restarts_a_service_whose_worker_hangs(systemd: Booted, name: str, place: Path) -> None:
    """A worker that is stopped answers no more: systemd restarts the service, which serves on on the same port."""
    service = systemd.install(name, place, *TCP, "myapp:Pid", more="WatchdogSec=2\n")
    service.start()
    port, worker = service.port, answer(service.port).decode().strip()
    systemd.run("kill", f"-{signal.SIGSTOP}", worker)
    service.wait_for(ActiveState="active", NRestarts="1")
    assert service.port == port
    assert answer(port).decode().strip() != worker


def test_the_watchdog_leaves_a_service_alone_that_is_busy(systemd: Booted, name: str, place: Path) -> None:
    """A handler without concurrency that waits for its client through several intervals is well."""
    service = systemd.install(name, place, *TCP, "--threads", "myapp:Stubborn", more="WatchdogSec=1\n")
    service.start()
    with connect(service.port) as client:
        assert client.recv(100) == b"began\n"
        stamps: list[str] = []

        def is_fed_again() -> bool:
            stamp = service.show("WatchdogTimestampMonotonic")
            if stamp not in stamps:
                stamps.append(stamp)
            return len(stamps) == 5  # at two of them in an interval, more than the watchdog would wait

        wait_until(is_fed_again, "food for the watchdog")
    assert (service.show("ActiveState"), service.show("NRestarts")) == ("active", "0")


# --- stop


def test_a_stop_finishes_the_conversation_first(systemd: Booted, name: str, place: Path) -> None:
    """The service drains, which systemd shows, and ends with status 0 behind the last answer."""
    service = systemd.install(name, place, *TCP, "--threads", "--drain-idle-timeout", "60", "myapp:Wait")
    service.start()
    with connect(service.port) as client:
        assert client.recv(100) == b"began\n"
        service.do("stop", "--no-block")
        service.wait_for(ActiveState="deactivating", StatusText="draining")
        client.sendall(b"\n")
        assert receive_all(client) == b"ended\n"
    service.wait_for(ActiveState="inactive", Result="success", ExecMainStatus="0")


def test_a_stop_that_cuts_is_no_failure_of_the_unit(systemd: Booted, name: str, place: Path) -> None:
    """Status 75 tells it, and SuccessExitStatus= keeps the unit from being restarted, or called failed."""
    service = systemd.install(name, place, *TCP, "--threads", "--graceful-timeout", "0.2", "myapp:Stubborn")
    service.start()
    with connect(service.port) as client:
        assert client.recv(100) == b"began\n"
        service.do("stop")
        service.wait_for(ActiveState="inactive", Result="success", ExecMainStatus="75")


# --- quoting


def test_systemd_reads_quoted_words_as_they_were(systemd: Booted, name: str, place: Path) -> None:
    """What `srvctl unit` puts on ExecStart= comes to the program as it was typed."""
    tells = "import json, sys; json.dump(sys.argv[2:], open(sys.argv[1], 'w'))"
    words = [sys.executable, "-c", tells, str(place / "argv"), *NASTY]
    (systemd.units / f"{name}.service").write_text(
        f"[Service]\nType=oneshot\nExecStart={' '.join(quoted(word) for word in words)}\n"
    )
    systemd.systemctl("daemon-reload")
    systemd.systemctl("start", f"{name}.service")
    assert json.loads((place / "argv").read_text()) == NASTY
