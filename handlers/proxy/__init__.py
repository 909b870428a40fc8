"""Forward connections and datagrams to another address, and the answers back."""

from __future__ import annotations

import socket
from time import monotonic

from srvctl import BaseRequestHandler, DatagramRequestHandler
from srvctl.errors import UsageError

from .relay import relay
from .upstream import Upstream, UpstreamError, UpstreamReset, abort, close_with_reset, tune

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from srvctl.loader.builtin import SandboxNeeds

MAX_DATAGRAM_BYTES = 65535


def upstream_of(to: str, is_datagram: bool, **seconds: float) -> Upstream:
    """Return the upstream of ``--set to=``, checked against the kind of the server's socket. Raises UsageError."""
    upstream = Upstream.parse(to)
    if (upstream.family.type == socket.SOCK_DGRAM) != is_datagram:
        kinds = ("datagrams", "a stream") if is_datagram else ("a stream", "datagrams")
        raise UsageError("set", f"to={to!r}", "the server's socket is for {}, and that address for {}".format(*kinds))
    for name, value in seconds.items():
        if not 0 < value < float("inf"):
            raise UsageError("set", f"{name}={value:g}", "expected a number of seconds above 0")
    return upstream


class _ProxyOptions:
    """The option of both handlers, and the class method that ``srvctl unit`` calls."""

    to: str = ""

    @classmethod
    def needs(cls) -> SandboxNeeds:
        """Return what ``srvctl unit`` must leave accessible. Raises `UsageError`."""
        return Upstream.parse(cls.to).needs()


class Stream(_ProxyOptions, BaseRequestHandler):
    """Connect to ``to`` for each connection, and relay until both sides have ended."""

    connect_timeout: float = 10.0
    splice: bool = True

    @classmethod
    def service_start(cls, server: Any) -> Upstream:
        """Check the options, and return the upstream. Raises `UsageError`."""
        return upstream_of(cls.to, False, connect_timeout=cls.connect_timeout)

    def handle(self) -> None:
        target = self.server.state
        if target.family.type != self.request.type:
            raise UpstreamError(f"cannot relay to {target.text}: the boundaries of records would be lost")
        upstream = target.connect(self.connect_timeout)
        try:
            tune(upstream)
            tune(self.request)
            relay(self.request, upstream, self.splice)
        except OSError as error:
            # A reset, and not an end of file: the other side must not mistake what it has received for everything.
            close_with_reset(upstream)
            if isinstance(error, UpstreamReset):
                abort(self.request)
            raise
        finally:
            upstream.close()


class Datagram(_ProxyOptions, DatagramRequestHandler):
    """Send the datagram to ``to`` from a new socket, and its answers back to the sender.

    The socket is connected, so it receives only datagrams from ``to``, and only answers to this datagram.
    """

    timeout: float = 5.0
    answers: int = 1

    @classmethod
    def service_start(cls, server: Any) -> Upstream:
        """Check the options, and return the upstream. Raises `UsageError`."""
        return upstream_of(cls.to, True, timeout=cls.timeout)

    def handle(self) -> None:
        target = self.server.state
        with target.connect(self.timeout) as upstream:
            for answer in self._ask(upstream, target.text):
                self._send_back(answer)

    def _ask(self, upstream: socket.socket, name: str) -> Iterator[bytes]:
        deadline = monotonic() + self.timeout
        answered = 0
        try:
            upstream.send(self.packet)
            while answered < self.answers:
                upstream.settimeout(max(0.001, deadline - monotonic()))
                answer = upstream.recv(MAX_DATAGRAM_BYTES)
                answered += 1
                yield answer
        except TimeoutError:
            if not answered:  # otherwise these were all the answers
                raise TimeoutError(f"{name} has not answered within {self.timeout:g} seconds") from None
        except OSError as error:
            raise UpstreamError(f"cannot send to {name}: {error.strerror}") from error

    def _send_back(self, answer: bytes) -> None:
        if not self.client_address:
            return  # a unix socket without a name cannot be answered
        try:
            self.socket.sendto(answer, self.client_address)
        except OSError as error:
            raise ConnectionResetError(f"cannot answer the sender: {error.strerror}") from error
