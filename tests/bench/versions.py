"""Versions of what a run compares: srvctl and its commit, modules from PyPI, packages of Debian."""

from __future__ import annotations

import contextlib
import importlib.metadata
import subprocess
from collections.abc import Iterable

from srvctl import __version__

from . import needs
from .servers import ROOT


def described(names: Iterable[str]) -> str:
    """Return srvctl's version and those of `names`, as `needs` has them, in a line; unknown ones have none."""
    own = f"srvctl {__version__}"
    if commit := _said("git", "-C", str(ROOT), "describe", "--always", "--dirty"):
        own += f" (commit {commit})"
    found = {need: _version(need) for need in sorted(set(names)) if not needs.missing([need])}
    return ", ".join([own, *(f"{need} {version}".rstrip() for need, version in found.items())])


def _version(need: str) -> str:
    """Return the version of a module, or of the Debian package that a tool is in; nothing when it is unknown."""
    if need in needs.MODULES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(need)
        return ""
    return _said("dpkg-query", "--show", "--showformat=${Version}", needs.TOOLS[need].split()[-1])


def _said(*words: str) -> str:
    """Return what a program wrote, or nothing when it failed or is not installed."""
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
