"""Counters and the table: many threads, nothing lost, nothing counted twice."""

from __future__ import annotations

import threading

import pytest

from srvctl.serving.conversation import METER_ITEMS, RECEIVED, SENT, Outcome
from srvctl.serving.counters import Counters
from srvctl.serving.shared_counters import SharedCounters
from srvctl.serving.table import ConversationTable
from tests.serving.running import PATIENCE, conversation


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_has_its_counter(outcome):
    """And bytes are added up."""
    counters = Counters()
    meter = [0] * METER_ITEMS
    meter[RECEIVED], meter[SENT] = 3, 5
    counters.record(outcome, meter)
    figures = counters.figures()
    assert (figures.pop("received"), figures.pop("sent"), counters.ended) == (3, 5, 1)
    assert sum(figures.values()) == 1


def test_ends_in_many_threads_are_all_counted():
    """However many are noted before somebody counts."""
    counters = Counters()
    meter = [1] + [0] * (METER_ITEMS - 1)

    def end():
        for _ in range(1000):
            counters.record(Outcome.DONE, meter)

    threads = [threading.Thread(target=end) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert (counters.ended, counters.figures()["served"], counters.figures()["received"]) == (4000, 4000, 4000)


def test_a_table_within_a_limit_is_never_larger():
    """Many threads want the last place."""
    table, entered = ConversationTable(), []

    def enter():
        for number in range(100):
            each = conversation(number)
            if table.enter_within(50, each):
                entered.append(each)

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(table) == len(entered) == 50


def test_shared_meters_are_as_many_as_were_asked_for_and_come_back_empty():
    """The flag is beside them."""
    shared = SharedCounters(2)
    first, second = shared.acquire(), shared.acquire()
    assert shared.acquire() is None
    first[SENT], second[SENT] = 7, 8
    assert shared.at(shared.slot_of(first))[SENT] == 7
    shared.release(first)
    assert shared.acquire()[SENT] == 0
    assert not shared.draining
    shared.set_draining()
    assert shared.draining
    assert shared.slot_of([0] * METER_ITEMS) == -1
