"""Deadlines: a conversation that lasts too long is cut, and killed if it does not take the hint."""

from __future__ import annotations

import socket

from srvctl.serving.conversation import RECEIVED_AT, SENT_AT, CutState, Outcome
from srvctl.serving.deadlines import CUT_GRACE_SECONDS, SWEEP_SECONDS
from tests.serving.running import conversation


def enter(made, number=0):
    """Enter a conversation as the acceptor does."""
    entered = conversation(number)
    made.table[id(entered)] = entered
    if made.deadlines.is_active:
        made.deadlines.expect()
    return entered


def test_without_a_limit_no_timer_runs(parts):
    """Whoever comes."""
    made = parts()
    enter(made)
    assert not made.deadlines.is_active
    assert not made.loop.timers


def test_one_that_lasts_too_long_is_cut_and_then_killed(parts):
    """Its outcome is the option's name."""
    made = parts(max_duration=5.0)
    late = enter(made)
    made.loop.pass_(4.9)
    assert late.cut is CutState.NOT_CUT
    made.loop.pass_(0.1 + SWEEP_SECONDS)
    assert (made.executor.cuts, late.outcome, late.cut) == ([late], Outcome.MAX_DURATION, CutState.CUT)
    assert ("shutdown", socket.SHUT_RDWR) in late.connection.calls
    assert not made.executor.kills
    made.loop.pass_(CUT_GRACE_SECONDS + SWEEP_SECONDS)
    assert (made.executor.kills, late.cut) == ([late], CutState.KILLED)
    made.loop.pass_(60)
    assert (len(made.executor.cuts), len(made.executor.kills)) == (1, 1)


def test_what_comes_or_goes_puts_idleness_off(parts, clock):
    """Either way."""
    made = parts(idle_timeout=5.0)
    lively = enter(made)
    for index in (RECEIVED_AT, SENT_AT):
        made.loop.pass_(4)
        lively.meter[index] = int(clock.now * 1e9)
    made.loop.pass_(4.9)
    assert lively.cut is CutState.NOT_CUT
    made.loop.pass_(0.2)
    assert lively.outcome is Outcome.IDLE


def test_many_are_looked_at_together(parts):
    """One timer for all of them."""
    made = parts(max_duration=5.0)
    for number in range(100):
        enter(made, number)
    assert len(made.loop.timers) == 1


def test_during_a_stop_a_quiet_connection_is_half_closed_once(parts):
    """Its handler may still answer."""
    made = parts()
    quiet = enter(made)
    made.deadlines.hold_idle_to(1.0)
    made.loop.pass_(1 + SWEEP_SECONDS)
    made.loop.pass_(10)
    assert quiet.connection.calls == [("shutdown", socket.SHUT_RD)]
    assert quiet.cut is CutState.NOT_CUT
