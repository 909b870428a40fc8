"""Datagrams that programs serve: one to a program, as its standard input, or the socket itself, as inetd's ``wait``."""

from __future__ import annotations

import os
import socket

from srvctl.net import ucspi
from srvctl.programs.output import Answer
from srvctl.programs.spawn_threads import Start
from srvctl.programs.stream import ProgramServing
from srvctl.runtime import log
from srvctl.runtime.rate_limit import Throttle
from srvctl.socketserver.accept_errors import PAUSE_SECONDS
from srvctl.socketserver.base import event_driven
from srvctl.socketserver.datagram import IP_PKTINFO, IPV6_PKTINFO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from srvctl.programs.conversation import ProgramConversation
    from srvctl.serving.kinds import DatagramServing

    class Base(ProgramServing, DatagramServing):
        """What they are mixed into."""

else:
    Base = ProgramServing

# As much of a datagram as tells it from the next one.
_PEEK_BYTES = 512


class DatagramPrograms(Base):
    """A program gets one datagram on its standard input, and what it has written when it ends is the answer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._answer_throttle = Throttle()
        super().__init__(*args, **kwargs)

    def _prepare(self, start: Start) -> None:
        conversation = start.conversation
        data, reply = conversation.request
        start.variables = ucspi.of_datagram(self.socket, _destination(reply), conversation.peer)
        # A file in memory and not a pipe: it takes the longest datagram whole, however little a pipe may hold.
        start.stdin = start.own(os.memfd_create("datagram", os.MFD_CLOEXEC))
        os.write(start.stdin, data)
        os.lseek(start.stdin, 0, os.SEEK_SET)
        conversation.output = answer = Answer(self.max_packet_size)
        start.stdout = start.own(answer.writing_end)
        if self._loop:
            answer.watch(self._loop)

    def _on_program_ended(self, conversation: ProgramConversation) -> None:
        answer = conversation.output
        answer.read()
        answer.close()
        if answer.is_too_long:
            self._drop_answer(conversation, f"it is longer than {self.max_packet_size} bytes")
        elif answer.data and conversation.status is not None and os.WIFEXITED(conversation.status):
            self._send(conversation, answer.data)

    def _send(self, conversation: ProgramConversation, data: bytes) -> None:
        if conversation.peer is None:
            self._drop_answer(conversation, "its sender has no name")
            return
        try:
            conversation.request[1].send(data, socket.MSG_DONTWAIT)
        except OSError as error:
            self._drop_answer(conversation, error.strerror or str(error))

    def _drop_answer(self, conversation: ProgramConversation, why: str) -> None:
        conversation.how = conversation.how or "failed"
        if (suppressed := self._answer_throttle.admit()) >= 0:
            log.answer_dropped(conversation.name, why, suppressed)


class WaitingPrograms(Base):
    """A program gets the socket itself when a datagram is there, and nobody else looks at it until the program ends."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._head: Any = None
        self._in_vain_throttle = Throttle()
        super().__init__(*args, **kwargs)

    @event_driven
    def get_request(self) -> tuple[Any, Any]:
        """Look at the datagram that comes first, and leave it there."""
        data, _, _, sender = self.socket.recvmsg(_PEEK_BYTES, 0, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        self._head = data, sender
        client_address = self._address_of(sender or None)
        return (b"", self._reply_socket(client_address, [])), client_address

    def _prepare(self, start: Start) -> None:
        start.stdin = start.stdout = self.socket.fileno()
        start.variables = ucspi.of_datagram(self.socket, "", None)  # not whom it is from: it may serve many

    def _on_program_ended(self, conversation: ProgramConversation) -> None:
        """Wait a little when it has left the datagram there, or it would be started as fast as the system can."""
        before = self._head
        try:
            self.get_request()
        except OSError:
            return
        if self._head == before:
            if (suppressed := self._in_vain_throttle.admit()) >= 0:
                log.program_in_vain(conversation.name, self.RequestHandlerClass.path, suppressed, PAUSE_SECONDS)
            self._pause("in vain")

    def _take_queue(self) -> None:
        """Have what is queued taken by the program that runs, or by a last one."""
        if self._source_open and not self.conversations:
            try:
                request, client_address = self.get_request()
            except OSError:
                pass
            else:
                if self._verified(request, client_address) and self._begin(request, client_address):
                    self._waiting.append((request, client_address))
        self._close_drained_source()
        self._start_waiting()


def _destination(reply: Any) -> str:
    """Return the address that a datagram was sent to, where the socket is bound to every interface; or nothing."""
    for level, kind, data in reply._ancillary:
        if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            return socket.inet_ntop(socket.AF_INET, data[4:8])
        if (level, kind) == (socket.IPPROTO_IPV6, IPV6_PKTINFO):
            return socket.inet_ntop(socket.AF_INET6, data[:16])
    return ""
