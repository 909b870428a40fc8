"""Ends of processes in words."""

from __future__ import annotations

import signal

import pytest

from srvctl.runtime.exit_status import describe, signal_name


@pytest.mark.parametrize("number", range(1, signal.NSIG))
def test_every_signal_has_a_name(number: int) -> None:
    """Those of real time too, for which the standard library has none but the first and the last."""
    assert signal_name(number).startswith("SIG")


def test_a_real_time_signal_is_named_as_by_a_shell() -> None:
    """By its distance from the first one."""
    assert signal_name(signal.SIGRTMIN) == "SIGRTMIN"
    assert signal_name(signal.SIGRTMIN + 6) == "SIGRTMIN+6"


@pytest.mark.parametrize(("status", "text"), [(0, "exit status 0"), (3 << 8, "exit status 3"), (11 | 128, "SIGSEGV")])
def test_the_end_of_a_process(status: int, text: str) -> None:
    """Its exit status, or the signal; whether there is a core file makes no difference."""
    assert describe(status) == text
