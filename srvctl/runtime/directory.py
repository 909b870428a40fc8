"""The directory that srvctl was started in, by the name that the user gave it.

A shell keeps that name in PWD, with its symbolic links: ``/srv/app/current``. The kernel knows the directory that the
link led to. A reload is to follow the link as it is now.
"""

from __future__ import annotations

import contextlib
import os


def logical() -> str:
    """Return the name of the working directory as the user sees it; an empty string when the directory is gone."""
    name = os.environ.get("PWD", "")
    try:
        if os.path.isabs(name) and os.path.samestat(os.stat(name), os.stat(".")):
            return name
        return os.getcwd()
    except OSError:
        try:
            return os.getcwd()
        except OSError:
            return ""


def follow(name: str) -> None:
    """Go to the directory that `name` leads to now; stay if it cannot be entered, or is empty."""
    if name:
        with contextlib.suppress(OSError):
            os.chdir(name)
