"""Ends of processes in words: names of signals, and what waitpid(2) returned."""

from __future__ import annotations

import os
import signal


def signal_name(number: int) -> str:
    """Return the name of a signal: ``SIGSEGV``, or as ``kill -l`` of bash has the real-time signals, ``SIGRTMIN+6``."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"


def describe(status: int) -> str:
    """Return how a process ended, by the status of waitpid(2): ``exit status 3``, ``SIGSEGV``."""
    code = os.waitstatus_to_exitcode(status)
    return signal_name(-code) if code < 0 else f"exit status {code}"
