"""The states of a worker, drawn once more."""

from __future__ import annotations

import pytest

from srvctl.runtime.lifecycle import LifecycleError
from srvctl.supervisor.worker_state import WorkerEvent, WorkerState, next_state

# A column for each event: configure, ready, serve, drain, drained, exit. A dot: the event has no place in the state.
TABLE = """
    started    loading  .      .        .         .        exited
    loading    .        ready  .        .         .        exited
    ready      .        .      serving  .         .        exited
    serving    .        .      .        draining  drained  exited
    draining   .        .      .        draining  drained  exited
    drained    .        .      .        drained   .        exited
    exited     .        .      .        .         .        .
"""
CELLS = [
    (WorkerState(row.split()[0]), event, word)
    for row in TABLE.strip().splitlines()
    for event, word in zip(WorkerEvent, row.split()[1:], strict=True)
]


@pytest.mark.parametrize(("state", "event", "word"), CELLS)
def test_the_table(state: WorkerState, event: WorkerEvent, word: str) -> None:
    """Each event in each state."""
    if word == ".":
        with pytest.raises(LifecycleError, match=f"a worker that is {state.value} cannot {event.value}"):
            next_state(state, event)
    else:
        assert next_state(state, event) is WorkerState(word)


def test_the_table_has_every_state() -> None:
    """None was forgotten above."""
    assert {state for state, _, _ in CELLS} == set(WorkerState)
