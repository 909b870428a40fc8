"""Banner for a person at a terminal, shown when the server is ready. Only here is rich imported, and only then."""

from __future__ import annotations

import contextlib
import os

from srvctl.config.settings import Settings
from srvctl.runtime import colour


def show(address: str, handler: str, file: str, settings: Settings) -> None:
    """Write the banner to standard error: the address, the handler or program, the model, and how to stop."""
    with contextlib.suppress(OSError):  # the terminal has gone
        _print(address, handler, file, settings)


def _print(address: str, handler: str, file: str, settings: Settings) -> None:
    from rich.console import Console
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    model = f"--{settings.model}, at most {settings.max_connections} at a time"
    if settings.workers > 1:
        model += f", in {settings.workers} workers"
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="bold", no_wrap=True)
    rows.add_column(overflow="fold")
    rows.add_row("address", Text(address, style="green"))
    rows.add_row("program" if settings.program else "handler", Text(f"{handler}  ({file})"))
    rows.add_row("model", Text(model))
    rows.add_row("stop", Text(f"Ctrl-C, or kill {os.getpid()}; a second one stops at once"))
    has_colour = colour.is_wanted(True, os.environ)
    console = Console(stderr=True, highlight=False, no_color=not has_colour, force_terminal=has_colour or None)
    console.print(Panel(rows, title="srvctl", title_align="left", expand=False))
