"""``python -m srvctl``, and the command that is installed."""

from __future__ import annotations

import gc
import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvctl.supervisor.worker_process import WorkerProcess


def main() -> None:
    """Run the command line and exit with its status."""
    # Until the server takes the signals, Ctrl-C ends it as it ends any program, without a traceback of the imports.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _fill_standard_descriptors()
    gc.disable()  # nothing of what is imported is garbage, and to look for some takes 13 of 75 ms
    booted = _boot_worker()
    try:
        from srvctl.cli.main import run

        gc.freeze()  # or all of it would be looked at as soon as that begins again
        gc.enable()
        sys.exit(run(booted=booted))
    finally:
        if booted:
            booted.discard()


def _boot_worker() -> WorkerProcess | None:
    """Start a worker before the command line is read, where that is most likely to ask for one; or return None.

    A worker takes 38 ms of CPU until it can be told what to serve, and the command line 60, of which click is 40. Side
    by side they are one wait instead of two, where there are two processors.
    """
    from srvctl.net.address import Family
    from srvctl.supervisor import upgrade
    from srvctl.supervisor.signals import SIGNALS
    from srvctl.supervisor.worker_process import WorkerProcess

    # `fd` may be one connection, as from inetd, which is served without a worker.
    words = {family.word for family in Family if family is not Family.FD}
    if not words.intersection(sys.argv[1:2]) or upgrade.is_rehearsal() or upgrade.HANDED_OVER in os.environ:
        return None
    # One that ended this process now would leave the worker to notice by itself, a moment later. It waits until the
    # server has taken the signals and admits it.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        return WorkerProcess.boot(is_session="--" in sys.argv)
    except OSError:
        return None  # the supervisor will see it too, and says so


def _fill_standard_descriptors() -> None:
    """Open /dev/null where one of the first three is closed, or a socket would become what the log is written to."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free one, `fd`; the worker's too


if __name__ == "__main__":
    main()
