"""The end of a conversation: from the table to the close, once."""

from __future__ import annotations

import socket

import pytest

from srvctl.runtime import log
from srvctl.serving.conversation import HANDLER_OUTCOME, RECEIVED, RESET, CutState, Outcome
from tests.serving.running import conversation


@pytest.fixture
def ended(monkeypatch):
    """What the log was told of ends."""
    lines = []
    monkeypatch.setattr(log, "wants", lambda priority: True)
    monkeypatch.setattr(log, "conversation_ended", lambda *told: lines.append(told))
    return lines


def test_a_conversation_ends_once(parts, ended):
    """It leaves the table, is counted, logged and closed; a second end is none."""
    made = parts()
    over = conversation(4)
    over.meter[RECEIVED] = 70
    made.table[id(over)] = over
    for _ in range(2):
        made.closing.end(over)
    assert not made.table
    assert (made.counters.ended, made.counters.figures()["received"]) == (1, 70)
    assert over.connection.calls == ["close"]
    assert [(line[0], line[4]) for line in ended] == [("192.0.2.1:4", "done")]


def test_how_the_handler_ended_is_on_the_meter_and_a_cut_goes_before_it(parts, ended):
    """Who ended it against its will is the cause; a cut was logged when it was made."""
    made = parts()
    reset, cut = conversation(1), conversation(2)
    for each in (reset, cut):
        each.meter[HANDLER_OUTCOME] = RESET
        made.table[id(each)] = each
    cut.outcome = Outcome.CUT
    made.closing.end(reset)
    made.closing.end(cut)
    assert [line[4] for line in ended] == ["reset"]
    assert (made.counters.figures()["reset"], made.counters.figures()["cut"]) == (1, 1)


def test_a_peer_that_still_sends_is_waited_for(parts):
    """A close with unread input would reset what it has not read."""
    made = parts()
    ours, peer = socket.socketpair()
    over = conversation()
    over.replace(ours)
    made.table[id(over)] = over
    closed = []
    made.closing.on_closed = lambda: closed.append(ours.fileno())
    made.closing.end(over)
    assert peer.recv(1) == b""
    assert not made.closing.is_idle()
    assert ours.fileno() in made.loop.watched
    peer.close()
    made.loop.watched[ours.fileno()](1)
    assert made.closing.is_idle()
    assert closed[-1] == -1


def test_the_one_that_has_waited_longest_makes_room(parts):
    """What holds a descriptor is bounded; each has the end of the reply already."""
    made = parts()
    made.closing.resize(2)
    peers, closed = [], []
    for number in range(4):
        ours, peer = socket.socketpair()
        over = conversation(number)
        over.replace(ours)
        made.table[id(over)] = over
        made.closing.end(over)
        peers.append(peer)
        closed.append(ours)
    assert [ours.fileno() == -1 for ours in closed] == [True, True, False, False]
    assert [ours.fileno() in made.loop.watched for ours in closed] == [False, False, True, True]
    for peer in peers:
        assert peer.recv(1) == b""
        peer.close()
    for ours in closed[2:]:
        made.loop.watched[ours.fileno()](1)
    assert made.closing.is_idle()


@pytest.mark.parametrize("how", ["half-closed", "cut"])
def test_what_comes_after_we_have_ended_it_is_a_reset(parts, monkeypatch, how):
    """And counted as cut: the kernel has acknowledged it, and nobody has read it."""
    cuts = []
    monkeypatch.setattr(log, "conversation_cut", lambda *told: cuts.append(told))
    made = parts()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    over = conversation()
    over.replace(ours)
    made.table[id(over)] = over
    if how == "cut":
        over.cut = CutState.CUT
    else:
        over.half_closed = True
        ours.shutdown(socket.SHUT_RD)
    peer.sendall(b"late")
    ours.recv(4, socket.MSG_PEEK | socket.MSG_WAITALL)
    made.closing.end(over)
    assert made.closing.is_idle()
    with peer, pytest.raises(ConnectionResetError):
        peer.recv(1)
    assert (len(cuts), made.counters.figures()["cut"], made.counters.figures()["served"]) == (1, 1, 0)


def test_who_says_nothing_more_is_not_reset(parts):
    """The conversation was ended in order."""
    made = parts()
    ours, peer = socket.socketpair()
    over = conversation()
    over.replace(ours)
    over.half_closed = True
    made.table[id(over)] = over
    ours.sendall(b"bye")
    made.closing.end(over)
    with peer:
        assert (peer.recv(9), peer.recv(9)) == (b"bye", b"")
    assert made.counters.figures()["served"] == 1


def test_without_lingering_others_go_on_with_the_connection(parts):
    """Only the copy of this process is closed."""
    made = parts()
    ours, peer = socket.socketpair()
    theirs = ours.dup()
    over = conversation()
    over.replace(ours)
    made.table[id(over)] = over
    made.closing.end(over, lingers=False)
    theirs.sendall(b"later")
    assert peer.recv(10) == b"later"
    for end in (theirs, peer):
        end.close()


def test_who_counts_ends_is_told_and_who_waits_for_the_last(parts):
    """In this order."""
    made = parts()
    told = []
    made.closing.on_end, made.closing.on_closed = lambda: told.append("end"), lambda: told.append("closed")
    over = conversation()
    made.table[id(over)] = over
    made.closing.end(over)
    assert told == ["end", "closed"]
