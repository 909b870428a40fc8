"""``python -m srvctl``, and the command that is installed."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Run the command line and exit with its status."""
    # Until the server takes the signals, Ctrl-C ends it as it ends any program, without a traceback of the imports.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _fill_standard_descriptors()
    from srvctl.cli import run

    sys.exit(run())


def _fill_standard_descriptors() -> None:
    """Open /dev/null where one of the first three is closed, or a socket would become what the log is written to."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free one, `fd`; the worker's too


if __name__ == "__main__":
    main()
