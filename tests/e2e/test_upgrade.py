"""Upgrade: HUP after srvctl's own files have changed puts a new supervisor into the same process."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import srvctl
from tests.e2e.load import Load, Tail, resources, resources_at_rest, wait_for_workers
from tests.launched import Launched, ask, clean_environment, receive_exactly, wait_until

ROOT = Path(srvctl.__file__).parent.parent
# -P: the copy is imported because of PYTHONPATH alone; -B: and is compiled anew each time it has changed.
COMMAND = (sys.executable, "-P", "-B", "-m", "srvctl")

Start = Callable[..., Launched]


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of srvctl, as it would be installed; returns the directory of the package."""
    package = tmp_path_factory.mktemp("site") / "srvctl"
    shutil.copytree(ROOT / "srvctl", package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "handlers", package / "handlers", ignore=shutil.ignore_patterns("__pycache__"))
    return package


@pytest.fixture
def start(launch: Start, site: Path, place: Path) -> Start:
    """Start that copy."""
    environment = clean_environment(PYTHONPATH=f"{site.parent}:{place}")
    return lambda *words: launch(*words, command=COMMAND, env=environment)


def install(site: Path, word: str) -> None:
    """Change a file of the copy: what it says when it has reloaded is `word` from then on."""
    log = site / "runtime" / "log.py"
    lines = log.read_text().splitlines(keepends=True)
    place = lines.index("def reloaded() -> None:\n") + 1
    lines[place] = f"    _event(NOTICE, {word!r})\n"
    log.write_text("".join(lines))


def upgrade(server: Launched, site: Path, word: str) -> None:
    """Have `server` become a copy that says `word`, and wait until it has said so."""
    install(site, word)
    with Tail(server) as tail:
        server.send_signal(signal.SIGHUP)
        tail.wait_for(f"notice {word}", 1)
        assert [tail.count("notice upgrading"), tail.count("notice upgraded")] == [1, 1], tail.lines


@pytest.mark.parametrize("model", ["--threads", "--fork"])
def test_a_new_srvctl_takes_over(model: str, start: Start, site: Path, place: Path) -> None:
    """The process is the same, and so is the socket; a conversation goes on, workers are new, TERM tidies up."""
    server = start("unix", "socket", model, "--workers", "2", "--drain-idle-timeout", "20", "myapp:Wait")
    old = server.children()
    with server.connect() as client:
        assert receive_exactly(client, 6) == b"began\n"
        upgrade(server, site, "renovated")
        assert server.process.poll() is None
        with server.connect() as newcomer:
            assert receive_exactly(newcomer, 6) == b"began\n"
            newcomer.sendall(b"go on\n")
        client.sendall(b"go on\n")
        assert receive_exactly(client, 6) == b"ended\n"
    assert not set(wait_for_workers(server, 2)) & set(old)
    assert server.stop() == 0, server.log
    assert not (place / "socket").exists()


def test_no_client_notices_an_upgrade(start: Start, site: Path) -> None:
    """Three in a row under load lose nothing, and leave the supervisor no descriptor more."""
    server = start("tcp4", "127.0.0.1:0", "--threads", "--workers", "2", "myapp:Echo")
    before = resources_at_rest(server)
    with Load(server) as load:
        for word in ("painted", "carpeted", "refurnished"):
            upgrade(server, site, word)
            load.wait_for_more()
    assert load.faults == {}, server.log
    wait_for_workers(server, 2)
    wait_until(lambda: resources(server.pid) == before, f"{before} descriptors and threads", server)
    assert server.stop() == 0, server.log


def test_datagrams_are_served_through_an_upgrade(start: Start, site: Path) -> None:
    """Each is answered once."""
    server = start("udp4", "127.0.0.1:0", "--threads", "myapp:Anything")
    with Load(server) as load:
        upgrade(server, site, "painted")
        load.wait_for_more()
    assert load.faults == {}, server.log


def test_a_srvctl_that_cannot_start_leaves_the_old_one(start: Start, site: Path) -> None:
    """With a syntax error in srvctl's files neither supervisor nor workers change; when it is mended they do."""
    server = start("tcp4", "127.0.0.1:0", "--threads", "--workers", "2", "myapp:Echo")
    workers = set(server.children())
    good = (site / "runtime" / "log.py").read_text()
    with Load(server) as load:
        (site / "runtime" / "log.py").write_text("class\n")
        server.send_signal(signal.SIGHUP)
        log = server.wait_for_log("reload failed")
        assert 'upgrade failed why="the new program ends with status 1" next="the old srvctl goes on"' in log
        load.wait_for_more()
        assert set(wait_for_workers(server, 2)) == workers
        (site / "runtime" / "log.py").write_text(good)
        upgrade(server, site, "mended")
        load.wait_for_more()
    assert load.faults == {}, server.log
    assert not set(wait_for_workers(server, 2)) & workers
    assert server.stop() == 0, server.log


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("supervisor/handover.py", 'worker.started_at = handed_over["began"]'),
        ("supervisor/handover.py", 'pool.restarts = handed_over["restarts"]'),
        ("listener/listener.py", 'os.set_inheritable(state["fd"], False)'),
    ],
)
def test_a_srvctl_that_cannot_take_over_leaves_the_old_one(start: Start, site: Path, file: str, line: str) -> None:
    """It is found by the preflight, which is given what would be handed over; nothing of the server is touched."""
    server = start("tcp4", "127.0.0.1:0", "--threads", "myapp:Echo")
    before = resources_at_rest(server)
    good = (site / file).read_text()
    assert line in good
    with server.connect() as client:
        assert ask(client, b"one\n") == b"one\n"
        (site / file).write_text(good.replace(line, 'raise KeyError("a field of the next release")'))
        server.send_signal(signal.SIGHUP)
        log = server.wait_for_log("notice reloaded")  # by the old srvctl, whose handler may have changed as well
        assert 'upgrade failed why="the new program ends with status 1" next="the old srvctl goes on"' in log
        assert ask(client, b"two\n") == b"two\n"
    wait_for_workers(server, 1)
    (site / file).write_text(good)
    upgrade(server, site, "mended")
    wait_until(lambda: resources(server.pid) == before, f"{before} descriptors and threads", server)
    assert server.stop() == 0, server.log


def test_workers_that_cannot_start_after_an_upgrade_leave_the_old_ones(start: Start, site: Path) -> None:
    """What only a worker imports is not seen before the new supervisor is there: it keeps the workers it was given."""
    server = start("tcp4", "127.0.0.1:0", "--threads", "--workers", "2", "myapp:Echo")
    workers = set(server.children())
    good = (site / "worker" / "main.py").read_text()
    with server.connect() as client:
        (site / "worker" / "main.py").write_text("class\n")
        server.send_signal(signal.SIGHUP)
        log = server.wait_for_log("reload failed")
        assert "notice upgraded workers=2" in log
        assert ask(client, b"hello\n") == b"hello\n"
        assert set(wait_for_workers(server, 2)) == workers
        server.send_signal(signal.SIGUSR2)  # they are watched as before
        stacks = server.wait_for_log("notice stacks ", 2)
        assert all(f"stacks pid={worker} " in stacks for worker in workers)
    (site / "worker" / "main.py").write_text(good)
    upgrade(server, site, "mended")
    assert not set(wait_for_workers(server, 2)) & workers
    assert server.stop() == 0, server.log


def test_a_reload_without_a_change_is_no_upgrade(start: Start) -> None:
    """HUP alone leaves the supervisor's program as it is."""
    server = start("unix", "socket", "myapp:Echo")
    server.send_signal(signal.SIGHUP)
    assert "upgrad" not in server.wait_for_log("notice reloaded")
