"""A service from ``srvctl unit --write`` to its stop, in a real systemd, by the commands that srvctl names.

Its application, virtual environment and interpreter are in a home that nobody else may enter.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

import srvctl.handlers
from tests.e2e.booted import Booted, Service, why_not
from tests.handlers.test_readme_handler import COMMANDS, NAME, SOURCE
from tests.launched import PATIENCE, receive_all, receive_exactly, wait_until

UNITS = "/etc/systemd/system"
SRVCTL = "/home/ann/venv/bin/srvctl"

# What a client is told: the edition of the code, who runs it, and what is to be seen of the homes.
HANDLER = """\
import json, os
from srvctl import StreamRequestHandler


class Tell(StreamRequestHandler):
    edition: str = {edition!r}

    def handle(self):
        homes = {{home: sorted(os.listdir(f"/home/{{home}}")) for home in os.listdir("/home")}}
        told = {{"edition": self.edition, "uid": os.getuid(), "homes": homes, "root": os.listdir("/root")}}
        self.wfile.write(json.dumps(told).encode())
"""

# As pyenv and uv lay an interpreter out: versions/current leads to it, and the virtual environment to the link.
PREPARE = f"""
set -e
umask 022
mkdir -p $HOME/versions/own $HOME/app
mount --bind {sys.base_prefix} $HOME/versions/own
ln -s own $HOME/versions/current
$HOME/versions/current/bin/python{sys.version_info.major}.{sys.version_info.minor} -m venv --without-pip $HOME/venv
echo secret > $HOME/secret
chmod 700 $HOME
"""


@pytest.fixture(scope="module")
def systemd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booted]:
    """A systemd that was booted for this module."""
    if reason := why_not():
        pytest.skip(reason)
    with Booted(tmp_path_factory.mktemp("systemd")) as booted:
        yield booted


class Home:
    """The home of a user of the booted system, closed to others; `path` is its name there."""

    def __init__(self, systemd: Booted, path: str) -> None:
        self._systemd, self.path = systemd, path
        self.place = Path(f"{systemd.root}{path}")

    def write_handler(self, directory: str, edition: str) -> None:
        """Write telling.py with a handler of this edition."""
        (self.place / directory).mkdir(parents=True, exist_ok=True)
        (self.place / directory / "telling.py").write_text(HANDLER.format(edition=edition))

    def srvctl_unit(self, directory: str, *words: str) -> list[str]:
        """Run ``srvctl unit`` in a directory of the home; return the lines on standard error."""
        command = f'cd "$1" && shift && exec {SRVCTL} unit "$@" 2>&1 >/dev/null'
        return self._systemd.run(
            "sh", "-c", command, "sh", f"{self.path}/{directory}", *words, is_checked=False
        ).splitlines()


@pytest.fixture(scope="module")
def home(systemd: Booted) -> Home:
    """A home with an interpreter, and a virtual environment in which srvctl is installed."""
    ann = Home(systemd, "/home/ann")
    systemd.run("env", "HOME=/home/ann", "sh", "-c", PREPARE)
    (packages,) = (ann.place / "venv" / "lib").glob("python*/site-packages")
    for package in (srvctl, srvctl.handlers, click):
        source, name = Path(str(package.__file__)).parent, package.__name__.replace(".", "/")
        shutil.copytree(source, packages / name, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    script = Path(f"{systemd.root}{SRVCTL}")
    script.write_text("#!/home/ann/venv/bin/python\nfrom srvctl.__main__ import main\nmain()\n")
    script.chmod(0o755)
    return ann


@pytest.fixture
def name(systemd: Booted) -> Iterator[str]:
    """A name for the units of one test, which are killed when the test ends."""
    name = "srvctl-" + os.urandom(4).hex()
    yield name
    for kind in ("socket", "service"):
        systemd.systemctl("kill", "--signal=KILL", f"{name}.{kind}", is_checked=False)
        systemd.systemctl("stop", f"{name}.{kind}", is_checked=False)


def start(systemd: Booted, said: list[str]) -> None:
    """Type the commands that srvctl named."""
    assert said and all(line.startswith("next: systemctl ") for line in said), said
    for line in said:
        systemd.run("sh", "-c", line.removeprefix("next: "))


def told(connect: Callable[[], socket.socket]) -> dict[str, Any]:
    """Return what a client is told."""
    with connect() as client:
        answer: dict[str, Any] = json.loads(receive_all(client))
    return answer


def reload_to(edition: str, service: Service, connect: Callable[[], socket.socket]) -> None:
    """Reload the service, and wait until a client is told the new edition, and systemd that the reload is over."""
    service.do("reload")
    wait_until(lambda: told(connect)["edition"] == edition, f"edition {edition}; {service.log}")
    service.wait_for(ActiveState="active")


def stop(service: Service) -> None:
    """Stop the service; it ends well."""
    service.do("stop")
    service.wait_for(ActiveState="inactive", Result="success", ExecMainStatus="0")


def test_the_walk_through_of_readme_ends_with_a_service(systemd: Booted, home: Home, place: Path) -> None:
    """Its commands, typed in a home that is closed; the port alone is another."""
    (home.place / "number").mkdir()
    (home.place / "number" / NAME).write_text(SOURCE)
    service = systemd.service("number", place / "log")
    for command in COMMANDS[1:]:
        line = command.replace("sudo ", "").replace(":9000", "127.0.0.1:0")
        systemd.run("sh", "-c", f"cd /home/ann/number && PATH=/home/ann/venv/bin:$PATH && {line}")
    with socket.create_connection(("127.0.0.1", service.port), PATIENCE) as client:
        client.sendall(b"one\n")
        assert receive_exactly(client, 7) == b"10 one\n"
    stop(service)


def test_a_service_in_a_closed_home_lives(systemd: Booted, home: Home, name: str, place: Path) -> None:
    """It sees what it needs alone, and a reload follows a changed file, and the link in the name of its directory."""
    home.write_handler("app/releases/1", "one")
    home.write_handler("app/releases/2", "two")
    (home.place / "app" / "current").symlink_to("releases/1")
    words = ("--threads", "--name", name, "--write", UNITS, "telling:Tell")
    said = home.srvctl_unit("app/current", "tcp", "127.0.0.1:0", *words)
    service = systemd.service(name, place / "log")
    start(systemd, said)
    port = service.port

    def connect() -> socket.socket:
        return socket.create_connection(("127.0.0.1", port), PATIENCE)

    first = told(connect)
    assert first["edition"] == "one"
    assert 61184 <= first["uid"] <= 65519, "systemd.exec(5): the range of dynamic users"
    assert first["homes"] == {"ann": ["app", "venv", "versions"]}
    home.write_handler("app/releases/1", "one, changed")
    reload_to("one, changed", service, connect)
    (home.place / "app" / "next").symlink_to("releases/2")
    (home.place / "app" / "next").rename(home.place / "app" / "current")
    reload_to("two", service, connect)
    stop(service)


def test_a_socket_and_its_service_live(systemd: Booted, home: Home, name: str, place: Path) -> None:
    """The owner's clients start the service; each unit starts or stops the other, and other words replace both."""
    home.write_handler("app", "one")
    path = f"/run/{name}.sock"
    options = ("--socket", "--socket-owner", "daemon:daemon", "--socket-mode", "0660", "--name", name, "--write", UNITS)
    said = home.srvctl_unit("app", "unix", path, *options, "telling:Tell")
    service = systemd.service(name, place / "log")
    start(systemd, said)
    assert service.show("ActiveState") == "inactive"
    daemon = pwd.getpwnam("daemon")
    status = os.stat(f"{systemd.root}{path}")
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (daemon.pw_uid, daemon.pw_gid, 0o660)

    def connect() -> socket.socket:
        return systemd.connect(path)

    assert told(connect)["edition"] == "one"
    service.wait_for(ActiveState="active")
    home.write_handler("app", "two")
    reload_to("two", service, connect)
    start(systemd, home.srvctl_unit("app", "unix", path, *options, "--set", "edition=three", "telling:Tell"))
    assert told(connect)["edition"] == "three"
    systemd.systemctl("stop", f"{name}.socket")
    service.wait_for(ActiveState="inactive", Result="success", ExecMainStatus="0")
    service.start()
    assert told(connect)["edition"] == "three"
    systemd.systemctl("stop", f"{name}.socket")


def test_a_service_of_a_user_lives(systemd: Booted, home: Home, name: str, place: Path) -> None:
    """An application that its user alone can read is refused for a dynamic user, and served as that user."""
    dan = Home(systemd, "/home/dan")
    dan.write_handler("app", "one")
    systemd.run("sh", "-c", "chown -R daemon:daemon /home/dan && chmod 700 /home/dan /home/dan/app")
    words = ("tcp", "127.0.0.1:0", "--name", name, "--write", UNITS)
    (refused,) = dan.srvctl_unit("app", *words, "telling:Tell")
    assert "cannot read '/home/dan/app': it has mode 0700 and belongs to daemon; " in refused
    assert refused.endswith(" or add --user daemon")
    assert not Path(f"{systemd.root}{UNITS}/{name}.service").exists()
    said = dan.srvctl_unit("app", *words, "--user", "daemon", "telling:Tell")
    service = systemd.service(name, place / "log")
    start(systemd, said)
    port = service.port

    def connect() -> socket.socket:
        return socket.create_connection(("127.0.0.1", port), PATIENCE)

    first = told(connect)
    assert (first["edition"], first["uid"]) == ("one", pwd.getpwnam("daemon").pw_uid)
    assert first["homes"] == {"ann": ["venv", "versions"], "dan": ["app"]}
    dan.write_handler("app", "two")
    reload_to("two", service, connect)
    stop(service)


def test_a_program_in_a_closed_home_lives(systemd: Booted, home: Home, name: str, place: Path) -> None:
    """By a relative name; a changed program answers without a reload."""
    program = home.place / "app" / "hello"
    program.write_text("#!/bin/sh\necho one\n")
    program.chmod(0o755)
    said = home.srvctl_unit("app", "tcp", "127.0.0.1:0", "--name", name, "--write", UNITS, "--", "./hello")
    service = systemd.service(name, place / "log")
    start(systemd, said)
    for edition in ("one", "two"):
        program.write_text(f"#!/bin/sh\necho {edition}\n")
        with socket.create_connection(("127.0.0.1", service.port), PATIENCE) as client:
            assert receive_all(client) == f"{edition}\n".encode()
    service.do("reload")
    wait_until(lambda: " reloaded" in service.log, "end of the reload")
    stop(service)


def test_a_service_writes_in_a_home_where_it_must_alone(systemd: Booted, home: Home, name: str, place: Path) -> None:
    """The directory of its file is writable inside of its working directory, which is not."""
    (systemd.root / "home/eve/app/out").mkdir(parents=True)
    systemd.run("sh", "-c", "chown -R daemon:daemon /home/eve && chmod -R 700 /home/eve")
    eve = Home(systemd, "/home/eve")
    options = ("--set", "file=out/lines", "--user", "daemon", "--name", name, "--write", UNITS)
    said = eve.srvctl_unit("app", "tcp", "127.0.0.1:0", *options, "append")
    service = systemd.service(name, place / "log")
    start(systemd, said)
    with socket.create_connection(("127.0.0.1", service.port), PATIENCE) as client:
        client.sendall(b"a line\n")
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == b""
    assert (eve.place / "app/out/lines").read_bytes().endswith(b"a line\n")
    stop(service)
