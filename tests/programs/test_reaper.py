"""How the loop of programs hears that one has ended."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading

import pytest

from srvctl.programs import reaper


def is_told(ends: int, seconds: float) -> bool:
    """Wait until a descriptor is readable, and take what it has."""
    if not select.select([ends], [], [], seconds)[0]:
        return False
    os.read(ends, 4096)
    return True


@pytest.mark.parametrize("mask", [signal.SIG_BLOCK, signal.SIG_UNBLOCK], ids=["blocked", "unblocked"])
def test_the_end_of_a_child_is_told_and_everything_is_as_before(mask: int) -> None:
    """However whoever started us left SIGCHLD, and whatever other threads there are."""
    original = signal.pthread_sigmask(mask, {signal.SIGCHLD})
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    descriptors = sorted(os.listdir("/proc/self/fd"))
    handler = signal.getsignal(signal.SIGCHLD)
    done = threading.Event()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    other = threading.Thread(target=done.wait)
    other.start()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        with contextlib.ExitStack() as opened:
            ends = reaper._open_pipe(opened)
            assert not os.get_inheritable(ends)
            for _ in range(2):
                is_told(ends, 0)  # of what other tests may have left
                pid = os.posix_spawn("/bin/true", ["true"], {})
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
                assert is_told(ends, 10)
                os.waitpid(pid, 0)
        assert sorted(os.listdir("/proc/self/fd")) == descriptors
        assert signal.getsignal(signal.SIGCHLD) == handler
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        done.set()
        other.join()
        signal.pthread_sigmask(signal.SIG_SETMASK, original)
