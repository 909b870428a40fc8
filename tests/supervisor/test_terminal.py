"""The controlling terminal: that it has gone is told once, and never of one that was not there."""

from __future__ import annotations

from srvctl.supervisor.terminal import Terminal


def test_a_terminal_that_stays_has_not_gone() -> None:
    """A SIGHUP of kill(1) is a reload."""
    assert not Terminal(lambda: True).has_gone()


def test_a_terminal_that_goes_is_told_once() -> None:
    """What comes after that is not about it any more."""
    answers = iter([True, True, False])
    terminal = Terminal(lambda: next(answers))
    assert [terminal.has_gone() for _ in range(3)] == [False, True, False]


def test_without_a_terminal_there_is_none_to_go() -> None:
    """As below systemd, or after setsid(2)."""
    assert not Terminal(lambda: False, lambda fd: False).has_gone()


def test_a_terminal_that_has_gone_during_the_start_is_told() -> None:
    """Standard output still is one, which cannot be used any more."""
    assert Terminal(lambda: False, lambda fd: fd == 1).has_gone()
