"""A server of its own process for a test, and clients that are connected to it."""

from __future__ import annotations

import contextlib
import importlib.machinery
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from typing import Protocol

from srvctl.net.address import Family, InternetAddress, UnixAddress, VsockAddress, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

    from srvctl.net.address import Address

    Handler = Callable[[Any, Any, Any], object]

# Seconds after which a test fails that waits for an answer, for a start or for an end.
PATIENCE = 20.0

_READ_BYTES = 65536
_SIGNALS_WHILE_STOPPING = (signal.SIGQUIT, signal.SIGKILL)
# By the domain of a family: loopback, and a port that the kernel chooses. VMADDR_CID_LOCAL is 1, vsock(7).
_ANYWHERE = {"tcp6": "[::1]:0", "udp6": "[::1]:0", "vsock": "1:0"}
# What would steer the server that a test starts, were it inherited.
_PRIVATE = ("SRVCTL_", "LISTEN_", "NOTIFY_SOCKET", "WATCHDOG_", "JOURNAL_STREAM")


class Serve(Protocol):
    """The type of the fixture ``serve``: start a server as `Server` does, and return a client of it."""

    def __call__(self, handler: Handler | str, family: str = "tcp", *options: str) -> Client: ...


class ServerFailed(Exception):
    """A server did not start, did not answer, or did not end in time; the text has its log."""


class Server:
    """``srvctl FAMILY ADDRESS OPTIONS HANDLER``, which serves when the constructor returns.

    `handler` is a class or function at the top level of a module, or whatever srvctl(1) takes for one, such as
    ``"echo"``. The address is one on this machine with a free port, or a path of its own. `address` is what the server
    announces, and `log` what it has logged so far. A context manager, which stops it at once. Blocks, `PATIENCE`
    seconds at most; raises `ServerFailed`.
    """

    def __init__(self, handler: Handler | str, family: str = "tcp", *options: str) -> None:
        kind = Family.named(family)
        self._directory = tempfile.mkdtemp(prefix="srvctl-")  # short: the path of a unix socket has 107 bytes
        place = f"{self._directory}/socket" if kind.domain == "unix" else _ANYWHERE.get(family, "127.0.0.1:0")
        words = [family, place, "--announce", *options, handler if isinstance(handler, str) else target_of(handler)]
        self._log_path = f"{self._directory}/log"
        with open(self._log_path, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "srvctl", *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=_environment(),
            )
        try:
            self.address = self._read_announcement()
        except BaseException:
            self.close()
            raise

    def _read_announcement(self) -> str:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        line = self.process.stdout.readline().decode() if ready else ""
        if not line:
            raise ServerFailed(f"cannot start srvctl; its log:\n{self.log}")
        return line.rstrip("\n")

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, frames: TracebackType | None) -> None:
        self.close()

    @property
    def log(self) -> str:
        """What it has logged so far."""
        with open(self._log_path, errors="backslashreplace") as log:
            return log.read()

    def connect(self) -> Client:
        """Return a client that is connected, and the caller's to close."""
        return Client(self)

    def stop(self) -> int:
        """Stop it in order, with SIGTERM; return its exit status. Blocks; raises `ServerFailed`."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise ServerFailed(f"cannot stop srvctl in {PATIENCE:.0f} s; its log:\n{self.log}") from None

    def close(self) -> None:
        """End it at once, if it has not ended, and remove what is its own."""
        for number in _SIGNALS_WHILE_STOPPING:
            if self.process.poll() is None:
                self.process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(PATIENCE)
        if self.process.stdout:
            self.process.stdout.close()
        shutil.rmtree(self._directory, ignore_errors=True)


class Client(socket.socket):
    """A socket that is connected to `server`, datagram ones too; each of its calls waits `PATIENCE` seconds at most."""

    def __init__(self, server: Server) -> None:
        self.server = server
        word, _, rest = server.address.partition(":")
        address = parse(Family.named(word), rest.removeprefix("//"))
        family, sockaddr = _sockaddr(address)
        super().__init__(family, Family.named(word).type or socket.SOCK_STREAM)
        try:
            self.settimeout(PATIENCE)
            if family == socket.AF_UNIX and self.type == socket.SOCK_DGRAM:
                self.bind("")  # a name of the kernel's choice, to be answered at: unix(7), autobind
            self.connect(sockaddr)
        except BaseException:
            self.close()
            raise

    def exchange(self, data: bytes = b"") -> bytes:
        """Send `data`, and return all that comes until the server closes the connection; of datagrams, one answer.

        On a connection the client's side is shut down behind `data`. Blocks; raises `ServerFailed` when nothing comes.
        """
        if self.type == socket.SOCK_DGRAM:
            self.send(data)
            try:
                return self.recv(_READ_BYTES)
            except TimeoutError:
                raise self._no_answer() from None
        return self._exchange_stream(memoryview(data))

    def _exchange_stream(self, unsent: memoryview) -> bytes:
        """Send and receive at the same time: a server that answers before it has read everything would block both."""
        received = bytearray()
        poll = select.poll()
        poll.register(self, select.POLLIN | select.POLLOUT)
        while events := poll.poll(PATIENCE * 1000):
            if events[0][1] & select.POLLOUT:
                try:
                    unsent = unsent[self.send(unsent, socket.MSG_DONTWAIT) :] if unsent else unsent
                except BlockingIOError:
                    continue
                except ConnectionError:  # it does not read any more, and may have answered all the same
                    unsent = unsent[:0]
                if not unsent:
                    with contextlib.suppress(OSError):
                        self.shutdown(socket.SHUT_WR)
                    poll.modify(self, select.POLLIN)
            if events[0][1] & ~select.POLLOUT:
                piece = self.recv(_READ_BYTES)
                if not piece:
                    return bytes(received)
                received += piece
        raise self._no_answer()

    def _no_answer(self) -> ServerFailed:
        return ServerFailed(f"nothing came in {PATIENCE:.0f} s; the server's log:\n{self.server.log}")


def target_of(handler: Handler) -> str:
    """Return `handler` as srvctl(1) names it. Raises ValueError for one that another process cannot import."""
    module, name = sys.modules.get(getattr(handler, "__module__", "")), getattr(handler, "__qualname__", "")
    if module is None or getattr(module, name, None) is not handler:
        raise ValueError(f"cannot serve {handler!r}: the server's process imports it; expected one of a module's names")
    top = module.__name__.partition(".")[0]
    if importlib.machinery.PathFinder.find_spec(top) is not None or not module.__file__:
        return f"{module.__name__}:{name}"
    return f"{module.__file__}:{name}"  # as pytest imports a test with --import-mode=importlib


def _environment() -> dict[str, str]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith(_PRIVATE)}
    return variables | {"PYTHONPATH": os.pathsep.join(os.path.abspath(entry) for entry in sys.path)}


def _sockaddr(address: Address) -> tuple[socket.AddressFamily, Any]:
    if isinstance(address, UnixAddress):
        return socket.AF_UNIX, address.sockaddr
    if isinstance(address, VsockAddress):
        return socket.AF_VSOCK, (address.cid, address.port)
    assert isinstance(address, InternetAddress)
    return (socket.AF_INET6 if ":" in address.host else socket.AF_INET), (address.host, address.port)
