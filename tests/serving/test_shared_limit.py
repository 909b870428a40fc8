"""The limit that all workers share: never more than it, and nothing lost but by a kill at the wrong moment."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator

import pytest

from srvctl.serving.admission import Verdict
from srvctl.serving.shared_limit import SharedLimit, SharedLimitCheck
from srvctl.serving.table import ConversationTable
from srvctl.supervisor.places import Places, make_taken
from tests.serving.running import conversation

Worker = tuple[SharedLimit, int]


@pytest.fixture
def places() -> Iterator[Places]:
    """Three places."""
    made = Places.make(3)
    yield made
    os.close(made.fd)


@pytest.fixture
def worker(places: Places) -> Iterator[Callable[[], Worker]]:
    """Make the limit of a worker, and its ledger."""
    made = []

    def make() -> Worker:
        ledger = make_taken()
        made.append((SharedLimit(os.dup(places.fd), os.dup(ledger)), ledger))
        return made[-1]

    yield make
    for limit, ledger in made:
        os.close(ledger)
        for close in limit.closers:
            close()
            close()  # once more is nothing


def left(fd: int) -> int:
    """Return what an eventfd has, which proc(5) shows in hexadecimal."""
    with open(f"/proc/self/fdinfo/{fd}") as info:
        return int(next(line for line in info if line.startswith("eventfd-count:")).split()[1], 16)


def test_workers_together_serve_no_more_than_the_limit(worker, places) -> None:  # type: ignore[no-untyped-def]
    """Whichever of them it is that has room."""
    (one, ledger), (other, _) = worker(), worker()
    served = [conversation(number) for number in range(4)]
    assert [one.acquire(served[0]), one.acquire(served[1]), other.acquire(served[2])] == [True, True, True]
    assert not other.acquire(served[3])
    assert (left(places.fd), left(ledger)) == (0, 2)
    one.give_back(served[0])
    assert other.acquire(served[3])


def test_a_conversation_is_counted_once_and_given_back_once(worker, places) -> None:  # type: ignore[no-untyped-def]
    """Also one that was never counted."""
    limit, ledger = worker()
    served = conversation()
    assert [limit.acquire(served) for _ in range(3)] == [True] * 3
    assert left(places.fd) == 2
    for _ in range(3):
        limit.give_back(served)
    limit.give_back(conversation())
    assert (left(places.fd), left(ledger)) == (3, 0)


def test_what_runs_when_it_is_turned_on_is_counted(worker, places) -> None:  # type: ignore[no-untyped-def]
    """And what ends when it is off again is given back."""
    limit, _ = worker()
    table = ConversationTable()
    runs = conversation()
    table[id(runs)] = runs
    assert (limit.is_on, limit.is_used) == (False, False)
    limit.turn_on(table)
    assert (limit.is_on, left(places.fd)) == (True, 2)
    limit.turn_off()
    assert (limit.is_on, limit.is_used) == (False, True)
    limit.give_back(runs)
    assert left(places.fd) == 3


def test_the_places_of_a_worker_that_died_are_given_back(worker, places) -> None:  # type: ignore[no-untyped-def]
    """All of them, by its supervisor, which closes the ledger."""
    limit, ledger = worker()
    for number in range(3):
        limit.acquire(conversation(number))
    places.give_back(os.dup(ledger))
    assert left(places.fd) == 3
    places.give_back(os.dup(ledger))
    assert left(places.fd) == 3


def test_a_kill_between_the_two_steps_lets_nobody_in(worker, places, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Whether a place is taken or given back."""

    class Killed(BaseException):
        """The end of the process."""

    def kill(*arguments: int) -> None:
        raise Killed

    limit, ledger = worker()
    served = conversation()
    limit.acquire(served)
    for step in (lambda: limit.acquire(conversation(1)), lambda: limit.give_back(served)):
        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(os, "eventfd_write", kill)
            step()
    places.give_back(os.dup(ledger))
    assert left(places.fd) <= 3


def test_threads_count_as_one_after_the_other(worker, places) -> None:  # type: ignore[no-untyped-def]
    """A thousand times each."""
    limit, ledger = worker()

    def serve() -> None:
        for number in range(1000):
            served = conversation(number)
            if limit.acquire(served):
                assert left(ledger) <= 3
                limit.give_back(served)

    threads = [threading.Thread(target=serve) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (left(places.fd), left(ledger)) == (3, 0)


def test_the_check_refuses_when_there_is_no_room_and_nobody_once_a_stop_has_begun(worker) -> None:  # type: ignore[no-untyped-def]
    """Who is in the queue then is served."""
    limit, _ = worker()
    check = SharedLimitCheck(limit)
    assert [check(conversation(number)) for number in range(3)] == [Verdict.ADMITTED] * 3
    assert check(conversation(3)) is Verdict.LIMIT
    check.is_lifted = True
    assert check(conversation(4)) is Verdict.ADMITTED
