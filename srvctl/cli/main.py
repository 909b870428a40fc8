"""Entry point of the command line: a family starts a server, every other word is a command of click's.

Errors end here, as one line and an exit status.
"""

from __future__ import annotations

import os
import sys

from srvctl.cli import banner, output, parser
from srvctl.cli.errors import report
from srvctl.errors import ExitStatus, LaunchError
from srvctl.net.address import Family
from srvctl.supervisor.launch import launch
from srvctl.supervisor.signals import StoppedBeforeReady, kill_self

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from srvctl.supervisor.worker_process import WorkerProcess

# click's name for the variable by which a shell asks for completions.
_COMPLETION_VARIABLE = "_SRVCTL_COMPLETE"


def run(argv: Sequence[str] | None = None, prestarted: WorkerProcess | None = None) -> int:
    """Run the command line; return its exit status. A signal that comes before the server is ready ends the process.

    `prestarted` is a worker for the server, if the words ask for one; it stays the caller's if they do not.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        if _is_server(words):
            settings, _ = parser.parse(words[0], words[1:])
            return int(launch(settings, prestarted, banner.show))
        from srvctl.cli import commands  # with click

        return commands.run(words)
    except LaunchError as error:
        return report(error)
    except StoppedBeforeReady as stopped:
        kill_self(stopped.number)
        return ExitStatus.SOFTWARE
    except BrokenPipeError:
        if not output.discard_unread():
            raise
        return ExitStatus.OK


def _is_server(words: Sequence[str]) -> bool:
    """Tell whether `words` start a server. Help and completion of the same words are click's."""
    if not words or _COMPLETION_VARIABLE in os.environ or parser.wants_help(words):
        return False
    return any(family.word == words[0] for family in Family)
