"""The table of states and events: what it allows, that nothing else is, and that its drawing agrees."""

from __future__ import annotations

import re

import pytest

from srvctl.runtime import lifecycle
from srvctl.runtime.lifecycle import TRANSITIONS, Event, Lifecycle, LifecycleError, State

# The whole table once more, by hand: rows are states, "." is an event that has no place.
TABLE = """
              bind   serve    drain     hurry     rest   stop     fail
    new       bound  serving  draining  .         .      stopped  failed
    bound     .      serving  draining  .         .      stopped  failed
    serving   .      .        draining  .         bound  stopped  failed
    draining  .      .        draining  draining  bound  stopped  failed
    stopped   .      .        .         .         .      stopped  .
    failed    .      .        .         .         .      .        .
"""
_HEAD, *_ROWS = (line.split() for line in TABLE.strip().splitlines())
CELLS = [
    (State(state), Event(event), None if after == "." else State(after))
    for state, *cells in _ROWS
    for event, after in zip(_HEAD, cells, strict=True)
]


def test_the_table_has_every_state_and_event():
    """No state and no event is missing from these tests."""
    assert len(CELLS) == len(State) * len(Event)
    assert {(state, event) for state, event, _ in CELLS} == {(state, event) for state in State for event in Event}


@pytest.mark.parametrize(("state", "event", "after"), CELLS, ids=[f"{s.value}-{e.value}" for s, e, _ in CELLS])
def test_an_event_leads_where_the_table_says_or_raises_and_changes_nothing(state, event, after):
    """Each of the 42 pairs of a state and an event has one outcome."""
    life = Lifecycle()
    life.state = state
    assert life.allows(event) == (after is not None)
    if after is None:
        with pytest.raises(LifecycleError, match=f"a server that is {state.value} cannot {event.value}") as caught:
            life.on(event)
        assert caught.value.__suppress_context__, "the KeyError is not the caller's business"
        assert life.state is state
    else:
        assert life.on(event) is after
        assert life.state is after


def test_a_server_begins_as_new():
    """A life begins with NEW."""
    assert Lifecycle().state is State.NEW


def test_a_life_shows_its_state():
    """What a debugger shows names the state."""
    assert repr(Lifecycle()) == "<Lifecycle new>"


def test_each_life_is_its_own():
    """What happens to one server happens to no other."""
    one, other = Lifecycle(), Lifecycle()
    one.on(Event.BIND)
    assert other.state is State.NEW


def test_the_drawing_does_not_contradict_the_table():
    """Each arrow in the module's docstring is a row of the table."""
    drawing = lifecycle.__doc__.split("::")[1]
    above, states, below = (line for line in drawing.splitlines() if re.search(r"\bbind\b|NEW|fail", line))
    names, events = states.replace("-", " ").replace(">", " ").split(), above.split()
    assert len(names) == len(events) + 1
    for before, event, after in zip(names, events, names[1:], strict=False):
        assert TRANSITIONS[State[before], Event(event)] is State[after]
    assert below.count("+") == len(names) - 1, "each but the last has a line to FAILED"
    for name in names[:-1]:
        assert TRANSITIONS[State[name], Event.FAIL] is State.FAILED
    drawn = set(re.findall(r"\b[A-Z]{3,}\b", drawing)) & {state.name for state in State}
    assert drawn == {state.name for state in State}, "every state is in the drawing"
