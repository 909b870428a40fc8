"""Figures as tables, for a terminal or in Markdown. Nothing here measures."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

from .cores import CORES
from .figures import Figures
from .growth import Growth, at
from .interval import Interval
from .scenarios import Scenario
from .targets import TARGETS

Row = Sequence[str]


def table(head: Row, rows: Sequence[Row], markdown: bool) -> str:
    """Return rows as an aligned table: a column of text, and columns of figures. A row of one cell is a title."""
    whole = [head, *(row for row in rows if len(row) > 1)]
    widths = [max(len(row[n]) for row in whole) for n in range(len(head))]

    def line(row: Row) -> str:
        if len(row) == 1:
            return f"| **{row[0]}** |{' |' * (len(head) - 1)}" if markdown else f"\n{row[0]}"
        cells = [row[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
        return "| " + " | ".join(cells) + " |" if markdown else "  ".join(cells).rstrip()

    rule = ["-" * widths[0]] + ["-" * (width - 1) + (":" if markdown else "-") for width in widths[1:]]
    return "\n".join([line(head), line(rule), *map(line, rows)])


def number(value: float | None) -> str:
    """Return two or three digits that mean something."""
    if value is None:
        return ""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) < 0.1:
        return f"{value:.3f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def ratio(found: Interval | None) -> tuple[str, str]:
    """Return a ratio and its interval; a single round, or a row beside itself, has none."""
    if found is None:
        return "", ""
    if found.rounds < 2 or found.low == found.high:
        return number(found.middle), ""
    return number(found.middle), f"{number(found.low)} to {number(found.high)}"


def rates(scenarios: Sequence[Scenario], figures: Figures, markdown: bool) -> str:
    """Return the table of all scenarios that were driven: median, and the two ratios with their intervals."""
    rows: list[Row] = []
    for scenario in scenarios:
        measured = [s for s in scenario.servers if figures.rounds.get((scenario.name, s.name))]
        if not measured:
            continue
        rows.append((f"{scenario.title} ({scenario.unit})",))
        for server in measured:
            middle = number(figures.median(scenario.name, server.name))
            ratios = [
                cell
                for other in (server.peer, scenario.limit)
                for cell in ratio(figures.ratio(scenario.name, server.name, other))
            ]
            rows.append((server.name, middle, *ratios, str(len(figures.rounds[scenario.name, server.name]))))
    return table(("", "median", "x peer", "95 %", "x limit", "95 %", "rounds"), rows, markdown) if rows else ""


def grid(title: str, columns: Mapping[str, str], figures: Figures, markdown: bool) -> str:
    """Return servers as rows and scenarios as columns; `columns` maps a column's head to the scenario's name."""
    servers = list(dict.fromkeys(server for name in columns.values() for server in figures.servers(name)))
    rows = [(server, *(number(figures.median(name, server)) for name in columns.values())) for server in servers]
    return table((title, *columns), rows, markdown) if rows else ""


def growth(axis: Growth, figures: Figures, markdown: bool) -> str:
    """Return servers as rows and the values of an axis as columns."""
    rows = [
        (server.name, *(number(figures.median(axis.name, at(server.name, value))) for value in axis.values))
        for server in axis.servers
        if any(figures.median(axis.name, at(server.name, value)) for value in axis.values)
    ]
    head = f"{axis.name.removeprefix('growth: ').capitalize()} (per second)"
    return table((head, *(f"{value:,}" for value in axis.values)), rows, markdown) if rows else ""


def checked(figures: Figures) -> str:
    """Return what the checking client saw, in a sentence."""
    rounds = [figures.median("checked", name) or 0 for name in figures.servers("checked")]
    if not rounds:
        return ""
    return (
        f"Checked: {len(rounds)} runs over every family and model of srvctl, each request with an id of its own: "
        f"{sum(rounds):,.0f} answers, none wrong, none missing."
    )


def targets(figures: Figures, markdown: bool) -> str:
    """Return the table of where to be, for everything that this run measured."""
    rows = []
    for target in TARGETS:
        measured = target.measured(figures)
        if measured is not None:
            rows.append((target.what, target.wanted, *ratio(measured), target.verdict(measured)))
    return table(("Where to be", "wanted", "measured", "95 %", ""), rows, markdown) if rows else ""


def machine() -> str:
    """Return what the figures were measured on, in a line."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "?"
    )
    memory = next((int(line.split()[1]) / 2**20 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    cores = len(CORES.available)
    system = f"Linux {platform.release()}, Python {platform.python_version()}"
    load = f"{os.getloadavg()[0]:.1f} at the beginning"
    return f"{model}, {cores} cores, {memory:.0f} GiB; {system}; {CORES.described}; load average {load}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text(errors="replace").splitlines()
