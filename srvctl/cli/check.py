"""``srvctl check``: what the same words would start, also while a server with the same words runs."""

from __future__ import annotations

import os

import click

from srvctl.cli import parser
from srvctl.config.option import Option
from srvctl.config.settings import Settings
from srvctl.errors import LaunchError
from srvctl.net.address import Family
from srvctl.supervisor.launch import check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

CHECK_OPTIONS: tuple[Option[Any], ...] = (
    Option(
        "--strict",
        False,
        "Fail if a server with the same words has the address.",
        group="Check",
        flag=True,
        has_variable=False,
    ),
)


def print_check(settings: Settings, strict: bool) -> None:
    """Print what `settings` would start. Raises `LaunchError`."""
    for name, value in check(settings, None if strict else lambda: running(settings)).items():
        click.echo(f"{name:<8} {value}")


def running(settings: Settings) -> int:
    """Return the process id of a server that was started in this directory for the same `settings`, or 0. Best effort.

    Environment variables with options count as they are here.
    """
    wanted, here = settings.to_wire(), os.getcwd()
    for entry in os.listdir("/proc"):
        if not entry.isdecimal() or int(entry) == os.getpid():
            continue
        try:
            if os.readlink(f"/proc/{entry}/cwd") != here:
                continue
            with open(f"/proc/{entry}/cmdline", "rb") as cmdline:
                words = _words_of_server(os.fsdecode(cmdline.read()).split("\0")[:-1])
            if words and parser.parse(words[0], words[1:])[0].to_wire() == wanted:
                return int(entry)
        except (OSError, LaunchError):  # it has ended, or is somebody else's; or its words have become wrong
            continue
    return 0


def _words_of_server(cmdline: Sequence[str]) -> Sequence[str]:
    """Return what was typed behind ``srvctl``, if `cmdline` is that of a server: run as a script, or with ``-m``."""
    families = {family.word for family in Family}
    for index, word in enumerate(cmdline[:-1]):
        if os.path.basename(word) == "srvctl":
            return cmdline[index + 1 :] if cmdline[index + 1] in families else ()
    return ()
