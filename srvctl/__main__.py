"""``python -m srvctl``, and the command that is installed."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the command line and exit with its status."""
    # Until the server takes the signals, Ctrl-C ends it as it ends any program, without a traceback of the imports.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from srvctl.cli import run

    sys.exit(run())


if __name__ == "__main__":
    main()
