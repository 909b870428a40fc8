"""Drain: the stop in its order, and that it ends."""

from __future__ import annotations

import errno

from srvctl.serving.conversation import CutState, Outcome
from srvctl.serving.deadlines import CUT_GRACE_SECONDS
from srvctl.socketserver.accept_errors import PAUSE_SECONDS
from tests.serving.running import conversation


def begin(made, seconds=30.0, takes_backlog=True):
    """Begin a stop."""
    made.drain.begin(made.loop, seconds, takes_backlog=takes_backlog)
    made.loop.pass_()


def test_with_nothing_to_do_it_is_done_at_once(parts):
    """And the socket is closed."""
    made = parts()
    begin(made)
    assert made.loop.stopping
    assert made.source.is_closed


def test_what_was_queued_is_served_before_it_is_over(parts):
    """When the last has ended, the loop stops."""
    queued = conversation(1)
    made = parts(queued)
    begin(made)
    assert made.executor.running == [queued]
    assert made.source.is_closed
    assert not made.loop.stopping
    made.closing.end(queued)
    made.loop.pass_()
    assert made.loop.stopping


def test_the_queue_of_somebody_elses_socket_is_left(parts):
    """For who serves it next."""
    made = parts(conversation())
    begin(made, takes_backlog=False)
    assert not made.executor.running
    assert made.loop.stopping


def test_a_backlog_is_accepted_when_there_are_descriptors_again(parts):
    """Nobody who waits in it is lost."""
    late = conversation()
    made = parts(OSError(errno.EMFILE, "none"), late)
    begin(made)
    assert not made.source.is_closed
    made.loop.pass_(PAUSE_SECONDS)
    assert made.executor.running == [late]


def test_the_deadline_cuts_who_runs_and_who_waits_then_gives_up(parts):
    """Each with the outcome that the exit status is made of."""
    runs, waits = conversation(1), conversation(2)
    made = parts()
    given_up = []
    made.drain.on_give_up = lambda: given_up.append(made.counters.figures()["cut"])
    for each in (runs, waits):
        made.table[id(each)] = each
    made.acceptor.pending.append(waits)
    made.executor.limit = 0
    made.acceptor.pause_when_full()
    begin(made, seconds=5)
    made.loop.pass_(4.9)
    assert runs.cut is CutState.NOT_CUT
    made.loop.pass_(0.1)
    assert (runs.cut, runs.outcome, waits.outcome) == (CutState.CUT, Outcome.CUT, Outcome.CUT)
    assert waits.connection.calls[-1] == "close"
    assert not given_up
    made.loop.pass_(CUT_GRACE_SECONDS)
    assert set(made.executor.kills) == {runs}
    assert given_up == [2]


def test_asked_to_hurry_the_deadline_is_now(parts):
    """However long it was."""
    runs = conversation()
    made = parts()
    made.table[id(runs)] = runs
    begin(made)
    made.drain.stop_now()
    made.loop.pass_()
    assert runs.cut is CutState.CUT
    made.closing.end(runs)
    made.loop.pass_()
    assert made.loop.stopping


def test_a_connection_that_is_being_closed_is_waited_for(parts, monkeypatch):
    """Its peer may not have read the whole reply."""
    made = parts()
    monkeypatch.setattr(made.closing, "is_idle", lambda: False)
    begin(made)
    assert not made.loop.stopping
