"""Banner for a person at a terminal, shown when the server is ready. Only here is rich imported, and only then."""

from __future__ import annotations

import contextlib
import os

from srvctl.config.settings import Settings


def show(address: str, parts: list[str], handler: str, file: str, settings: Settings) -> None:
    """Write the banner to standard error."""
    with contextlib.suppress(OSError):  # the terminal has gone
        _print(address, parts, handler, file, settings)


def _print(address: str, parts: list[str], handler: str, file: str, settings: Settings) -> None:
    from rich.console import Console
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="bold", no_wrap=True)
    rows.add_column(overflow="fold")
    rows.add_row("address", Text(address, style="green"))
    rows.add_row("server", Text(" -> ".join(parts)))
    rows.add_row("program" if settings.program else "handler", Text(f"{handler}  ({file})"))
    rows.add_row("model", Text(f"--{settings.model}, at most {settings.max_connections} at a time"))
    rows.add_row("stop", Text(f"Ctrl-C, or kill {os.getpid()}; a second one stops at once"))
    Console(stderr=True, highlight=False).print(Panel(rows, title="srvctl", title_align="left", expand=False))
