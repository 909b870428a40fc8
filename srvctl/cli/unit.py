"""``srvctl unit``: print or write the systemd units that start the same words."""

from __future__ import annotations

from typing import Any

import click

from srvctl.config.option import Option
from srvctl.config.settings import Settings
from srvctl.unit import files, systemd_version
from srvctl.unit.service import default_name, units
from srvctl.unit.wanted import Wanted

UNIT_OPTIONS: tuple[Option[Any], ...] = (
    Option(
        "--name",
        "",
        "Name of the units, without .service.",
        group="Unit",
        metavar="NAME",
        default_text="srvctl, the family and the handler",
        has_variable=False,
    ),
    Option("--socket", False, "Print the matching .socket unit too.", group="Unit", flag=True, has_variable=False),
    Option(
        "--user",
        "",
        "User that the service runs as.",
        group="Unit",
        metavar="NAME",
        default_text="a dynamic user, which systemd makes",
        has_variable=False,
    ),
    Option(
        "--systemd-version",
        0,
        "Version of systemd that the units are for.",
        group="Unit",
        parse=systemd_version.parse_version,
        metavar="N",
        default_text=f"the one that is installed, or {systemd_version.OLDEST}",
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
    Option("--force", False, "Let --write replace files of others.", group="Unit", flag=True, has_variable=False),
)


def print_units(settings: Settings, socket: bool, name: str, write: str, force: bool, **others: Any) -> None:
    """Print the units for `settings`, or write them into the directory `write`. Raises `LaunchError`.

    What to type next goes to standard error; standard output has the units, or their paths, alone.
    """
    version = others["systemd_version"] or systemd_version.installed()
    texts = units(settings, Wanted(name or default_name(settings), socket, version, others["user"]))
    if not write:
        for file, text in texts.items():
            click.echo(f"# {file}\n{text}" if len(texts) > 1 else text, nl=False)
        return
    written = files.write(write, texts, force)
    for path in written.paths:
        click.echo(path)
    for command in written.next_commands():
        click.echo(f"next: {command}", err=True)
