"""Requests that are served by programs: each is started without a copy of this process, followed, and ended as a group.

`StreamPrograms` is here; what becomes of datagrams is in `srvctl.programs.datagram`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from time import monotonic

from srvctl.net import ucspi
from srvctl.programs.conversation import ProgramConversation
from srvctl.programs.output import Lines
from srvctl.programs.process_group import has_group
from srvctl.programs.spawn_threads import Start
from srvctl.programs.start import ProgramStarts
from srvctl.runtime import log
from srvctl.serving.conversation import RECEIVED, SENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from srvctl.runtime.loop import Loop
    from srvctl.serving.conversation import Meter

# A line of a program's standard error is late by this at most, and a program that lives no longer costs less.
_WATCH_AFTER_SECONDS = 0.02

_PEEK = int(socket.MSG_PEEK | socket.MSG_DONTWAIT)


class ProgramServing(ProgramStarts):
    """Serve each request by a program of its own, `RequestHandlerClass`, that leads a process group.

    A conversation ends when its program does. What that left running in its group is nobody's business any more, as
    with ``tcpserver``, unless the conversation was cut (`ProgramGroups`).
    """

    address_family: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._unwatched: list[Lines] = []
        # Unique also across restarts and workers: nothing else has this process id at this time.
        self._id_prefix = f"{time.time_ns() // 1_000_000:x}-{os.getpid():x}-"
        self._id_count = 0
        self._logs_lines = self.settings.program_stderr == "log" and log.wants(log.NOTICE)
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        super().__init__(*args, **kwargs)

    # --- what a program gets

    def _conversation_with(self, request: Any, client_address: Any) -> ProgramConversation:
        self._id_count += 1
        meter = self._meter_of(request, client_address)
        return ProgramConversation(request, client_address, meter, f"{self._id_prefix}{self._id_count:x}")

    def _meter_of(self, request: Any, client_address: Any) -> Meter:
        return super()._conversation_with(request, client_address).meter

    def _add_standard_error(self, start: Start) -> None:
        conversation, where = start.conversation, self.settings.program_stderr
        start.variables[ucspi.CONNECTION_ID] = conversation.id
        if self._logs_lines:
            conversation.lines = lines = Lines(conversation.name)
            start.stderr = start.own(lines.writing_end)
            if self._loop:
                self._watch_lines_soon(lines, self._loop)
        elif where == "socket":
            start.stderr = start.stdout
        else:
            start.stderr = 2 if where == "inherit" else self._null

    def _watch_lines_soon(self, lines: Lines, loop: Loop) -> None:
        """Watch them if the program is still there a little later: many have ended by then, and have been read."""
        self._unwatched.append(lines)
        if len(self._unwatched) == 1:
            loop.call_at(monotonic() + _WATCH_AFTER_SECONDS, lambda: self._watch_lines(loop))

    def _watch_lines(self, loop: Loop) -> None:
        unwatched, self._unwatched = self._unwatched, []
        for lines in unwatched:
            with contextlib.suppress(OSError):  # no memory for it: they are read when the program ends
                lines.watch(loop)

    # --- the end of a program

    def _child_ended(self, pid: int, status: int) -> None:
        request = self._by_pid.pop(pid)
        self._engaged.discard(id(request))
        conversation = self.conversations[id(request)]
        conversation.status = status
        if conversation.lines:
            conversation.lines.read()  # who else holds it may go on writing
        self._on_program_ended(conversation)
        has_others = has_group(pid)
        if conversation.cut_at and has_others:
            self._dying.add(pid)
        if has_others and not conversation.cut_at:
            self._leave(request)
        else:
            self.shutdown_request(request)

    def _on_program_ended(self, conversation: ProgramConversation) -> None:
        """Called between the end of a program and that of its conversation."""

    def _leave(self, request: Any) -> None:
        """End a conversation and leave its connection to what the program left running."""
        self._end(request)
        self.close_request(request)

    def _end(self, request: Any) -> None:
        if conversation := self.conversations.get(id(request)):
            conversation.how = conversation.how or _how(conversation.status)
            conversation.count()
        super()._end(request)

    def _log_end(self, conversation: ProgramConversation, how: str) -> None:  # type: ignore[override]
        """Log the end of a conversation, and of one that was cut too: how its program ended is news."""
        meter = conversation.meter
        counted = {"received": meter[RECEIVED], "sent": meter[SENT]} if conversation.is_counted else {}
        ending, is_datagram = _ending(conversation.status), conversation.connection is None
        log.program_ended(conversation.name, conversation.age, counted, how, ending, conversation.id, is_datagram)


class StreamPrograms(ProgramServing):
    """A program gets the connection as its standard input and output."""

    socket: socket.socket

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._family = int(self.address_family)
        self._local = ucspi.fixed_local_address(self.socket) if self.is_own else None
        self._shares_local = self._local is not None and self._family == socket.AF_INET
        if self._shares_local:
            shared = ucspi.of_ipv4_local("TCP", self._local)
            self.RequestHandlerClass = self.RequestHandlerClass.besides(shared)

    def _meter_of(self, request: Any, client_address: Any) -> Meter:
        meter: Meter = request.meter
        return meter

    def _prepare(self, start: Start) -> None:
        connection = start.conversation.request
        start.stdin = start.stdout = connection.fileno()
        peer = start.conversation.peer
        if self._shares_local:
            start.variables = ucspi.of_ipv4_peer("TCP", peer)
        else:
            start.variables = ucspi.of_connection(connection, self._family, self._local, peer)

    def shutdown_request(self, request: Any) -> None:
        try:  # noqa: SIM105 - each program ends here
            request.recv(1, _PEEK)  # which notes the end
        except OSError:
            pass
        super().shutdown_request(request)


def program_bases(is_datagram: bool, waits: bool, kind: type) -> list[type]:
    """Return what to mix in, before and with `kind`, to have requests served by programs."""
    if not is_datagram:
        return [StreamPrograms, kind]
    from srvctl.programs.datagram import DatagramPrograms, WaitingPrograms

    return [WaitingPrograms if waits else DatagramPrograms, kind]


def _how(status: int | None) -> str:
    """Return in a word how a conversation ended whose program ended with a wait status, or never ran."""
    if status is None:
        return "failed"
    code = os.waitstatus_to_exitcode(status)
    return _signal_name(-code) if code < 0 else "failed" if code else "done"


def _ending(status: int | None) -> dict[str, object]:
    """Return the exit status or the signal of a program that ended with a wait status, if it ever ran."""
    if status is None:
        return {}
    code = os.waitstatus_to_exitcode(status)
    return {"signal": _signal_name(-code)} if code < 0 else {"status": code}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of the real-time signals
        return f"SIG{number}"
