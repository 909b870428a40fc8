"""Datagrams that programs serve: one to a program, as its standard input, or the socket itself, as inetd's ``wait``."""

from __future__ import annotations

import contextlib
import os
import socket

from srvctl.net import ucspi
from srvctl.net.datagram_guard import longest_answer
from srvctl.programs.output import DatagramReply
from srvctl.programs.stdio import Stdio
from srvctl.runtime import log
from srvctl.runtime.rate_limit import RateLimiter
from srvctl.serving.acceptor import PauseReason
from srvctl.serving.conversation import Outcome
from srvctl.serving.datagram import DatagramConversation, DatagramSource
from srvctl.socketserver.accept_errors import PAUSE_SECONDS
from srvctl.socketserver.datagram import IP_PKTINFO, IPV6_PKTINFO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from srvctl.programs.conversation import ProgramConversation
    from srvctl.programs.spawn_threads import SpawnRequest
    from srvctl.serving.acceptor import Acceptor
    from srvctl.serving.server import Server

# As much of a datagram as tells it from the next one.
_PEEK_BYTES = 512


class DatagramStdio(Stdio):
    """A program gets one datagram on its standard input, and what it has written when it ends is the answer."""

    source: DatagramSource

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._is_guarded = server.is_guarded
        self._dropped_rate = RateLimiter()

    def _add_input_and_output(self, request: SpawnRequest) -> None:
        conversation: Any = request.conversation
        request.variables = ucspi.of_datagram(self.source.socket, _destination(conversation), conversation.peer)
        # A file in memory and not a pipe: it takes the longest datagram whole, however little a pipe may hold.
        request.stdin = request.own(os.memfd_create("datagram", os.MFD_CLOEXEC))
        os.write(request.stdin, conversation.data)
        os.lseek(request.stdin, 0, os.SEEK_SET)
        conversation.output = reply = DatagramReply(self._longest_answer(conversation))
        request.stdout = request.own(reply.writing_end)
        if self._loop:
            reply.watch(self._loop)

    def _longest_answer(self, conversation: Any) -> int:
        longest = self.source.max_packet_size
        return min(longest, longest_answer(len(conversation.data))) if self._is_guarded else longest

    def on_ended(self, conversation: ProgramConversation) -> None:
        reply = conversation.output
        if reply is None:
            return
        reply.read()
        reply.close()
        if reply.is_too_long:
            self._drop_reply(conversation, f"it is longer than {reply.limit} bytes")
        elif reply.data and conversation.status is not None and os.WIFEXITED(conversation.status):
            self._send(conversation, reply.data)

    def _send(self, conversation: Any, data: bytes) -> None:
        if conversation.peer is None:
            self._drop_reply(conversation, "its sender has no name")
            return
        try:
            conversation.send(data, socket.MSG_DONTWAIT)
        except OSError as error:
            self._drop_reply(conversation, error.strerror or str(error))

    def _drop_reply(self, conversation: ProgramConversation, why: str) -> None:
        conversation.outcome = conversation.outcome or Outcome.FAILED
        if (suppressed := self._dropped_rate.allow()) is not None:
            log.answer_dropped(conversation.name, why, suppressed)


class WaitingSource(DatagramSource):
    """A datagram socket that is given to a program: the datagram that comes first is looked at, and left there."""

    head: Any = None  # what was seen there last

    def accept(self) -> DatagramConversation:
        """Return a conversation for the datagram that comes first. Raises BlockingIOError when there is none."""
        data, _, _, sender = self.socket.recvmsg(_PEEK_BYTES, 0, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        self.head = data, sender
        return self.conversation_with(b"", self.peer_of(sender))


class SocketStdio(Stdio):
    """A program gets the socket itself when a datagram is there, and nobody else looks at it until the program ends."""

    source: WaitingSource

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._left_rate = RateLimiter()

    def _add_input_and_output(self, request: SpawnRequest) -> None:
        request.stdin = request.stdout = self.source.fileno()
        # Not whom the datagram is from: the program may serve many.
        request.variables = ucspi.of_datagram(self.source.socket, "", None)

    def on_ended(self, conversation: ProgramConversation) -> None:
        """Wait a little when it has left the datagram there, or it would be started as fast as the system can."""
        before = self.source.head
        try:
            self.source.accept()
        except OSError:
            return
        if self.source.head == before:
            if (suppressed := self._left_rate.allow()) is not None:
                log.program_in_vain(conversation.name, self.program.path, suppressed, PAUSE_SECONDS)
            self._acceptor.back_off(PauseReason.LEFT_DATAGRAM)

    def accept_backlog(self, acceptor: Acceptor) -> bool:
        """Have what is queued taken by the program that runs, or by a last one."""
        if not acceptor.is_busy():
            with contextlib.suppress(OSError):
                acceptor.accept_next()
        return True


def _destination(conversation: Any) -> str:
    """Return the address that a datagram was sent to, where the socket is bound to every interface; or nothing."""
    for level, kind, data in conversation.ancillary:
        if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            return socket.inet_ntop(socket.AF_INET, data[4:8])
        if (level, kind) == (socket.IPPROTO_IPV6, IPV6_PKTINFO):
            return socket.inet_ntop(socket.AF_INET6, data[:16])
    return ""
