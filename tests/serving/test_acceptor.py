"""The acceptor: what it accepts, when it pauses, and that nothing that was accepted is lost."""

from __future__ import annotations

import errno

import pytest

from srvctl.serving.acceptor import PauseReason
from srvctl.serving.admission import Verdict
from srvctl.serving.shared_room import SharedRoom
from srvctl.socketserver.accept_errors import PAUSE_SECONDS, RequestDeferred
from tests.serving.running import conversation

READABLE = 1


def readable(parts) -> None:
    """Have the loop find the source readable."""
    parts.loop.watched[parts.source.fileno()](READABLE)


def test_what_is_there_is_entered_and_run_in_its_order(parts):
    """All of it in one go."""
    first, second = conversation(1), conversation(2)
    made = parts(first, second)
    readable(made)
    assert made.executor.running == made.table.snapshot() == [first, second]
    assert made.acceptor.accepted == 2


def test_at_the_limit_newcomers_stay_in_the_queue(parts):
    """Until one has ended."""
    given = [conversation(number) for number in range(3)]
    made = parts(*given, limit=2)
    readable(made)
    assert made.executor.running == given[:2]
    assert not made.loop.watched
    made.executor.running.pop()
    made.acceptor.on_room()
    readable(made)
    assert made.executor.running[-1] is given[2]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_without_resources_it_backs_off_and_tries_again(parts, number):
    """After a moment, by itself."""
    late = conversation()
    made = parts(OSError(number, "none"), late)
    readable(made)
    assert made.acceptor.is_paused
    assert not made.loop.watched
    made.loop.pass_(PAUSE_SECONDS)
    assert not made.acceptor.is_paused
    readable(made)
    assert made.executor.running == [late]


def test_a_lost_connection_is_counted_and_costs_nobody_else(parts):
    """accept(2) passes errors of the connection on."""
    other = conversation()
    made = parts(OSError(errno.ECONNABORTED, "gone"), other)
    readable(made)
    assert made.executor.running == [other]
    assert made.counters.figures()["lost"] == 1


def test_a_socket_that_is_unusable_ends_the_server(parts):
    """For the caller of serve_forever."""
    made = parts(OSError(errno.EBADF, "bad"))
    with pytest.raises(OSError, match="bad"):
        readable(made)


def test_what_could_not_be_started_waits_and_is_first_then(parts):
    """Others that came later are behind it."""
    first, second = conversation(1), conversation(2)
    made = parts(first, second)
    made.executor.error = RequestDeferred()
    readable(made)
    assert list(made.acceptor.pending) == [first]
    assert made.table.snapshot() == [first]
    made.executor.error = None
    made.loop.pass_(PAUSE_SECONDS)
    readable(made)
    assert made.executor.running == [first, second]


def test_each_reason_to_pause_is_ended_by_itself(parts):
    """It accepts again when the last of them is gone."""
    made = parts(conversation())
    made.acceptor.pause(PauseReason.FULL)
    made.acceptor.pause(PauseReason.TRIAL)
    made.acceptor.resume(PauseReason.FULL)
    assert not made.loop.watched
    made.acceptor.resume(PauseReason.TRIAL)
    assert made.loop.watched


def test_once_stopped_it_accepts_nothing_but_the_backlog(parts):
    """That is started as room comes."""
    given = [conversation(number) for number in range(3)]
    made = parts(*given, limit=2)
    made.acceptor.stop()
    assert not made.loop.watched
    assert made.acceptor.accept_backlog()
    made.acceptor.start_pending()
    assert made.table.snapshot() == given
    made.acceptor.resume(PauseReason.FULL)
    assert not made.loop.watched


def test_a_backlog_without_descriptors_is_not_all(parts):
    """The caller comes back for the rest."""
    made = parts(conversation(), OSError(errno.EMFILE, "none"))
    assert not made.acceptor.accept_backlog()
    assert len(made.acceptor.pending) == 1


def test_who_is_refused_is_closed_and_never_run(parts):
    """And is in no table."""

    class Refusing:
        def admit(self, conversation):
            return Verdict.LIMIT

    refused = conversation()
    made = parts(refused, admission=Refusing())
    readable(made)
    assert not made.executor.running
    assert not made.table
    assert refused.connection.calls == ["close"]
    assert made.counters.figures()["refused"] == 1


class FakeLimit:
    """Room for `free` conversations of all workers."""

    is_on = True

    def __init__(self, free):
        self.free = free

    def fileno(self):
        return 9

    def acquire(self, conversation):
        if not conversation.is_counted_by_all:
            conversation.is_counted_by_all = self.free > 0
            self.free -= conversation.is_counted_by_all
        return conversation.is_counted_by_all


@pytest.fixture
def shared(parts):
    """Parts with a limit that is shared: one place is free."""

    def make(*given):
        made = parts(*given)
        made.limit = FakeLimit(1)
        made.room = made.acceptor.room = SharedRoom(made.limit, made.acceptor)
        made.room.open(made.loop)
        return made

    return make


def test_when_all_workers_are_full_nothing_more_is_accepted_until_one_has_room(shared):
    """What was accepted meanwhile waits, and is the first."""
    served, waits, queued = (conversation(number) for number in range(3))
    made = shared(served, waits, queued)
    readable(made)
    assert made.executor.running == [served]
    assert list(made.acceptor.pending) == [waits]
    assert made.source.fileno() not in made.loop.watched
    made.loop.watched[9](READABLE)  # it was another worker that took the room
    assert made.executor.running == [served]
    made.limit.free = 2
    made.loop.watched[9](READABLE)
    assert made.executor.running == [served, waits]
    assert 9 not in made.loop.watched
    readable(made)
    assert made.executor.running == [served, waits, queued]


def test_when_each_worker_counts_for_itself_again_what_waits_is_served(shared):
    """Nobody gives room any more."""
    made = shared(*(conversation(number) for number in range(3)))
    readable(made)
    made.limit.is_on = False
    made.room.look()
    made.room.look()
    readable(made)
    assert len(made.executor.running) == 3


def test_a_thread_that_finds_no_room_has_the_loop_pause(shared):
    """And the other threads are sent away at once."""
    made = shared(*(conversation(number) for number in range(2)))
    made.executor.is_elsewhere = lambda: True
    assert made.acceptor.accept_one()
    assert not made.acceptor.accept_one()
    assert made.source.fileno() not in made.loop.watched
    assert 9 not in made.loop.watched
    made.loop.pass_()
    assert 9 in made.loop.watched
    assert made.acceptor.is_paused
