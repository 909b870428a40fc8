"""What a program gets as its standard input, output and error, and what becomes of what it wrote.

`ConnectionStdio` is here, and what all kinds have in common; datagrams are in `srvctl.programs.datagram`.
"""

from __future__ import annotations

import contextlib
import os
import socket
from time import monotonic

from srvctl.net import ucspi
from srvctl.programs.output import StderrLines
from srvctl.runtime import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvctl.programs.conversation import ProgramConversation
    from srvctl.programs.program import Program
    from srvctl.programs.spawn_threads import SpawnRequest
    from srvctl.runtime.loop import Loop
    from srvctl.serving.acceptor import Acceptor
    from srvctl.serving.server import Server

# A line of a program's standard error is late by this at most, and a program that lives no longer costs less.
_WATCH_AFTER_SECONDS = 0.02

_PEEK = int(socket.MSG_PEEK | socket.MSG_DONTWAIT)


class Stdio:
    """What all programs of a server get. `program` is the program; for the loop's thread."""

    def __init__(self, server: Server) -> None:
        self.program: Program = server.RequestHandlerClass  # type: ignore[assignment]
        self.source = server.source
        self._loop: Loop | None = None
        self._acceptor: Acceptor
        self._stderr = server.settings.program_stderr
        self._logs_lines = self._stderr == "log" and log.wants(log.NOTICE)
        self._unwatched: list[StderrLines] = []
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)

    def open(self, loop: Loop, acceptor: Acceptor) -> None:
        """Have `loop` read what programs write."""
        self._loop, self._acceptor = loop, acceptor

    def prepare(self, request: SpawnRequest) -> None:
        """Give a program its descriptors and the variables of its conversation. Raises OSError and ValueError."""
        self._add_input_and_output(request)
        self._add_stderr(request)
        descriptors = request.stdin, request.stdout, request.stderr
        request.spawning = self.program.prepare(descriptors, request.variables)

    def _add_input_and_output(self, request: SpawnRequest) -> None:
        """Give a program its standard input and output, and its variables. To be supplied; raises OSError."""
        raise NotImplementedError

    def _add_stderr(self, request: SpawnRequest) -> None:
        """Give it its standard error. Raises OSError."""
        conversation = request.conversation
        request.variables[ucspi.CONNECTION_ID] = conversation.id
        if self._logs_lines:
            conversation.lines = lines = StderrLines(conversation.name)
            request.stderr = request.own(lines.writing_end)
            self._watch_lines_soon(lines)
        elif self._stderr == "socket":
            request.stderr = request.stdout
        else:
            request.stderr = 2 if self._stderr == "inherit" else self._null

    def _watch_lines_soon(self, lines: StderrLines) -> None:
        """Watch them if the program is still there a little later: many have ended by then, and have been read."""
        self._unwatched.append(lines)
        if len(self._unwatched) == 1 and self._loop:
            self._loop.call_at(monotonic() + _WATCH_AFTER_SECONDS, self._watch_lines)

    def _watch_lines(self) -> None:
        unwatched, self._unwatched = self._unwatched, []
        for lines in unwatched:
            with contextlib.suppress(OSError):  # no memory for it: they are read when the program ends
                if self._loop:
                    lines.watch(self._loop)

    def on_ended(self, conversation: ProgramConversation) -> None:
        """Called between the end of a program and that of its conversation."""

    def before_close(self, conversation: ProgramConversation) -> None:
        """Called before a connection is closed that nobody else has any more."""

    def accept_backlog(self, acceptor: Acceptor) -> bool:
        """Have everything accepted that the kernel has queued; return whether that was possible."""
        return acceptor.accept_backlog()


class ConnectionStdio(Stdio):
    """A program gets the connection as its standard input and output."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._family = self.source.family
        self._local = ucspi.fixed_local_address(self.source.socket) if self.source.is_own else None
        self._shares_local = self._local is not None and self._family == socket.AF_INET
        if self._shares_local:
            self.program = self.program.besides(ucspi.of_ipv4_local("TCP", self._local))

    def _add_input_and_output(self, request: SpawnRequest) -> None:
        connection, peer = request.conversation.connection, request.conversation.peer
        request.stdin = request.stdout = connection.fileno()
        if self._shares_local:
            request.variables = ucspi.of_ipv4_peer("TCP", peer)
        else:
            request.variables = ucspi.of_connection(connection, self._family, self._local, peer)

    def before_close(self, conversation: ProgramConversation) -> None:
        try:  # noqa: SIM105 - each program ends here
            conversation.connection.recv(1, _PEEK)  # which notes the end
        except OSError:
            pass
