"""A real systemd, booted as the first process of namespaces of its own, for units that are under test."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from pathlib import Path
from types import TracebackType

from tests.launched import PATIENCE, children_of, clean_environment, run, wait_until

# What default dependencies of a unit refer to, systemd.special(7), with nothing in it.
TARGETS = ("sysinit", "basic", "shutdown", "sockets", "network", "multi-user", "local-fs", "srvctl-test")

# /home is as it is, but what is written there ends with the namespace. /etc/systemd/system is empty.
_BOOT = """\
mount -t tmpfs tmpfs /run
mkdir /run/home /run/home/upper /run/home/work
mount -t overlay -o lowerdir=/home,upperdir=/run/home/upper,workdir=/run/home/work overlay /home
mount -t tmpfs -o mode=0755 tmpfs /etc/systemd/system
export container=lxc SYSTEMD_UNIT_PATH={units}:/etc/systemd/system
exec {systemd} --system --unit=srvctl-test.target --show-status=no
"""

SYSTEMD = "/lib/systemd/systemd"

# The one thing that is added to a unit: a log that a test can read.
_LOG = """\
[Service]
StandardError=append:{log}
"""


def why_not() -> str:
    """Return why no systemd can be booted here, or nothing."""
    if os.geteuid() != 0:
        return "only root can boot a systemd"
    if Path("/run/systemd/system").exists():  # sd_booted(3)
        return "a systemd runs here already, and a second one would use its control groups"
    missing = [tool for tool in ("unshare", "nsenter", "systemctl") if not shutil.which(tool)]
    if not Path(SYSTEMD).exists():
        missing.append(SYSTEMD)
    if missing:
        return f"not here: {', '.join(missing)}"
    tried = subprocess.run(["unshare", "--pid", "--mount", "--uts", "--ipc", "--fork", "true"], capture_output=True)
    return tried.stderr.decode().strip() if tried.returncode else ""


class Booted:
    """A systemd whose units are files in `place`; a context manager, at whose end nothing of it is left.

    The network is the machine's own. /run is its own: `connect` finds sockets there.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.units = place / "units"
        self.units.mkdir()
        for target in TARGETS:
            (self.units / f"{target}.target").write_text("[Unit]\nDefaultDependencies=no\n")
        (self.units / "srvctl-test.target.d").mkdir()
        (place / "boot.sh").write_text(_BOOT.format(units=self.units, systemd=SYSTEMD))
        namespaces = ["--pid", "--mount", "--mount-proc", "--uts", "--ipc"]
        with (place / "console").open("wb") as console:
            self._process = subprocess.Popen(
                ["unshare", *namespaces, "--fork", "--kill-child", "bash", str(place / "boot.sh")],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=clean_environment(),
            )
        try:
            (self.pid,) = wait_until(lambda: children_of(self._process.pid), "systemd")
            wait_until(self._is_running, "systemd that answers")
        except BaseException:
            self._kill()
            print((place / "console").read_text(errors="replace"))
            raise

    def _is_running(self) -> bool:
        return self.systemctl("is-system-running", is_checked=False).strip() in ("running", "degraded")

    def __enter__(self) -> Booted:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, frames: TracebackType | None) -> None:
        self._kill()

    def _kill(self) -> None:
        # It ignores TERM. The kernel kills it with the process that started it (--kill-child), and with it all of the
        # namespace.
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(AttributeError):  # it never came so far
            wait_until(lambda: not Path(f"/proc/{self.pid}").exists(), "end of systemd")

    def run(self, *words: str, is_checked: bool = True) -> str:
        """Run a command where this systemd is; return what it says. Fails when the command fails."""
        prefix = ["nsenter", "-t", str(self.pid), "-m", "-p", "-u", "-i"]
        done = subprocess.run([*prefix, *words], capture_output=True, text=True, timeout=3 * PATIENCE)
        if is_checked and done.returncode:
            raise AssertionError(f"{words}: {done.stdout}{done.stderr}")
        return done.stdout

    def systemctl(self, *words: str, is_checked: bool = True) -> str:
        """Run systemctl; return what it says."""
        return self.run("systemctl", *words, is_checked=is_checked)

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.systemctl("show", "--value", "-p", name, unit).strip()

    def wait_for(self, unit: str, **properties: str) -> None:
        """Wait until a unit has these properties."""

        def has_them() -> bool:
            return all(self.show(unit, name) == value for name, value in properties.items())

        wait_until(has_them, f"{properties} of {unit}")

    @property
    def root(self) -> Path:
        """Its file system, as this process can use it."""
        return Path(f"/proc/{self.pid}/root")

    def connect(self, path: str) -> socket.socket:
        """Return a client's connection to a unix socket of its file system."""
        client = socket.socket(socket.AF_UNIX)
        try:
            client.settimeout(PATIENCE)
            client.connect(f"{self.root}{path}")
        except BaseException:
            client.close()
            raise
        return client

    def install(self, name: str, cwd: Path, *words: str, more: str = "") -> Service:
        """Install the units that ``srvctl unit WORDS`` prints in `cwd`; `more` are lines for the service."""
        done = run("unit", *words[:2], "--name", name, *words[2:], "--write", str(self.units), cwd=cwd)
        assert done.returncode == 0, done.stderr
        return self.service(name, cwd / f"{name}.log", more)

    def service(self, name: str, log: Path, more: str = "") -> Service:
        """Return a service whose unit file is there, with a log at `log`; `more` are lines for its unit."""
        override = self.units / f"{name}.service.d"
        override.mkdir()
        (override / "log.conf").write_text(_LOG.format(log=log) + more)
        # systemd forgets a unit that nothing refers to when it stops, and how it ended.
        (self.units / "srvctl-test.target.d" / f"{name}.conf").write_text(f"[Unit]\nAfter={name}.service\n")
        self.systemctl("daemon-reload")
        return Service(self, f"{name}.service", log)


class Service:
    """A service that was installed in a booted systemd."""

    def __init__(self, systemd: Booted, unit: str, log: Path) -> None:
        self._systemd, self.unit, self._log = systemd, unit, log

    @property
    def log(self) -> str:
        """Its standard error so far."""
        return self._log.read_text(errors="backslashreplace") if self._log.exists() else ""

    def start(self) -> None:
        """Start it, and wait until it says READY=1."""
        self.do("start")

    def do(self, verb: str, *words: str) -> None:
        """Do what a systemctl verb does to it; fails, with its log, when that fails."""
        try:
            self._systemd.systemctl(verb, *words, self.unit)
        except AssertionError as error:
            raise AssertionError(f"{error}\nthe log of {self.unit}:\n{self.log}") from None

    def show(self, name: str) -> str:
        return self._systemd.show(self.unit, name)

    def wait_for(self, **properties: str) -> None:
        self._systemd.wait_for(self.unit, **properties)

    @property
    def port(self) -> int:
        """The port that it says it serves on, of 127.0.0.1."""
        _, _, rest = self.show("StatusText").partition("serving on tcp://127.0.0.1:")
        return int(rest.split()[0])
