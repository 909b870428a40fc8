"""Answers that unix peers do not read, on real sockets: a peer has as much of the room as is left free."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from srvctl.serving.admission import Verdict
from srvctl.serving.conversation import LOST, METER_ITEMS, SENT
from srvctl.serving.datagram import DatagramConversation
from srvctl.serving.unread_answers import UnreadAnswers, charge_of
from tests.serving.running import Clock


class Service:
    """A socket whose answers are charged to it, its peers, and the check."""

    def __init__(self, place: Path) -> None:
        self.clock = Clock()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(place / "service"))
        self.socket.setblocking(False)
        self.check = UnreadAnswers(self.socket, self.clock)
        self._place = place
        self._new_conversation = DatagramConversation.class_for(self.socket)
        self.peers: dict[str, socket.socket] = {}

    def peer(self, name: str) -> socket.socket:
        """Return a connected peer: how many answers it may leave unread is bounded by the room alone."""
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        made.bind(str(self._place / name))
        made.connect(str(self._place / "service"))
        made.settimeout(10)
        self.peers[name] = made
        return made

    def begin(self, name: str | None) -> tuple[DatagramConversation, Verdict]:
        """Return a conversation with a peer and whether it is admitted."""
        conversation = self._new_conversation()
        conversation.data, conversation.meter = b"", [0] * METER_ITEMS
        conversation.peer = name and str(self._place / name)
        return conversation, self.check(conversation)

    def ask(self, name: str, length: int = 5) -> Verdict:
        """Answer a peer with so many bytes, if it is admitted."""
        conversation, verdict = self.begin(name)
        if verdict is Verdict.ADMITTED:
            conversation.send(b"x" * length)
        self.check.on_end(conversation)
        return verdict

    def fill(self, name: str, length: int = 5) -> int:
        """Answer a peer until it is refused; return how often it was not."""
        count = 0
        while self.ask(name, length) is Verdict.ADMITTED:
            count += 1
        return count


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service with two peers."""
    made = Service(tmp_path)
    made.peer("bad")
    made.peer("good")
    yield made
    for sock in (made.socket, *made.peers.values()):
        sock.close()


@pytest.mark.parametrize("length", [0, 5, 500, 5000, 20_000])
def test_a_peer_that_reads_nothing_gets_half_of_the_room(service: Service, length: int) -> None:
    """And the others go on, as long as they read, however much they ask."""
    room = service.socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    charged = service.fill("bad", length) * charge_of(length)
    assert room * 0.4 < charged < room * 0.65
    for _ in range(1000):
        assert service.ask("good") is Verdict.ADMITTED
        assert service.peers["good"].recv(9) == b"xxxxx"
    assert service.ask("bad", length) is Verdict.UNREAD


def test_many_that_read_nothing_leave_room_for_one_more(service: Service) -> None:
    """Each has as much as is left free."""
    counts = []
    for number in range(4):
        service.peer(f"bad{number}")
        counts.append(service.fill(f"bad{number}"))
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] > 1
    assert service.ask("good") is Verdict.ADMITTED


def test_a_peer_that_has_read_is_answered_again(service: Service) -> None:
    """At once."""
    for _ in range(service.fill("bad")):
        service.peers["bad"].recv(9)
    assert service.ask("bad") is Verdict.ADMITTED


def test_a_peer_that_is_gone_leaves_nothing(service: Service) -> None:
    """The kernel lets go of what it has not read."""
    service.fill("bad")
    service.peers.pop("bad").close()
    assert service.ask("good") is Verdict.ADMITTED
    assert service.fill("good") > 100


def test_room_is_reserved_for_answers_that_are_on_their_way(service: Service) -> None:
    """Or slow handlers would fill it all at once, for a peer that asks many times meanwhile."""
    room = service.socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    begun = []
    while True:
        conversation, verdict = service.begin("bad")
        begun.append(conversation)
        if verdict is not Verdict.ADMITTED:
            break
    assert verdict is Verdict.UNREAD
    assert len(begun) * charge_of(0) < room * 0.65
    assert service.ask("good") is Verdict.ADMITTED
    for conversation in begun:
        service.check.on_end(conversation)
        service.check.on_end(conversation)  # once more is nothing
    assert service.ask("bad") is Verdict.ADMITTED


def test_a_peer_that_cannot_be_answered_is_let_in(service: Service) -> None:
    """It has no name."""
    conversation, verdict = service.begin(None)
    assert verdict is Verdict.ADMITTED
    service.check.on_end(conversation)


def test_a_peer_that_had_no_room_is_tried_once_in_a_second(service: Service) -> None:
    """And that one does not wait; one that takes something is answered as before."""

    def lose(conversation: DatagramConversation) -> None:
        conversation.meter[LOST] += 1
        service.check.on_end(conversation)

    lose(service.begin("bad")[0])
    assert service.ask("bad") is Verdict.UNREAD
    assert service.ask("good") is Verdict.ADMITTED
    service.clock.now += 1
    trial, verdict = service.begin("bad")
    assert (verdict, trial.waits_for_room) == (Verdict.ADMITTED, False)
    assert service.ask("bad") is Verdict.UNREAD
    lose(trial)
    assert service.ask("bad") is Verdict.UNREAD
    service.clock.now += 1
    assert service.ask("bad") is Verdict.ADMITTED
    assert service.ask("bad") is Verdict.ADMITTED


def test_an_answer_waits_a_moment_for_a_peer_that_reads(service: Service) -> None:
    """A queue of ten is short for one that asks more at a time."""
    slow = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    slow.bind(str(service._place / "slow"))
    service.peers["slow"] = slow
    conversation, _ = service.begin("slow")
    conversation.waits_for_room = False
    with pytest.raises(BlockingIOError):
        while True:  # until its queue is full, net.unix.max_dgram_qlen, or there is no room at all
            conversation.send(b"xxxxx")
    assert conversation.meter[LOST] == 1
    conversation, _ = service.begin("slow")
    sock = conversation._sock

    class Reading:
        """The service's socket, whose peer reads before the second try."""

        tries = 0

        def sendto(self, *arguments: object) -> int:
            self.tries += 1
            if self.tries == 2:
                slow.recv(9)
            return sock.sendto(*arguments)  # type: ignore[arg-type]

    conversation._sock = Reading()  # type: ignore[assignment]
    assert conversation.send(b"xxxxx") == 5
    assert (conversation.meter[SENT], conversation.meter[LOST]) == (5, 0)
