"""``python -m srvctl``, and the command that is installed."""

from __future__ import annotations

import sys


def _look_in_the_current_directory_last() -> None:
    """Undo what ``python -m`` has done: its first place to look is the current directory.

    A ``socket.py`` there would replace the standard library's. srvctl may have been found there itself: so it is last.
    """
    if __name__ == "__main__" and not sys.flags.safe_path and sys.path:
        sys.path.append(sys.path.pop(0))


_look_in_the_current_directory_last()

import gc  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvctl.supervisor.worker_process import WorkerProcess


def main() -> None:
    """Run the command line and exit with its status."""
    _refuse_other_systems()
    from srvctl.runtime import signals

    # Until the server takes the signals, Ctrl-C ends it as it ends any program, without a traceback of the imports.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signals.restore_default_of_sigchld()
    _fill_standard_descriptors()
    gc.disable()  # nothing of what is imported is garbage, and to look for some takes 13 of 75 ms
    prestarted = _prestart_worker()
    try:
        from srvctl.cli.main import run

        gc.freeze()  # or all of it would be looked at as soon as that begins again
        gc.enable()
        sys.exit(run(prestarted=prestarted))
    finally:
        if prestarted:
            prestarted.discard()


def _refuse_other_systems() -> None:
    """Exit with one line on a system other than Linux. Nothing that only Linux has is imported before."""
    if sys.platform != "linux":
        from srvctl.errors import ResourceError

        error = ResourceError("run", f"on {sys.platform!r}", "srvctl needs Linux")
        sys.stderr.write(f"srvctl: error: {error}\n")
        sys.exit(int(error.status))


def _prestart_worker() -> WorkerProcess | None:
    """Start a worker before the command line is read, if that will most likely need one; or return None.

    A worker's imports and those of the command line take about as long. Side by side they are one wait, not two, on a
    machine with two processors.
    """
    from srvctl.net.address import Family
    from srvctl.supervisor import upgrade
    from srvctl.supervisor.signals import SIGNALS
    from srvctl.supervisor.worker_process import WorkerProcess

    # `fd` may be one connection, as from inetd, which is served without a worker.
    words = {family.word for family in Family if family is not Family.FD}
    if not words.intersection(sys.argv[1:2]) or upgrade.is_preflight() or upgrade.HANDED_OVER in os.environ:
        return None
    # Blocked until the supervisor has installed its handlers: a TERM now would orphan the worker for a moment.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        return WorkerProcess.spawn(is_session="--" in sys.argv)
    except OSError:
        return None  # the supervisor will fail likewise, and reports it


def _fill_standard_descriptors() -> None:
    """Open /dev/null where one of the first three is closed, or a socket would become what the log is written to."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free one, `fd`; the worker's too


if __name__ == "__main__":
    main()
