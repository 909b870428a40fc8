"""Signal dispositions of forked children, and what a child that serves ignores."""

from __future__ import annotations

import subprocess
import sys

import pytest

BEGIN = "import os, signal\nfrom srvctl.runtime import signals\n"


def run(script: str) -> str:
    """Return what a script prints; in a process of its own, since handlers are a process's."""
    done = subprocess.run([sys.executable, "-c", BEGIN + script], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def in_child(code: str) -> str:
    return f"if os.fork() == 0:\n    {code}\n    os._exit(0)\nos.wait()\n"


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGTTIN", "SIGTTOU"])
def test_a_forked_child_has_the_default_action(number: str) -> None:
    """Of what this process handles; so has the child's child."""
    say = f"print(signal.getsignal(signal.{number}).name, flush=True)"
    handle = "signals.handle((number, signals.do_nothing) for number in signals.FOR_SUPERVISOR)\n"
    assert run(handle + in_child(say)) == "SIG_DFL"
    nested = f"os.fork() == 0 and ({say}, os._exit(0)); os.wait()"
    assert run(handle + in_child(nested)) == "SIG_DFL"


def test_a_child_that_serves_ignores_what_is_for_the_supervisor() -> None:
    """Also what came between the fork and its first step; and its own children do not."""
    script = (
        "signals.handle((number, signals.do_nothing) for number in signals.FOR_SUPERVISOR)\n"
        "signals.block()\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    signals.unblock_in_child()\n"
        "    for number in signals.FOR_SUPERVISOR: os.kill(os.getpid(), number)\n"
        "    if os.fork() == 0:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        os._exit(0)\n"
        "    os._exit(10 + os.wait()[1])\n"
        "signals.unblock()\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), signal.pthread_sigmask(signal.SIG_BLOCK, ()))\n"
    )
    assert run(script) == "25 set()"


def test_exit_statuses_are_kept_where_sigchld_was_ignored() -> None:
    """By whoever started this process."""
    script = (
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "signals.restore_default_of_sigchld()\n"
        "pid = os.fork()\n"
        "pid or os._exit(7)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    assert run(script) == "7"
