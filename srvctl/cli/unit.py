"""``srvctl unit``: print or write the systemd units that start the same words."""

from __future__ import annotations

import os

import click

from srvctl.config.option import Option
from srvctl.config.parsers import parse_count
from srvctl.config.settings import Settings
from srvctl.errors import UsageError, from_os_error
from srvctl.unit.service import NOTIFY_RELOAD_VERSION, default_name, units

UNIT_OPTIONS: tuple[Option[object], ...] = (
    Option("--socket", False, "Print the matching .socket unit too.", group="Unit", flag=True, has_variable=False),
    Option(
        "--name",
        "",
        "Name of the units, without .service.",
        group="Unit",
        metavar="NAME",
        default_text="srvctl, the family and the handler",
        has_variable=False,
    ),
    Option(
        "--systemd-version",
        NOTIFY_RELOAD_VERSION,
        "Version of systemd that the units are for.",
        group="Unit",
        parse=parse_count,
        metavar="N",
        default_text=f"{NOTIFY_RELOAD_VERSION} or newer",
        has_variable=False,
    ),
    Option(
        "--write",
        "",
        "Write the units into this directory, and print their paths.",
        group="Unit",
        metavar="DIRECTORY",
        default_text="print the units",
        has_variable=False,
    ),
)


def print_units(settings: Settings, socket: bool, name: str, systemd_version: int, write: str) -> None:
    """Print the units for `settings`, or write them into the directory `write`. Raises `LaunchError`."""
    if write and not os.path.isdir(write):
        raise UsageError("use", f"--write {write!r}", "there is no such directory")
    texts = units(settings, name or default_name(settings), socket, systemd_version)
    for file, text in texts.items():
        if write:
            click.echo(_write(os.path.join(write, file), text))
        else:
            click.echo(f"# {file}\n{text}" if len(texts) > 1 else text, nl=False)


def _write(path: str, text: str) -> str:
    try:
        with open(path, "w", encoding="utf-8") as unit:
            unit.write(text)
    except OSError as error:
        raise from_os_error("write", path, error) from error
    return path
