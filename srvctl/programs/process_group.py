"""The process group of a program: its process id is that of the group, too."""

from __future__ import annotations

import contextlib
import os
import signal


def has_group(group: int) -> bool:
    """Tell whether a process group has anyone left in it."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def terminate_group(group: int) -> None:
    """Ask all of a group to end."""
    _signal_group(group, signal.SIGTERM)
    _signal_group(group, signal.SIGCONT)  # one that is stopped would not hear of it


def kill_group(group: int) -> None:
    """End all of a group."""
    _signal_group(group, signal.SIGKILL)


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
