"""The guard of datagram services: low ports, floods of one sender, and tables that do not grow."""

from __future__ import annotations

import pytest

from srvctl.net import datagram_guard
from srvctl.net.datagram_guard import MOST_IN_A_SECOND, DatagramGuard, longest_answer
from tests.serving.running import Clock


@pytest.mark.parametrize(
    ("sender", "allowed"),
    [
        (("192.0.2.1", 53), False),
        (("192.0.2.1", 1023), False),
        (("192.0.2.1", 1024), True),
        (("2001:db8::1", 7, 0, 0), False),
        (("2001:db8::1", 50000, 0, 0), True),
    ],
)
def test_a_port_of_a_service_is_not_answered(sender: tuple[object, ...], allowed: bool) -> None:
    """Clients have ports above them."""
    assert DatagramGuard().allows(sender) is allowed


def test_a_sender_is_answered_so_often_in_a_second() -> None:
    """Others are not concerned, and the next second is another one."""
    clock = Clock()
    guard, one, other = DatagramGuard(clock), ("192.0.2.1", 5000), ("192.0.2.1", 5001)
    assert [guard.allows(one) for _ in range(MOST_IN_A_SECOND + 2)] == [True] * MOST_IN_A_SECOND + [False] * 2
    assert guard.allows(other)
    clock.now += 1
    assert guard.allows(one)


def test_forged_senders_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are not counted any more are answered: the others must not suffer."""
    monkeypatch.setattr(datagram_guard, "_MOST_SENDERS", 10)
    guard = DatagramGuard(Clock())
    assert all(guard.allows(("192.0.2.1", 2000 + n)) for n in range(1000))
    assert len(guard._counts) == 10
    for _ in range(MOST_IN_A_SECOND - 1):
        assert guard.allows(("192.0.2.1", 2000))
    assert not guard.allows(("192.0.2.1", 2000))


def test_an_answer_is_three_times_its_request_at_most() -> None:
    """As with QUIC, before the sender has shown that it is there."""
    assert (longest_answer(0), longest_answer(100)) == (0, 300)
